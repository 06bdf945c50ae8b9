"""Labels, entropies and margins of every pixel's logits, in as few passes over them as it takes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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
    labels = first_argmax(x)
    if x.device.type != 'cpu':
        entropy, margin = _certainty(x.float(), labels)
    else:
        entropy, margin = (torch.empty(labels.shape) for _ in range(2))
        room = torch.empty(2, 1, *x.shape[1:])
        for i in range(len(x)):  # window by window in the same memory
            entropy[i], margin[i] = _certainty(x[i : i + 1].float(), labels[i : i + 1], room)
    shape = *logits.shape[:-3], *logits.shape[-2:]
    return PixelPrediction(labels.view(shape), entropy.view(shape), margin.view(shape))


def _certainty(x: Tensor, labels: Tensor, room: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Entropy ``log sum e^x - sum x e^x / sum e^x`` and margin, ``(N, n)`` of logits ``(N, C, n)``.

    ``room``, two tensors like x, saves their allocation.
    """
    at = labels[:, None]
    shifted, power = (None, None) if room is None else room
    shifted = torch.sub(x, x.gather(1, at), out=shifted).clamp_(min=-1e4)  # 0 times minus infinity is NaN
    power = torch.exp(shifted, out=power)
    total = power.sum(1)
    rival = power.scatter_(1, at, 0.0).amax(1)  # the most likely class adds nothing to the second sum either way
    return total.log() - power.mul_(shifted).sum(1) / total, (1 - rival) / total


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
