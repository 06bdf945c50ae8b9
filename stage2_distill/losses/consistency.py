"""Consistency constraint between neighbouring windows (Eq. 1); the mean over overlaps is taken in ``MKAHead``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SPACES = ('softmax', 'logits')


def consistency_loss(left: Tensor, right: Tensor, space: str = 'softmax') -> Tensor:
    """Compute the mean squared difference of two windows' predictions on their overlap (Eq. 1).

    Args:
        left: Logits of window i inside the overlap, ``(..., C, h, o)``.
        right: Logits of window j on the same pixels.
        space: Compare ``'softmax'`` probabilities, which keeps the loss on one scale for every assistant, or
            ``'logits'``; the paper only says predictions.

    Returns:
        Scalar float32, the mean over all dimensions; 0 without overlaps. Both sides receive gradient.

    Raises:
        ValueError: If the shapes differ, or the space is unknown.
    """
    if left.shape != right.shape:
        raise ValueError(
            f'overlap shapes differ: {tuple(left.shape)} and {tuple(right.shape)}; are both cut at the same columns?'
        )
    if space not in SPACES:
        raise ValueError(f'space {space!r} is none of {", ".join(SPACES)}')
    left, right = left.float(), right.float()
    if not left.numel():
        return left.sum() + right.sum()
    if space == 'softmax':
        left, right = left.softmax(-3), right.softmax(-3)
    return F.mse_loss(left, right)
