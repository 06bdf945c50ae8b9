"""From a network's small map of logits to labels at the image's size, without logits at that size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BYTES_PER_PIXEL = 16  # two float32, a bool, a label, and the small logits of some 20 classes
CONFIDENCE_BYTES = 12  # more: the sum, what is added to it, and the result
CONFIDENCE_SCALE = 255  # what a probability of 1 is in a confidence map


def enlarged_labels(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Label every pixel with the class whose enlarged logit is largest.

    The labels are those of ``F.interpolate(logits, size, mode='bilinear').argmax(0)``, but classes are enlarged one
    after the other, so that memory does not grow with their number: 19 classes of an 8192x2768 image would be 1.7 GB.

    Args:
        logits: ``(C, h, w)``, C at most 256.
        size: Rows and columns of the labels.

    Returns:
        uint8 ``(H, W)`` on the same device.
    """
    assert len(logits) <= 256
    labels = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    best = _enlarged(logits[0], size)
    for index in range(1, len(logits)):
        values = _enlarged(logits[index], size)
        better = values > best  # the first of equal classes, as argmax has it on a CPU
        labels.masked_fill_(better, index)
        best = torch.maximum(best, values, out=best)
    return labels


def enlarged_with_confidence(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Label every pixel as ``enlarged_labels`` does, and say how probable the label is.

    The probability is the largest of ``F.interpolate(logits, size, mode='bilinear').softmax(0)``, in memory that does
    not grow with the number of classes either.

    Args:
        logits: ``(C, h, w)``, C at most 256.
        size: Rows and columns of the result.

    Returns:
        uint8 ``(2, H, W)`` on the same device: labels, and probabilities times ``CONFIDENCE_SCALE``, rounded.
    """
    assert len(logits) <= 256
    labels = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    best = _enlarged(logits[0], size)
    total = torch.ones_like(best)  # of exp(logit - best) over the classes so far
    for index in range(1, len(logits)):
        values = _enlarged(logits[index], size)
        labels.masked_fill_(values > best, index)
        larger = torch.maximum(best, values)
        total.mul_(best.sub_(larger).exp_()).add_(values.sub_(larger).exp_())
        best = larger
    confidence = total.reciprocal_().mul_(CONFIDENCE_SCALE).round_().to(torch.uint8)
    return torch.stack([labels, confidence])


def _enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[None, None], size, mode='bilinear', align_corners=False)[0, 0]
