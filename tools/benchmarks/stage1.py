"""Automatic mask generation: segment_anything's generator as it is against the levels of stage 1."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import automatic_mask_generator
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import Measurement, alternate, blobs, picture
from stage1_sam_cache.geometry.windows import WindowGrid
from stage1_sam_cache.masks.boundary_map import boundary_map
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam import fast_generation
from stage1_sam_cache.sam.fast_generation import FastMaskGenerator
from stage1_sam_cache.sam.fast_networks import SharedMaskDecoder, accelerate
from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
from stage1_sam_cache.sam.settings import LEVELS, TOY_SETTINGS, SamSettings
from stage1_sam_cache.sam.weights import ARCHITECTURES, find_weights, load_sam
from toypass.dataset import Job, look_at
from toypass.knobs import LOOKS, preset
from toypass.looks import draw_weather
from toypass.render import render

_FOUND = 75  # masks that are there to be found
_ENCODED = 8  # windows through the encoder at once, on a GPU
_PEAKS = {'H200': 989.0, 'H100': 989.0, 'A100': 312.0}


def measure(model: str, points: int, times: int, device: torch.device, batch: int) -> list[Measurement]:
    """Every level on one window of 400x512, and on all crops of a panorama where there is a GPU.

    The network has random weights and does all its work; then its answers are replaced by drawn masks, about 75 of
    which survive the filters, so that what follows has as much to do as with SAM's own.
    """
    settings = SamSettings(points_per_side=points, points_per_batch=batch)
    image = picture(0)
    grid = WindowGrid(400, 2048, (400, 512), 256)
    panorama = picture(1, 400, 2048)
    boxes = [*grid.windows, *(overlap.box for overlap in grid.overlaps)]
    crops = [np.ascontiguousarray(panorama[:, box.left : box.left + box.width]) for box in boxes]
    found: dict[str, InstanceMasks] = {}
    rows = []
    for level in _levels(device):
        generators = {name: _generator(model, name, settings, device) for name in ('stock', level)}
        with answers(points, _mask_side(model)):
            taken = alternate([partial(g.generate, image) for g in generators.values()], times, device)
            found = {name: g.generate(image) for name, g in generators.items()}
            rows.append(
                Measurement(
                    f'{model}, {points}x{points} points, one window, {level}',
                    *taken,
                    agreement=agreement(found['stock'], found[level]),
                    notes={'masks': len(found[level])},
                )
            )
            for part in (crops, crops[: len(grid.windows)]) if device.type == 'cuda' else ():
                calls = [partial(lambda g, some: list(g.generate_many(some)), g, part) for g in generators.values()]
                taken = alternate(calls, max(1, times // 2), device)
                rows.append(Measurement(f'{model}, {points}x{points} points, {len(part)} crops, {level}', *taken))
    return [
        *rows,
        *measure_encoder(model, times, device),
        *profile(model, settings, image, device),
        *measure_toy(times, device),
    ]


def _levels(device: torch.device) -> list[str]:
    """Those to compare with ``stock``; a CPU takes long in float16."""
    return [level for level in LEVELS[1:] if level != 'fp16' or device.type == 'cuda']


def measure_encoder(model: str, times: int, device: torch.device) -> list[Measurement]:
    """The image encoder alone, and how near it comes to what the device can multiply."""
    batch = _ENCODED if device.type == 'cuda' else 1
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
            notes = {'TFLOP a window': work / batch, 'TFLOP/s': rate}
            peak = _peak(device) if name == 'bf16' else None
            notes |= {'share of the limit, %': 100 * rate / peak} if peak else {}
            error = float((fast(inputs).float() - expected).norm() / expected.norm())
            what = f'{model}, image encoder, {batch} at once, {name}'
            rows.append(Measurement(what, slow, quick, agreement=f'relative error {error:.1g}', notes=notes))
    return rows


def _peak(device: torch.device) -> float | None:
    """Of a GPU whose limit is known, TFLOP/s in bfloat16 without sparsity, as its maker states it."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else ''
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


