"""Labels, entropies and margins of every pixel's logits, in as few passes over them as it takes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stage2_distill.fusion.pixel_loop import compiled_loop, sums_of

_LOWEST = -1e4  # of a logit minus the largest: 0 times minus infinity is NaN


class PixelPrediction(NamedTuple):
    """What the teacher assistant says of every pixel of windows.

    Attributes:
        labels: The most likely class, of equals the first; int64 ``(..., h, w)``.
        entropy: Of the distribution over the classes, float32 ``(..., h, w)`` in [0, log C].
        margin: Largest minus second largest probability, float32 ``(..., h, w)`` in [0, 1]; with one class the largest.
    """

    labels: Tensor
    entropy: Tensor
    margin: Tensor


@torch.no_grad()
def predict_pixels(logits: Tensor) -> PixelPrediction:
    """Predict every pixel from logits ``(..., C, h, w)``; minus infinity is a probability of 0."""
    x = logits.reshape(-1, logits.shape[-3], logits.shape[-2] * logits.shape[-1])
    if x.device.type != 'cpu':
        labels = first_argmax(x)
        entropy, margin = _certainty(x.float(), labels)
    else:
        labels, entropy, margin = _by_window(x)
    shape = *logits.shape[:-3], *logits.shape[-2:]
    return PixelPrediction(labels.view(shape), entropy.view(shape), margin.view(shape))


def _certainty(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy ``log sum e^x - sum x e^x / sum e^x`` and margin, ``(N, n)`` of logits ``(N, C, n)``."""
    at = labels[:, None]
    shifted = (x - x.gather(1, at)).clamp_(min=_LOWEST)
    power = shifted.exp()
    total = power.sum(1)
    rival = power.scatter_(1, at, 0.0).amax(1)  # the most likely class adds nothing to the second sum either way
    return total.log() - power.mul_(shifted).sum(1) / total, (1 - rival) / total


def _by_window(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, entropies and margins ``(N, n)`` of logits ``(N, C, n)``, window by window in the same memory."""
    labels = x.new_empty(len(x), x.shape[2], dtype=torch.int64)
    entropy, margin = (torch.empty(labels.shape) for _ in range(2))
    loop = compiled_loop()
    room = () if loop else torch.empty(2, *x.shape[1:])
    for i, window in enumerate(x):
        sums = sums_of(loop, window, labels[i]) if loop else _sums(window.float(), labels[i], *room)
        total, weighted, gap = sums
        torch.log(total, out=entropy[i]).sub_(weighted.div_(total))
        torch.sub(1, gap.clamp_(min=_LOWEST).exp_(), out=margin[i]).div_(total)
    return labels, entropy, margin


def _sums(x: Tensor, labels: Tensor, shifted: Tensor, power: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What ``pixel_loop.sum_up`` computes of ``(C, n)``, in PyTorch's operations; ``shifted`` and ``power`` are room.

    The two largest logits are found plane by plane, so that no value has to be fetched from its label's plane.
    """
    place, best, rival = _two_largest(x)
    labels.copy_(place)
    torch.sub(x, best, out=shifted).clamp_(min=_LOWEST)
    total = torch.exp(shifted, out=power).sum(0)
    return total, power.mul_(shifted).sum(0), rival - best


def _two_largest(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Place of the largest of ``(C, n)``, of equals the first; the largest; the second, minus infinity if C is 1."""
    first, *others = values.unbind()
    best, rival, lower = first.clone(), torch.full_like(first, -torch.inf), torch.empty_like(first)
    place = torch.zeros_like(first, dtype=torch.uint8 if len(values) <= 256 else torch.int32)
    beats = torch.empty_like(first, dtype=torch.bool)
    for c, plane in enumerate(others, start=1):
        torch.maximum(rival, torch.minimum(plane, best, out=lower), out=rival)
        # The last that beat all before it.
        torch.maximum(place, torch.gt(plane, best, out=beats).view(torch.uint8).to(place.dtype).mul_(c), out=place)
        torch.maximum(best, plane, out=best)
    return place, best, rival


def first_argmax(values: Tensor, dim: int = 1) -> Tensor:
    """Return ``argmax``, of equals the first; int64. PyTorch's own is slow on CPUs unless ``dim`` is the last."""
    values = values.detach()
    if values.device.type != 'cpu':
        return values.argmax(dim)
    planes = values.unbind(dim)
    best = planes[0].clone()
    place = torch.zeros_like(best, dtype=torch.uint8 if len(planes) <= 256 else torch.int32)
    for c, plane in enumerate(planes[1:], start=1):
        torch.maximum(place, (plane > best).to(place.dtype).mul_(c), out=place)  # the last that beat all before it
        torch.maximum(best, plane, out=best)
    return place.long()


def margins(probabilities: Tensor) -> Tensor:
    """Subtract the second largest probability from the largest, ``(..., C, h, w)`` to ``(..., h, w)``."""
    first, *others = probabilities.detach().unbind(-3)
    best, rival = first.clone(), torch.zeros_like(first)
    for plane in others:
        torch.maximum(rival, torch.minimum(best, plane), out=rival)
        torch.maximum(best, plane, out=best)
    return best - rival
