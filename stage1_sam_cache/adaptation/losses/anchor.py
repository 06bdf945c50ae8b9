"""The anchor loss of WeSAM: student and teacher are held near the masks of the original SAM."""

from __future__ import annotations

from torch import Tensor

from stage1_sam_cache.adaptation.losses.dice import dice_loss

WEIGHT = 0.5


def anchor_term(masks: Tensor, targets: Tensor) -> Tensor:
    """Half of the anchor loss, of the student or of the teacher: ``0.5 dice``.

    Args:
        masks: Logits ``(N, h, w)``, N at least 1.
        targets: Thresholded masks of the original SAM, bool, same shape.

    Raises:
        ValueError: If there is no instance or the shapes differ.
    """
    return WEIGHT * dice_loss(masks, targets)


def anchor_loss(student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
    """``0.5 dice(student, anchor) + 0.5 dice(teacher, anchor)``; arguments as in ``anchor_term``."""
    return anchor_term(student, targets) + anchor_term(teacher, targets)
