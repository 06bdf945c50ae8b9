"""SAM's losses on the outputs of one crop, and the IoU that its points reach."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL, DICE = 20.0, 1.0


def sam_losses(masks: Tensor, iou: Tensor, targets: Tensor, points: int) -> dict[str, Tensor]:
    """Return SAM's losses on one crop.

    Args:
        masks: Logits ``(N + M, 4, h, w)`` of N points, then M boxes.
        iou: Predicted IoU ``(N + M, 4)``.
        targets: Part and whole under each prompt, shares in [0, 1], ``(N + M, 2, h, w)``.
        points: N.

    Returns:
        Scalars ``loss_focal``, ``loss_dice`` and ``loss_iou``.
    """
    focal, dice, overlap = compare(masks, targets)
    cost = FOCAL * focal + DICE * dice  # (N + M, 4 outputs, 2 targets)
    # A point may mean several masks, so the nearest of three outputs learns each; a box means the whole, output 0.
    nearest = cost[:points, 1:].detach().argmin(1, keepdim=True)
    both = [torch.cat([_mean_at(c[:points, 1:], nearest), c[points:, 0, 1:].mean(1)]) for c in (focal, dice)]
    best = overlap.amax(2)
    error = torch.cat([(iou - best)[:points, 1:].flatten(), iou[points:, 0] - overlap[points:, 0, 1]])
    return {
        'loss_focal': FOCAL * both[0].mean(),
        'loss_dice': DICE * both[1].mean(),
        'loss_iou': error.square().mean(),
    }


def _mean_at(cost: Tensor, nearest: Tensor) -> Tensor:
    return cost.gather(1, nearest).squeeze(1).mean(1)


def compare(masks: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare each output with each target.

    Args:
        masks: Logits ``(N, k, h, w)``.
        targets: Shares in [0, 1], ``(N, t, h, w)``.

    Returns:
        Focal loss, dice loss and IoU of the thresholded masks (without gradient), each ``(N, k, t)``.
    """
    logits, y = masks.flatten(2), targets.flatten(2).transpose(1, 2)
    p = logits.sigmoid()
    pixels = logits.shape[-1]
    hit = (1 - p).square() * F.softplus(-logits)
    miss = p.square() * F.softplus(logits)
    focal = (hit @ y + miss @ (1 - y)) / (2 * pixels)  # without the alpha that favours the outside
    dice = 1 - (2 * (p @ y) + 1) / (p.sum(2, keepdim=True) + y.sum(1, keepdim=True) + 1)
    with torch.no_grad():
        hard, true = (logits > 0).float(), (y >= 0.5).float()
        both = hard @ true
        union = hard.sum(2, keepdim=True) + true.sum(1, keepdim=True) - both
        overlap = both / union.clamp(min=1)
    return focal, dice, overlap


def point_quality(masks: Tensor, iou: Tensor, targets: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Return the IoU that each point reaches.

    Args:
        masks, iou, targets, points: As in ``sam_losses``.

    Returns:
        IoU of the best output with the whole, and IoU of the output of highest predicted IoU with part or whole,
        both ``(N,)``.
    """
    overlap = compare(masks[:points, 1:], targets[:points])[2]
    most_certain = iou[:points, 1:].argmax(1)
    return overlap[..., 1].amax(1), overlap.amax(2).gather(1, most_certain[:, None])[:, 0]
