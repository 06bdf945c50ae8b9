"""A SAM with random weights whose answers are replaced by drawn masks, so that all that follows has as much to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor

from benchmarks.common import blobs
from stage1_sam_cache.sam.fast_decoder import SharedMaskDecoder
from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
from stage1_sam_cache.sam.settings import SamSettings
from stage1_sam_cache.sam.shared_attention import SharedImage
from stage1_sam_cache.sam.weights import ARCHITECTURES

_MASKS = 75  # that survive the filters
TINY = 'tiny'  # a model
ENCODED = 8  # windows per encoder batch on a GPU


def random_sam(model: str, device: torch.device) -> Sam:
    """Build a SAM with random weights on a device, the same weights each time; ``tiny`` takes milliseconds on a CPU."""
    torch.manual_seed(0)
    with device:  # of ViT-H, a CPU takes many seconds to draw the weights
        return (_tiny() if model == TINY else ARCHITECTURES[model]()).eval()


def random_generator(
    model: str, level: str, settings: SamSettings, device: torch.device, compiled: bool = False
) -> SamMaskGenerator:
    """Build a generator of a level with random weights; the same weights for every level."""
    batch = ENCODED if device.type == 'cuda' else 1
    sam = random_sam(model, device)
    return SamMaskGenerator(sam, model, '0' * 64, settings, device, level, encoder_batch=batch, compiled=compiled)


def mask_side(model: str) -> int:
    """Return the side of the decoder's masks in pixels: four times the embedding's."""
    return 4 * int(random_sam(model, torch.device('meta')).prompt_encoder.image_embedding_size[0])


def _tiny() -> Sam:
    """SAM's own modules at a size for trying things out: images of 64 pixels, 16 places."""
    width, places, size = 16, (4, 4), 64
    encoder = ImageEncoderViT(
        img_size=size, patch_size=16, embed_dim=32, depth=2, num_heads=2, out_chans=width, use_rel_pos=True,
        global_attn_indexes=(1,), window_size=3,
    )  # fmt: skip
    decoder = MaskDecoder(
        transformer_dim=width, transformer=TwoWayTransformer(depth=2, embedding_dim=width, num_heads=2, mlp_dim=32)
    )
    return Sam(encoder, PromptEncoder(width, places, (size, size), mask_in_chans=4), decoder)


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

    @cache
    def on(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        return logits.to(device), which.to(device), predicted_iou.to(device)

    def plain(self: MaskDecoder, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        masks, _ = stock(self, *args, **options)
        at = next_points(len(masks))
        logits, which, predicted_iou = on(masks.device)
        return logits[which[at]].unflatten(0, (-1, 3)), predicted_iou[at].view(-1, 3)

    def fast(
        self: SharedMaskDecoder, image: SharedImage, prompts: Tensor, size: Any, inside: Any, select: Any, fill: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        at = next_points(len(prompts))
        logits, which, predicted_iou = on(prompts.device)
        iou, drawn_of_point = predicted_iou[at].view(-1, 3), which[at]
        masks, _, number = shared(self, image, prompts, size, inside, lambda _: select(iou), fill)
        height, width = masks.shape[1:]
        return logits[drawn_of_point[number], :height, :width], iou.flatten()[number], number

    with mock.patch.object(MaskDecoder, 'forward', plain), mock.patch.object(SharedMaskDecoder, 'decode', fast):
        yield
