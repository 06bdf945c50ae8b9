"""A SAM with random weights whose answers are replaced by drawn masks, so that all that follows has as much to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor

from benchmarks.common import blobs
from stage1_sam_cache.sam.fast_decoder import SharedMaskDecoder
from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
from stage1_sam_cache.sam.settings import SamSettings
from stage1_sam_cache.sam.shared_attention import SharedImage
from stage1_sam_cache.sam.weights import ARCHITECTURES

_MASKS = 75  # that survive the filters
ENCODED = 8  # windows per encoder batch on a GPU


def random_generator(model: str, level: str, settings: SamSettings, device: torch.device) -> SamMaskGenerator:
    """Build a generator of a level with random weights; the same weights for every level."""
    torch.manual_seed(0)
    sam: Sam = ARCHITECTURES[model]().eval()
    batch = ENCODED if device.type == 'cuda' else 1
    return SamMaskGenerator(sam, model, '0' * 64, settings, device, level, encoder_batch=batch)


def mask_side(model: str) -> int:
    """Return the side of the decoder's masks in pixels: four times the embedding's."""
    return 4 * int(ARCHITECTURES[model]().prompt_encoder.image_embedding_size[0])


@contextmanager
def answers(points: int, side: int) -> Iterator[None]:
    """Replace the answers of mask decoders by drawn masks of ``side`` pixels, after they have done their work.

    Args:
        points: Points per side of a window.
        side: Of the decoder's masks, in pixels.
    """
    drawn = blobs(np.random.default_rng(0), _MASKS, (side, side))
    rng = np.random.default_rng(1)
    count = 3 * points**2
    which = torch.from_numpy(rng.integers(0, _MASKS, count))
    predicted_iou = torch.from_numpy(np.where(rng.random(count) < 0.4, rng.uniform(0.88, 1, count), 0.5)).float()
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
        return logits.to(**kind)[which[at]].unflatten(0, (-1, 3)), predicted_iou[at].to(**kind).view(-1, 3)

    def fast(
        self: SharedMaskDecoder, image: SharedImage, prompts: Tensor, size: Any, inside: Any, select: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        at = next_points(len(prompts))
        iou = predicted_iou[at].to(prompts.device).view(-1, 3)
        drawn_of_point = which[at].to(prompts.device)
        masks, _, number = shared(self, image, prompts, size, inside, lambda _: select(iou))
        height, width = masks.shape[1:]
        return logits.to(prompts.device)[drawn_of_point[number], :height, :width], iou.flatten()[number], number

    with mock.patch.object(MaskDecoder, 'forward', plain), mock.patch.object(SharedMaskDecoder, 'decode', fast):
        yield
