"""Semantic Segment Anything's fusion, a baseline of Table 5: every mask takes its most frequent label."""

from __future__ import annotations

import torch
from torch import Tensor

from stage2_distill.fusion.ctcf import Fused, Masks, count_labels, prepare
from stage2_distill.fusion.pixelwise import PixelPrediction, first_argmax


@torch.no_grad()
def fuse(masks: Masks, logits: Tensor, *, support: str = 'full', predicted: PixelPrediction | None = None) -> Fused:
    """Majority vote in every mask; pixels in no mask keep the teacher assistant's label.

    Args:
        masks: As ``ctcf.fuse`` takes them.
        logits: ``(C, h, w)`` or ``(N, C, h, w)``.
        support: Count in the mask's ``'full'`` extent or in its ``'visible'`` part.
        predicted: As ``ctcf.fuse`` takes it.

    Returns:
        Labels, and a weight map of 1 in masks: the baseline itself has none.

    Raises:
        ValueError: If masks and logits are of different windows.
    """
    atoms, logits, single = prepare(masks, logits)
    assistant = predicted.labels if predicted else first_argmax(logits)
    label = count_labels(atoms, assistant, logits.shape[1], support).argmax(1)
    labels, weight = atoms.paint(label, assistant), atoms.covered.float()
    return Fused(labels[0], weight[0]) if single else Fused(labels, weight)
