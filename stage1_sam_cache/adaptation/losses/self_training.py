"""The self-training loss of WeSAM: the student learns the thresholded masks of the teacher."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stage1_sam_cache.adaptation.losses.dice import dice_loss, require_pairs

FOCAL_WEIGHT = 20.0


class SelfTraining(NamedTuple):
    """The terms of the loss, scalars float32; ``focal`` has its weight of 20 already."""

    focal: Tensor
    dice: Tensor
    iou: Tensor

    @property
    def total(self) -> Tensor:
        """The loss."""
        return self.focal + self.dice + self.iou


def self_training_loss(
    masks: Tensor, expected_iou: Tensor, targets: Tensor, focal_alpha: float | Literal['count'] = 0.8
) -> SelfTraining:
    """``20 focal + dice + iou`` of the student's masks against the teacher's.

    ``focal`` is the mean of ``alpha (1 - q)^2 BCE`` with ``q = exp(-BCE)`` over all pixels, ``iou`` the squared error
    of the IoU that the student's decoder expects.

    Args:
        masks: Logits of the student, ``(N, h, w)``, N at least 1.
        expected_iou: What the decoder expects for each of them, ``(N,)``.
        targets: Thresholded masks of the teacher, bool ``(N, h, w)``.
        focal_alpha: ``alpha``, the same for both classes. WeSAM's code passes the number of instances in its place,
            and in that of the dice loss's smoothing; ``'count'`` does the same.

    Raises:
        ValueError: If there is no instance or the shapes differ.
    """
    require_pairs(masks, targets)
    if expected_iou.shape != masks.shape[:1]:
        raise ValueError(f'expected IoU of shape {tuple(expected_iou.shape)} for {len(masks)} masks')
    count = focal_alpha == 'count'
    alpha = float(len(masks)) if count else float(focal_alpha)
    logits = masks.float()
    cost = F.binary_cross_entropy_with_logits(logits, targets.float(), reduction='none')
    # 1 - exp(-cost) keeps its digits where the cost is small.
    focal = alpha * (torch.expm1(-cost).square() * cost).mean()
    error = expected_iou.float() - thresholded_iou(masks, targets)
    return SelfTraining(
        FOCAL_WEIGHT * focal,
        dice_loss(masks, targets, smooth=float(len(masks)) if count else 1.0),
        error.square().mean(),
    )


@torch.no_grad()
def thresholded_iou(masks: Tensor, targets: Tensor) -> Tensor:
    """Return the IoU of ``masks > 0`` and targets, float32 ``(N,)``; 0 where both are empty, as in WeSAM's code.

    WeSAM's code thresholds the logits at 0.5 here and at 0 elsewhere; here it is 0 everywhere, as in SAM.

    Args:
        masks: Logits ``(N, h, w)``.
        targets: bool, same shape.
    """
    found, true = (masks > 0).flatten(1), targets.bool().flatten(1)
    return (found & true).sum(1) / (found | true).sum(1).clamp(min=1)
