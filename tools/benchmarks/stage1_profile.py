"""Where the time of one window goes, part by part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import automatic_mask_generator
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam

from benchmarks.common import Measurement
from benchmarks.random_sam import answers, mask_side, random_generator
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam import mask_filters
from stage1_sam_cache.sam.fast_decoder import SharedMaskDecoder
from stage1_sam_cache.sam.fast_generation import FastMaskGenerator
from stage1_sam_cache.sam.settings import SamSettings

_NETWORKS = {'image encoder': (ImageEncoderViT, 'forward'), 'prompt encoder': (PromptEncoder, 'forward')}


STOCK = {
    **_NETWORKS,
    'mask decoder': (MaskDecoder, 'forward'),
    'enlarging masks': (Sam, 'postprocess_masks'),
    'stability': (automatic_mask_generator, 'calculate_stability_score'),
    'boxes': (automatic_mask_generator, 'batched_mask_to_box'),
    'runs': (automatic_mask_generator, 'mask_to_rle_pytorch'),
    'masks of runs': (automatic_mask_generator, 'rle_to_mask'),
    'duplicates': (automatic_mask_generator, 'batched_nms'),
}


FAST = {
    **STOCK,
    'mask decoder': (SharedMaskDecoder, 'decode'),
    'enlarging masks': (FastMaskGenerator, '_enlarge'),
    'stability': (mask_filters, 'calculate_stability_score'),
    'boxes': (mask_filters, 'batched_mask_to_box'),
    'runs': (mask_filters, 'pack'),
    'masks of runs': (InstanceMasks, 'from_packed'),
    'duplicates': (mask_filters, 'nms'),
}


def profile(model: str, settings: SamSettings, image: NDArray[np.uint8], device: torch.device) -> list[Measurement]:
    """Measure the parts of one window's time, for the stock generator and for level fp32-fast."""
    spent: list[dict[str, float]] = []
    for level, parts in (('stock', STOCK), ('fp32-fast', FAST)):
        generator = random_generator(model, level, settings, device)
        with answers(settings.points_per_side, mask_side(model)):
            generator.generate(image)  # warm-up
            with watched(parts, device) as seconds:
                begun = time.perf_counter()
                generator.generate(image)
                whole = time.perf_counter() - begun
        spent.append({**seconds, 'all else': whole - sum(seconds.values())})
    names = [name for name in spent[0] if name in spent[1]]
    return [
        Measurement(f'{model}, of one window: {name}', 1000 * spent[0][name], 1000 * spent[1][name]) for name in names
    ]


@contextmanager
def watched(parts: dict[str, tuple[Any, str]], device: torch.device) -> Iterator[dict[str, float]]:
    """Sum the seconds that each function takes."""
    seconds = dict.fromkeys(parts, 0.0)

    def watch(name: str, function: Any) -> Any:
        def timed(*args: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                if device.type == 'cuda':
                    torch.cuda.synchronize(device)
                seconds[name] += time.perf_counter() - begun

        return timed

    with ExitStack() as patches:
        for name, (owner, function) in parts.items():
            patches.enter_context(mock.patch.object(owner, function, watch(name, getattr(owner, function))))
        yield seconds
