"""Knowledge adaptation (Eq. 4 to 6): cross-entropy with the assistant's labels, and with the ensemble's in windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage2_distill.fusion.pixelwise import first_argmax

REDUCTIONS = ('mean', 'sum')


def whole_image_loss(
    student: Tensor,
    assistant: Tensor,
    soft: bool = False,
    temperature: float = 1.0,
    reduction: str = 'mean',
    class_weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the student's whole panorama with the assistant's assembled prediction (Eq. 4).

    Args:
        student: Logits ``(B, C, H, W)``.
        assistant: Logits ``S_TA^w``, same shape; no gradient flows into them.
        soft: Compare with the assistant's distribution, not with its labels.
        temperature: Divides both logits if ``soft``; the loss is scaled by its square, as in distillation.
        reduction: ``'mean'`` over pixels, or ``'sum'``.
        class_weight: How much each class counts, float32 ``(C,)``; None: all the same, as in the paper.

    Returns:
        Scalar float32.

    Raises:
        ValueError: If the shapes differ, or the reduction is unknown.
    """
    if student.shape != assistant.shape:
        raise ValueError(f'student of {tuple(student.shape)}, assistant of {tuple(assistant.shape)}')
    if not soft:
        labels = first_argmax(assistant.detach())
        return weighted_cross_entropy(student, labels, reduction=reduction, class_weight=class_weight)
    target = (assistant.detach().float() / temperature).softmax(1)
    if class_weight is not None:
        target = target * class_weight[:, None, None]
    losses = -(target * (student.float() / temperature).log_softmax(1)).sum(1) * temperature**2
    return _reduce(losses, losses.new_tensor(losses.numel()), reduction)


def weighted_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    lam: float = 0.0,
    soft: Tensor | None = None,
    reduction: str = 'mean',
    class_weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with ensemble labels in which reliable pixels count ``1 + lam`` times (Eq. 5 and 6).

    The second sum of the equations is the same loss over reliable masks alone, so one weighted sum is both.

    Args:
        logits: ``(N, C, h, w)``.
        labels: int64 ``(N, h, w)``; 255 does not count.
        weight: Weight map ``M`` in [0, 1], ``(N, h, w)``.
        lam: Lambda; 0.2 in the paper.
        soft: Distributions ``(N, C, h, w)`` that take the place of the labels where these count; they get no
            gradient.
        reduction: ``'mean'`` divides by the number of pixels that count, not by their weights; ``'sum'`` does not
            divide.
        class_weight: How much each class counts, float32 ``(C,)``; None: all the same, as in the paper. The mean still
            divides by the number of pixels, so weights should have mean 1 over the pixels to keep the losses' balance.

    Returns:
        Scalar float32; 0 if no pixel counts.

    Raises:
        ValueError: If the reduction is unknown.
    """
    log_p = logits.float().log_softmax(1)
    if soft is None:
        return weighted_nll(log_p, labels, weight, lam, reduction, class_weight)
    target, counted = soft.detach().float(), labels != IGNORE
    if class_weight is not None:
        target = target * class_weight[:, None, None]
    return _weigh(-(target * log_p).sum(1) * counted, counted, weight, lam, reduction)


def weighted_nll(
    log_p: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    lam: float = 0.0,
    reduction: str = 'mean',
    class_weight: Tensor | None = None,
    places: Tensor | None = None,
) -> Tensor:
    """``weighted_cross_entropy`` with labels, of log-probabilities; Eq. 4 and 5 share those of the student's panorama.

    Args:
        log_p: float32 ``(N, C, h, w)``.
        labels: As in ``weighted_cross_entropy``, and so are ``weight``, ``lam``, ``reduction``, ``class_weight``.
        places: The log-probabilities are of panoramas ``(B, C, H, W)``, labels and weight of their windows
            ``(B, n, h, w)``, and these int64 ``(n, h, w)`` say where a window's pixels lie
            (``window_batch.places``): the same as cutting windows out, without a copy of what they share.

    Returns:
        Scalar float32; 0 if no pixel counts.

    Raises:
        ValueError: If the reduction is unknown.
    """
    counted = labels != IGNORE
    if places is None:
        losses = F.nll_loss(log_p, labels, class_weight, ignore_index=IGNORE, reduction='none')
    else:
        losses = _entropy_at(log_p, labels.where(counted, 0), places, class_weight) * counted
    return _weigh(losses, counted, weight, lam, reduction)


def _entropy_at(log_p: Tensor, labels: Tensor, places: Tensor, class_weight: Tensor | None) -> Tensor:
    """Cross-entropy of windows' labels ``(B, n, h, w)`` with log-probabilities of panoramas ``(B, C, H, W)``."""
    chosen = labels * (log_p.shape[2] * log_p.shape[3]) + places
    entropy = -log_p.flatten(1).gather(1, chosen.flatten(1)).view(labels.shape)
    return entropy if class_weight is None else entropy * class_weight[labels]


def _weigh(losses: Tensor, counted: Tensor, weight: Tensor | None, lam: float, reduction: str) -> Tensor:
    if weight is not None:
        losses = losses * (1 + lam * weight)
    return _reduce(losses, counted.sum(), reduction)


def _reduce(losses: Tensor, count: Tensor, reduction: str) -> Tensor:
    if reduction not in REDUCTIONS:
        raise ValueError(f'reduction {reduction!r} is none of {", ".join(REDUCTIONS)}')
    total = losses.sum()
    return total / torch.clamp(count, min=1) if reduction == 'mean' else total