def measure_toy(times: int, device: torch.device) -> list[Measurement]:
    """Every level with trained weights that are at hand, the toy SAM's, on two windows of a drawn street."""
    path = find_weights('toy')
    street = _street()
    windows = [np.ascontiguousarray(street[:, left : left + 256]) for left in (0, 512)]
    rows = []
    for level in _levels(device):
        ways = {}
        for name in ('stock', level):
            sam, digest = load_sam('toy', path)
            ways[name] = SamMaskGenerator(sam, 'toy', digest, TOY_SETTINGS, device, name, encoder_batch=2)
        calls = [partial(lambda generator: list(generator.generate_many(windows)), way) for way in ways.values()]
        taken = alternate(calls, times, device)
        found = [call() for call in calls]
        said = [f'window {i}: {agreement(*pair)}' for i, pair in enumerate(zip(*found, strict=True))]
        masks = {'masks': float(sum(map(len, found[1])))}
        rows.append(
            Measurement(f'toy SAM, trained, {len(windows)} windows, {level}', *taken, 'ms', '; '.join(said), masks)
        )
    return rows


def _street() -> NDArray[np.uint8]:
    """A panorama of ToyPASS, uint8 ``(200, 1024, 3)``."""
    job = Job('target', 'val', 0)
    knobs = preset('demo')
    _, scene, camera = look_at(knobs, job, 0)
    rng = np.random.default_rng(0)
    return render(scene, camera, draw_weather(LOOKS[knobs.target_look], rng), rng).image


def profile(model: str, settings: SamSettings, image: NDArray[np.uint8], device: torch.device) -> list[Measurement]:
    """Where a window's time goes: each part's share of the stock generator's and of level fp32-fast."""
    spent: list[dict[str, float]] = []
    for level, parts in (('stock', _STOCK), ('fp32-fast', _FAST)):
        generator = _generator(model, level, settings, device)
        with answers(settings.points_per_side, _mask_side(model)):
            generator.generate(image)  # does not count
            with _watched(parts, device) as seconds:
                begun = time.perf_counter()
                generator.generate(image)
                whole = time.perf_counter() - begun
        spent.append({**seconds, 'all else': whole - sum(seconds.values())})
    names = [name for name in spent[0] if name in spent[1]]
    return [
        Measurement(f'{model}, of one window: {name}', 1000 * spent[0][name], 1000 * spent[1][name]) for name in names
    ]


_NETWORKS = {'image encoder': (ImageEncoderViT, 'forward'), 'prompt encoder': (PromptEncoder, 'forward')}
_STOCK = {
    **_NETWORKS,
    'mask decoder': (MaskDecoder, 'forward'),
    'enlarging masks': (Sam, 'postprocess_masks'),
    'stability': (automatic_mask_generator, 'calculate_stability_score'),
    'boxes': (automatic_mask_generator, 'batched_mask_to_box'),
    'runs': (automatic_mask_generator, 'mask_to_rle_pytorch'),
    'masks of runs': (automatic_mask_generator, 'rle_to_mask'),
    'duplicates': (automatic_mask_generator, 'batched_nms'),
}
_FAST = {
    **_STOCK,
    'mask decoder': (SharedMaskDecoder, 'decode'),
    'enlarging masks': (FastMaskGenerator, '_enlarge'),
    'stability': (fast_generation, 'calculate_stability_score'),
    'boxes': (fast_generation, 'batched_mask_to_box'),
    'runs': (fast_generation, '_pack'),
    'masks of runs': (fast_generation, '_unpack'),
}


