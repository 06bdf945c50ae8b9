"""Semantic Segment Anything's fusion, a baseline of Table 5: every mask takes its most frequent label."""

from __future__ import annotations

import torch
from torch import Tensor

from stage2_distill.fusion.ensemble import Fused, Masks, count_labels, prepare
from stage2_distill.fusion.pixelwise import PixelPrediction, first_argmax


@torch.no_grad()
def fuse(masks: Masks, logits: Tensor, *, support: str = 'full', predicted: PixelPrediction | None = None) -> Fused:
    """Take the majority vote in every mask; pixels in no mask keep the teacher assistant's label.

    Args:
        masks: As for ``ctcf.fuse``.
        logits: As for ``ctcf.fuse``.
        support: Count in the mask's ``'full'`` extent or in its ``'visible'`` part.
        predicted: As for ``ctcf.fuse``.

    Returns:
        Labels, and a weight map of 1 in masks: the baseline itself has none.

    Raises:
        ValueError: If masks and logits belong to different windows.
    """
    windows = prepare(masks, logits)
    atoms, logits = windows.atoms, windows.logits
    assistant = first_argmax(logits) if predicted is None else windows.flat(predicted).labels
    label = count_labels(atoms, assistant, logits.shape[1], support).argmax(1)
    return windows.fused(atoms.paint(label, assistant), atoms.covered.float())
