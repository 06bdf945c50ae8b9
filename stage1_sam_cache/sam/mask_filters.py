"""What follows SAM's decoder, for all masks of an image at once, on their device and without waiting for it.

Masks that fail a filter stay in place, marked as such, because the number of those that pass is only known to the
device. ``choose`` removes them together with duplicates, and so waits once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from segment_anything.utils.amg import batched_mask_to_box, calculate_stability_score
from torch import Tensor
from torchvision.ops import nms

# Eight bytes of 0 or 1 times this have their bits in the highest byte, the first byte's on top.
_GATHER = 0x8040201008040201 - (1 << 64)


class Measured(NamedTuple):
    """``K`` masks of one image, all on one device.

    Attributes:
        bits: uint8 ``(K, h, ceil(w / 8))``, eight pixels per byte as ``numpy.packbits`` packs a row.
        stability: float32 ``(K,)``, SAM's stability score.
        boxes: int64 ``(K, 4)``: first and last column and row of each mask, as left, top, right, bottom.
    """

    bits: Tensor
    stability: Tensor
    boxes: Tensor


def measure(logits: Tensor, threshold: float, offset: float, pad: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Measured:
    """Measure masks as segment_anything's generator does.

    Args:
        logits: float32 ``(K, h, w)``.
        threshold: A pixel belongs to a mask above it.
        offset: By how much the threshold is moved for the stability score.
        pad: Left, right, top, bottom: pixels that ``bits`` have around the masks, outside all of them.
    """
    masks = logits > threshold
    stability = calculate_stability_score(logits, threshold, offset)
    return Measured(pack(F.pad(masks, pad) if any(pad) else masks), stability, batched_mask_to_box(masks))


def pack(masks: Tensor) -> Tensor:
    """Pack bool ``(K, h, w)`` into bits, uint8 ``(K, h, ceil(w / 8))``, as ``numpy.packbits`` does."""
    missing = -masks.shape[2] % 8
    eights = (F.pad(masks, (0, missing)) if missing else masks.contiguous()).view(torch.int64)
    return (eights * _GATHER >> 56).to(torch.uint8)  # wraps around, and so keeps the lowest eight bits


def choose(boxes: Tensor, scores: Tensor, passed: Tensor, overlap: float) -> Tensor:
    """Choose the masks that pass, without those whose box overlaps a better one's; the only wait.

    Args:
        boxes: ``(K, 4)``.
        scores: float32 ``(K,)``.
        passed: bool ``(K,)``.
        overlap: IoU of two boxes above which the worse is a duplicate.

    Returns:
        int64 ``(M,)``, best first.
    """
    # What fails comes last, where it can remove nothing that passes.
    kept = nms(boxes.float(), scores.masked_fill(~passed, -torch.inf), overlap)
    return kept[passed[kept]]


def places(chosen: Tensor, count: int) -> Tensor:
    """Where a bool vector is True, as ``nonzero`` gives it, if it is known in how many places; no wait."""
    return chosen.to(torch.uint8).argsort(descending=True, stable=True)[:count]
