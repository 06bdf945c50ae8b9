"""The dice loss of WeSAM, whose sums run over all instances of an image."""

from __future__ import annotations

from torch import Tensor


def dice_loss(masks: Tensor, targets: Tensor, smooth: float = 1.0) -> Tensor:
    """``1 - (2 sum p y + s) / (sum p + sum y + s)`` with ``p = sigmoid(masks)``.

    Sums over all instances, not a mean of each instance's loss: large instances count more, as in WeSAM's code.

    Args:
        masks: Logits ``(N, h, w)``, N at least 1.
        targets: bool, same shape.
        smooth: ``s``; keeps the loss finite where everything is background.

    Returns:
        Scalar float32 in [0, 1].

    Raises:
        ValueError: If there is no instance or the shapes differ.
    """
    require_pairs(masks, targets)
    p, y = masks.float().sigmoid(), targets.float()
    return 1 - (2 * (p * y).sum() + smooth) / (p.sum() + y.sum() + smooth)


def require_pairs(masks: Tensor, targets: Tensor) -> None:
    """Check that every mask has a target.

    Raises:
        ValueError: If there is no instance, or the shapes differ or are not ``(N, h, w)``.
    """
    if masks.ndim != 3 or masks.shape != targets.shape or not len(masks):
        raise ValueError(
            f'masks {tuple(masks.shape)} and targets {tuple(targets.shape)}: both have to be (N, h, w), N at least 1'
        )
