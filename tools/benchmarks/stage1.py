"""Automatic mask generation: segment_anything's generator against the levels of stage 1."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.agreement import agreement
from benchmarks.common import Measurement, alternate, picture
from benchmarks.random_sam import ENCODED, answers, mask_side, random_generator
from benchmarks.stage1_profile import profile
from stage1_sam_cache.geometry.windows import WindowGrid
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.fast_networks import accelerate
from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
from stage1_sam_cache.sam.settings import LEVELS, TOY_SETTINGS, SamSettings
from stage1_sam_cache.sam.weights import ARCHITECTURES, find_weights, load_sam
from toypass.dataset.jobs import Job
from toypass.dataset.scenes import look_at
from toypass.knobs import LOOKS, preset
from toypass.render.view import render
from toypass.render.weather import draw_weather

_PEAKS = {'H200': 989.0, 'H100': 989.0, 'A100': 312.0}


def measure(model: str, points: int, times: int, device: torch.device, batch: int) -> list[Measurement]:
    """Measure mask generation at every level, its image encoder, its parts, and the toy SAM.

    Args:
        model: Key of ``ARCHITECTURES``.
        points: Points per side of a window.
        times: Repeats.
        device: Where networks run.
        batch: Points per batch.
    """
    settings = SamSettings(points_per_side=points, points_per_batch=batch)
    image = picture(0)
    return [
        *measure_levels(model, settings, times, device, image),
        *measure_encoder(model, times, device),
        *profile(model, settings, image, device),
        *measure_toy(times, device),
    ]


def measure_levels(
    model: str, settings: SamSettings, times: int, device: torch.device, image: NDArray[np.uint8]
) -> list[Measurement]:
    """Measure every level on one window of 400x512, and on all crops of a panorama where there is a GPU.

    The network has random weights and does all its work; then its answers are replaced by drawn masks, about 75 of
    which survive the filters, so that what follows has as much to do as with SAM's own.
    """
    grid = WindowGrid(400, 2048, (400, 512), 256)
    panorama = picture(1, 400, 2048)
    boxes = [*grid.windows, *(overlap.box for overlap in grid.overlaps)]
    crops = [np.ascontiguousarray(panorama[:, box.left : box.left + box.width]) for box in boxes]
    points = settings.points_per_side
    what = f'{model}, {points}x{points} points'
    rows = []
    for level in _levels(device):
        stock, fast = (random_generator(model, name, settings, device) for name in ('stock', level))
        with answers(points, mask_side(model)):
            slow, quick = alternate([partial(stock.generate, image), partial(fast.generate, image)], times, device)
            expected, masks = stock.generate(image), fast.generate(image)
            said, notes = agreement(expected, masks), {'masks': float(len(masks))}
            rows.append(Measurement(f'{what}, one window, {level}', slow, quick, 'ms', said, notes))
            for part in (crops, crops[: len(grid.windows)]) if device.type == 'cuda' else ():
                calls = [partial(_generate_all, generator, part) for generator in (stock, fast)]
                slow, quick = alternate(calls, max(1, times // 2), device)
                rows.append(Measurement(f'{what}, {len(part)} crops, {level}', slow, quick))
    return rows


def _generate_all(generator: SamMaskGenerator, windows: list[NDArray[np.uint8]]) -> list[InstanceMasks]:
    return list(generator.generate_many(windows))


def _levels(device: torch.device) -> list[str]:
    """List the levels to compare with ``stock``; float16 is slow on a CPU."""
    return [level for level in LEVELS[1:] if level != 'fp16' or device.type == 'cuda']


def measure_encoder(model: str, times: int, device: torch.device) -> list[Measurement]:
    """Measure the image encoder alone, and its share of the peak rate of the device."""
    batch = ENCODED if device.type == 'cuda' else 1
    stock = ARCHITECTURES[model]().eval().image_encoder.to(device)
    fast = accelerate(ARCHITECTURES[model]().eval()).image_encoder.to(device)
    fast.load_state_dict(stock.state_dict())
    images = torch.randn(batch, 3, stock.img_size, stock.img_size, device=device)
    rows = []
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            expected = stock(images)
        work = counter.get_total_flops() / 1e12
        for name, dtype in (('fp32-fast', torch.float32), ('bf16', torch.bfloat16)):
            fast, inputs = fast.to(dtype), images.to(dtype)
            slow, quick = alternate([partial(stock, images), partial(fast, inputs)], times, device)
            rate = 1000 * work / quick
            notes = {'TFLOP per window': work / batch, 'TFLOP/s': rate}
            peak = _peak(device) if name == 'bf16' else None
            notes |= {'share of the peak, %': 100 * rate / peak} if peak else {}
            error = float((fast(inputs).float() - expected).norm() / expected.norm())
            what = f'{model}, image encoder, batch {batch}, {name}'
            rows.append(Measurement(what, slow, quick, agreement=f'relative error {error:.1g}', notes=notes))
    return rows


def _peak(device: torch.device) -> float | None:
    """Return the stated bfloat16 rate without sparsity of a known GPU, in TFLOP/s."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else ''
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


def measure_toy(times: int, device: torch.device) -> list[Measurement]:
    """Measure every level with the toy SAM, whose trained weights are at hand, on two windows of a drawn street."""
    path = find_weights('toy')
    street = _street()
    windows = [np.ascontiguousarray(street[:, left : left + 256]) for left in (0, 512)]

    def generator(level: str) -> SamMaskGenerator:
        sam, digest = load_sam('toy', path)
        return SamMaskGenerator(sam, 'toy', digest, TOY_SETTINGS, device, level, encoder_batch=2)

    rows = []
    for level in _levels(device):
        stock, fast = (partial(_generate_all, generator(name), windows) for name in ('stock', level))
        slow, quick = alternate([stock, fast], times, device)
        expected, masks = stock(), fast()
        said = '; '.join(f'window {i}: {agreement(*pair)}' for i, pair in enumerate(zip(expected, masks, strict=True)))
        notes = {'masks': float(sum(map(len, masks)))}
        rows.append(Measurement(f'toy SAM, trained, {len(windows)} windows, {level}', slow, quick, 'ms', said, notes))
    return rows


def _street() -> NDArray[np.uint8]:
    """Draw a panorama of ToyPASS, uint8 ``(200, 1024, 3)``."""
    job = Job('target', 'val', 0)
    knobs = preset('demo')
    _, scene, camera = look_at(knobs, job, 0)
    rng = np.random.default_rng(0)
    return render(scene, camera, draw_weather(LOOKS[knobs.target_look], rng), rng).image
