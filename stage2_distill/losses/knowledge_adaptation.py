"""Knowledge adaptation (Eq. 4 to 6): cross-entropy with the assistant's labels, and with the ensemble's in windows.

All losses take log-probabilities ``log_p``, float32 ``logits.float().log_softmax(-3)``, because Eq. 4 and 5 share those
of the student's panorama.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE

REDUCTIONS = ('mean', 'sum')


def whole_image_loss(
    log_p: Tensor, labels: Tensor, reduction: str = 'mean', class_weight: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the student's whole panorama with the assistant's labels (Eq. 4).

    Args:
        log_p: The student's, ``(B, C, H, W)``.
        labels: Labels of the assistant's assembled prediction ``S_TA^w``, int64 ``(B, H, W)``.
        reduction: ``'mean'`` over pixels, or ``'sum'``.
        class_weight: How much each class counts, float32 ``(C,)``; None: all the same, as in the paper.

    Returns:
        Scalar float32.

    Raises:
        ValueError: If the shapes differ, or the reduction is unknown.
    """
    return ensemble_loss(log_p, labels, reduction=reduction, class_weight=class_weight)


def soft_whole_image_loss(
    log_p: Tensor,
    assistant: Tensor,
    reduction: str = 'mean',
    class_weight: Tensor | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """Eq. 4 with the assistant's distribution in place of its labels.

    Args:
        log_p: The student's, ``(B, C, H, W)``.
        assistant: Logits ``S_TA^w``, same shape; no gradient flows into them.
        reduction: As for ``whole_image_loss``.
        class_weight: As for ``whole_image_loss``.
        labels: int64 ``(B, H, W)``; they only say which pixels count, those that are not 255. None: all.

    Returns:
        Scalar float32.

    Raises:
        ValueError: If the shapes differ, or the reduction is unknown.
    """
    if labels is None:
        labels = assistant.new_zeros((*assistant.shape[:-3], *assistant.shape[-2:]), dtype=torch.int64)
    soft = assistant.detach().float().softmax(-3)
    return soft_ensemble_loss(log_p, soft, labels, reduction=reduction, class_weight=class_weight)


def ensemble_loss(
    log_p: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    lam: float = 0.0,
    reduction: str = 'mean',
    class_weight: Tensor | None = None,
    places: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with ensemble labels in which reliable pixels count ``1 + lam`` times (Eq. 5 and 6).

    The second sum of the equations is the same loss over reliable masks alone, so one weighted sum is both.

    Args:
        log_p: ``(..., C, h, w)``.
        labels: int64 ``(..., h, w)``; 255 does not count.
        weight: Weight map ``M`` in [0, 1], ``(..., h, w)``.
        lam: Lambda; 0.2 in the paper.
        reduction: ``'mean'`` divides by the number of pixels that count, not by their weights; ``'sum'`` does not
            divide.
        class_weight: How much each class counts, float32 ``(C,)``; None: all the same, as in the paper. The mean still
            divides by the number of pixels, so weights should have mean 1 over the pixels to keep the losses' balance.
        places: With them ``log_p`` is of panoramas ``(B, C, H, W)``, labels and weight of their windows
            ``(B, n, h, w)``, and these int64 ``(n, h, w)`` say where the pixels of windows lie
            (``geometry.window_batch.places``): the same as cutting windows out, without copying what they share.

    Returns:
        Scalar float32; 0 if no pixel counts.

    Raises:
        ValueError: If the shapes differ, or the reduction is unknown.
    """
    counted = labels != IGNORE
    if places is not None:
        chosen = labels.where(counted, 0)
        losses = _entropy_at(log_p, chosen, places) * counted
        losses = losses if class_weight is None else losses * class_weight[chosen]
    else:
        _check_shapes(log_p, labels)
        flat = log_p.reshape(-1, *log_p.shape[-3:]), labels.reshape(-1, *labels.shape[-2:])
        losses = F.nll_loss(*flat, class_weight, ignore_index=IGNORE, reduction='none').view(labels.shape)
    return _weigh(losses, counted, weight, lam, reduction)


def soft_ensemble_loss(
    log_p: Tensor,
    soft: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    lam: float = 0.0,
    reduction: str = 'mean',
    class_weight: Tensor | None = None,
) -> Tensor:
    """``ensemble_loss`` with distributions in place of the labels.

    Args:
        log_p: ``(..., C, h, w)``.
        soft: Distributions, same shape; they get no gradient.
        labels: int64 ``(..., h, w)``; only says which pixels count, those that are not 255.
        weight, lam, reduction, class_weight: As for ``ensemble_loss``.

    Returns:
        Scalar float32; 0 if no pixel counts.

    Raises:
        ValueError: If the shapes differ, or the reduction is unknown.
    """
    _check_shapes(log_p, labels)
    target, counted = soft.detach().float(), labels != IGNORE
    if class_weight is not None:
        target = target * class_weight[:, None, None]
    return _weigh(-(target * log_p).sum(-3) * counted, counted, weight, lam, reduction)


def _entropy_at(log_p: Tensor, labels: Tensor, places: Tensor) -> Tensor:
    """Cross-entropy of labels of windows ``(B, n, h, w)`` with log-probabilities of panoramas ``(B, C, H, W)``."""
    chosen = labels * (log_p.shape[2] * log_p.shape[3]) + places
    return -log_p.flatten(1).gather(1, chosen.flatten(1)).view(labels.shape)


def _check_shapes(log_p: Tensor, labels: Tensor) -> None:
    if (*log_p.shape[:-3], *log_p.shape[-2:]) != tuple(labels.shape):
        raise ValueError(f'log-probabilities of {tuple(log_p.shape)} do not fit labels of {tuple(labels.shape)}')


def _weigh(losses: Tensor, counted: Tensor, weight: Tensor | None, lam: float, reduction: str) -> Tensor:
    """Weigh reliable pixels and reduce."""
    if reduction not in REDUCTIONS:
        raise ValueError(f'reduction {reduction!r} is none of {", ".join(REDUCTIONS)}')
    if weight is not None:
        losses = losses * (1 + lam * weight)
    total = losses.sum()
    return total / counted.sum().clamp(min=1) if reduction == 'mean' else total
