"""A training step of GoodSAM against the same networks with a plain cross-entropy: the cost of the method."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmseg.structures import SegDataSample

from benchmarks.common import Measurement, alternate, blobs, picture
from stage1_sam_cache.masks.boundary_map import boundary_map
from stage2_distill import components  # noqa: F401  registers
from stage2_distill.data.cached_masks import CachedMasks
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.models.goodsam import GoodSAM

HALF = 200  # rows of a panorama at half size
CONFIGS = Path(__file__).resolve().parents[2] / 'mmseg_configs'


def measure(times: int, device: torch.device, half: bool, amp: bool) -> list[Measurement]:
    """Measure steps with a frozen and with a trained assistant, at half or full size, batch 1."""
    height = HALF if half else 2 * HALF
    return [measure_one(times, device, height, amp, frozen) for frozen in (True, False)]


def measure_one(times: int, device: torch.device, height: int, amp: bool, frozen: bool) -> Measurement:
    """Measure steps on panoramas of some height, batch 1."""
    calls = step_and_parts(device, height, amp, frozen)
    step, of_assistant, of_student, *of_copy = alternate(calls, times, device)
    rest = step - of_assistant - of_student
    notes = {'assistant, ms': of_assistant, 'student, ms': of_student, 'all else, ms': rest}
    notes['all else, % of the step'] = 100 * rest / step
    neither = rest - sum(of_copy)
    if of_copy:
        notes['copy that labels, ms'] = of_copy[0]
    notes |= {'neither network, ms': neither, 'neither network, % of the step': 100 * neither / step}
    return Measurement(
        f'training step, {height}x{height * 2048 // 400}, assistant {"frozen" if frozen else "trained"}',
        of_assistant + of_student,
        step,
        agreement='plain: both networks alone, with a cross-entropy',
        notes=notes,
    )


def step_and_parts(device: torch.device, height: int, amp: bool, frozen: bool) -> list[Callable[[], Any]]:
    """Return a training step of GoodSAM, and its networks alone: the assistant's and the student's part of it.

    With a trained assistant also the forward pass of its copy that makes labels: a network, but one that only GoodSAM
    needs.
    """
    MMLogger.get_current_instance().setLevel('WARNING')  # it logs the learning rate of every parameter
    config = Config.fromfile(CONFIGS / 'goodsam_b0_toypass.py')
    init_default_scope('mmseg')
    model_config = config.model.to_dict()
    model_config['update_ta'] = not frozen
    model_config['teacher_assistant'] = copy.deepcopy(model_config['student'])  # both B0, as in docs/performance.md
    model_config['grid'] = {'window': (height, height * 512 // 400), 'stride': height * 256 // 400, 'wrap': False}
    for network in ('student', 'teacher_assistant'):
        model_config[network]['init_cfg'] = None
    torch.manual_seed(0)
    model: GoodSAM = MODELS.build(model_config).to(device).train()
    wrapper = config.optim_wrapper.to_dict()
    kind = {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16'} if amp and device.type == 'cuda' else {}
    if amp and device.type == 'cpu':
        kind = {'type': 'BFloat16OptimWrapper'}
    for part in wrapper.values():
        if isinstance(part, dict):
            part.update(kind)
    builder = OPTIM_WRAPPER_CONSTRUCTORS.build({'type': wrapper.pop('constructor'), 'optim_wrapper_cfg': wrapper})
    optimizers = builder(model)
    data = _data(model, height)

    def goodsam() -> Any:
        return model.train_step(data, optimizers)

    inputs = model.data_preprocessor({**data}, True)['inputs']

    def assistant() -> None:
        """Run all windows forward; with a trained assistant, backward with a cross-entropy."""
        if frozen:
            with torch.no_grad(), _context(optimizers, 'student', model):
                model.assistant_windows(inputs)
        else:
            with _context(optimizers, 'teacher_assistant', model):
                windows = model.assistant_windows(inputs)
            flat = windows.flatten(0, 1).float()
            optimizers['teacher_assistant'].update_params(F.cross_entropy(flat, flat.detach().argmax(1)))

    def student() -> None:
        """Run the panorama forward and backward with a cross-entropy."""
        with _context(optimizers, 'student', model):
            logits = model.student_panorama(inputs).float()
        optimizers['student'].update_params(F.cross_entropy(logits, logits.detach().argmax(1)))

    def copy_that_labels() -> None:
        with torch.no_grad(), _context(optimizers, 'student', model):
            model.assistant_windows(inputs, model.label_assistant)

    return [goodsam, assistant, student, *([] if model.label_assistant is None else [copy_that_labels])]


def _context(optimizers: Any, name: str, model: GoodSAM) -> Any:
    return optimizers[name].optim_context(getattr(model, name))


def _data(model: GoodSAM, height: int) -> dict[str, Any]:
    """Return one panorama with 75 masks per window, as the loader gives it."""
    grid = model.windows.over(height, height * 2048 // 400)
    windows = [
        blobs(np.random.default_rng(seed), shape=(box.height, box.width)).in_painting_order()
        for seed, box in enumerate(grid.windows)
    ]
    maps = [boundary_map(windows[overlap.first].id_map[:, -overlap.box.width :]) for overlap in grid.overlaps]
    masks = CachedMasks(grid, tuple(map(MaskAtoms.from_masks, windows)), tuple(map(torch.from_numpy, maps))).joined()
    image = torch.from_numpy(picture(0, height, grid.width)).permute(2, 0, 1)
    sample = SegDataSample()
    sample.cached_masks = masks
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, height, grid.width, dtype=torch.int64))
    return {'inputs': [image], 'data_samples': [sample]}
