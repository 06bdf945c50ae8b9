"""A SegFormer alone, as mmseg computes it and as this project does: the same weights, in turns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

from benchmarks.common import Measurement, alternate
from stage2_distill import components  # noqa: F401  registers
from stage2_distill.deployment.student import student_config
from stage2_distill.models.segformer import as_mmsegs_own

CONFIGS = Path(__file__).resolve().parents[2] / 'mmseg_configs'
SIZES = ('b0', 'b2')


def measure(times: int, device: torch.device, height: int, amp: bool) -> list[Measurement]:
    """Measure SegFormers on one panorama, forward, and forward and backward.

    Args:
        times: Repeats.
        device: Where they run.
        height: Rows of the panorama, which has the shape of 400x2048.
        amp: Autocast to bfloat16.
    """
    panorama = torch.randn(1, 3, height, height * 2048 // 400, device=device)
    context = partial(torch.autocast, device.type, torch.bfloat16, amp)
    rows = []
    for name in SIZES:
        plain, ours = (network.to(device) for network in pair(name))
        size = f'{name.upper()}, {height}x{panorama.shape[-1]}'
        ways = [partial(_label, network, panorama, context) for network in (plain, ours)]
        expected, found = (way() for way in ways)
        worst = float((found - expected).abs().max() / expected.abs().max())
        agreement = f'differs by {worst:.1g} of the largest logit'
        plainly, fast = alternate(ways, times, device)
        rows.append(Measurement(f'{size}: labelling', plainly, fast, agreement=agreement))
        steps = [partial(_train, network, panorama, context) for network in (plain, ours)]
        kept = [_kept_bytes(way) / 2**20 for way in steps]
        notes = {"kept for the backward pass, mmseg's, MiB": kept[0], 'ours, MiB': kept[1]}
        plainly, fast = alternate(steps, times, device)
        rows.append(Measurement(f'{size}: training', plainly, fast, notes=notes))
    return rows


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Return mmseg's network and the project's of one size, with the same random weights."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    config = student_config(Config.fromfile(CONFIGS / f'goodsam_{name}.py'))
    config['backbone']['drop_path_rate'] = config['decode_head']['dropout_ratio'] = 0.0
    ours = MODELS.build(config)
    plain_config, weights = as_mmsegs_own(config, ours.state_dict())
    plain = MODELS.build(plain_config)
    plain.load_state_dict(weights)
    return plain, ours


@torch.inference_mode()
def _label(network: nn.Module, panorama: Tensor, context: Callable[[], torch.autocast]) -> Tensor:
    with context():
        logits: Tensor = network.eval()(panorama, mode='tensor')
    return logits.float()


def _train(network: nn.Module, panorama: Tensor, context: Callable[[], torch.autocast]) -> None:
    with context():
        logits = network.train()(panorama, mode='tensor')
    logits.float().square().mean().backward()
    network.zero_grad()


def _kept_bytes(way: Callable[[], object]) -> int:
    """Return the bytes of all tensors that a forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        way()
    return sum(kept.values())