@contextmanager
def _watched(parts: dict[str, tuple[Any, str]], device: torch.device) -> Iterator[dict[str, float]]:
    """Adds up the seconds that each function takes."""
    seconds = dict.fromkeys(parts, 0.0)

    def watch(name: str, function: Any) -> Any:
        def watched(*args: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                if device.type == 'cuda':
                    torch.cuda.synchronize(device)
                seconds[name] += time.perf_counter() - begun

        return watched

    with ExitStack() as patches:
        for name, (owner, function) in parts.items():
            patches.enter_context(mock.patch.object(owner, function, watch(name, getattr(owner, function))))
        yield seconds


def _generator(model: str, level: str, settings: SamSettings, device: torch.device) -> SamMaskGenerator:
    torch.manual_seed(0)
    sam: Sam = ARCHITECTURES[model]().eval()
    many = _ENCODED if device.type == 'cuda' else 1
    return SamMaskGenerator(sam, model, '0' * 64, settings, device, level, encoder_batch=many)


def _mask_side(model: str) -> int:
    """Of the decoder's masks: four times the embedding's."""
    return 4 * int(ARCHITECTURES[model]().prompt_encoder.image_embedding_size[0])


@contextmanager
def answers(points: int, side: int) -> Iterator[None]:
    """Replaces what mask decoders answer by drawn masks of ``side`` pixels, after they have done their work."""
    drawn = blobs(np.random.default_rng(0), _FOUND, (side, side))
    rng = np.random.default_rng(1)
    count = 3 * points**2
    which = torch.from_numpy(rng.integers(0, _FOUND, count))
    sure = torch.from_numpy(np.where(rng.random(count) < 0.4, rng.uniform(0.88, 1, count), 0.5)).float()
    logits = torch.from_numpy(np.where(drawn.masks, 8.1, -7.7)).float()  # halves that cancel would be 0 by rounding
    logits = torch.nn.functional.avg_pool2d(logits[:, None], 3, 1, 1)[:, 0]
    stock, shared = MaskDecoder.forward, SharedMaskDecoder.decode
    asked = {'points': 0}

    def next_points(number: int) -> slice:
        first = asked['points'] % points**2
        asked['points'] += number
        return slice(3 * first, 3 * (first + number))

    def plain(self: MaskDecoder, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        masks, _ = stock(self, *args, **options)
        at = next_points(len(masks))
        kind = {'device': masks.device}
        return logits.to(**kind)[which[at]].unflatten(0, (-1, 3)), sure[at].to(**kind).view(-1, 3)

    def fast(
        self: SharedMaskDecoder, image: Tensor, pe: Tensor, prompts: Tensor, no_mask: Tensor, inside: Any, wanted: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        at = next_points(len(prompts))
        iou = sure[at].to(image.device).view(-1, 3)
        drawn_of_point = which[at].to(image.device)
        masks, _, number = shared(self, image, pe, prompts, no_mask, inside, lambda _: wanted(iou))
        height, width = masks.shape[1:]
        return logits.to(image.device)[drawn_of_point[number], :height, :width], iou.flatten()[number], number

    with mock.patch.object(MaskDecoder, 'forward', plain), mock.patch.object(SharedMaskDecoder, 'decode', fast):
        yield


def agreement(first: InstanceMasks, second: InstanceMasks) -> str:
    """How far two sets of masks are the same."""
    if not len(first) or not len(second):
        return f'{len(first)} and {len(second)} masks'
    a, b = (m.masks.reshape(len(m), -1).astype(np.float32) for m in (first, second))
    both = a @ b.T
    overlap = both / (a.sum(1)[:, None] + b.sum(1)[None] - both)
    best = overlap.max(1)
    if len(first) == len(second) and np.array_equal(first.masks, second.masks):
        return 'identical'
    return (
        f'{(best >= 0.95).mean():.1%} matched at IoU 0.95, mean IoU {best.mean():.4f}, '
        f'boundary F {boundary_f(first, second):.4f}, {len(second) - len(first):+d} masks'
    )


def boundary_f(first: InstanceMasks, second: InstanceMasks) -> float:
    """F score of the boundary maps, pixel by pixel."""
    maps: list[NDArray[np.bool_]] = [boundary_map(m.in_painting_order('area_desc').id_map, 1) for m in (first, second)]
    hit = (maps[0] & maps[1]).sum()
    return float(2 * hit / max(maps[0].sum() + maps[1].sum(), 1))
