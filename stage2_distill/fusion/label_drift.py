"""How labels move during training: the pixels of each class, agreement with earlier labels, classes that vanish."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_counts(labels: Tensor, classes: int) -> Tensor:
    """Count the pixels of each class, without waiting for the device.

    Args:
        labels: Class ids of any integer dtype and shape; ids of ``classes`` and more, such as 255, are not counted.
        classes: Number of classes.

    Returns:
        int64 ``(classes,)``.
    """
    place = labels.detach().flatten().long().clamp(max=classes)
    return place.new_zeros(classes + 1).index_add_(0, place, torch.ones_like(place))[:classes]


def shares(counts: Tensor) -> Tensor:
    """Divide the pixels of each class ``(C,)`` by their sum; float64 ``(C,)``, all 0 where nothing was counted."""
    return counts.double() / counts.sum().clamp(min=1)


def agreement(labels: Tensor, start: Tensor) -> float:
    """Return the share of pixels, in [0, 1], that have the label they had at the start.

    Args:
        labels: Class ids of any shape.
        start: Earlier labels of the same pixels.

    Raises:
        ValueError: If the shapes differ.
    """
    if labels.shape != start.shape:
        raise ValueError(f'labels {tuple(labels.shape)} and {tuple(start.shape)} are not of the same pixels')
    return float((labels == start).double().mean())


def vanishing(counts: Tensor, start: Tensor, min_share: float, kept: float) -> Tensor:
    """Find classes that held at least ``min_share`` of the labels, and now hold less than ``kept`` of that share.

    Args:
        counts: Pixels of each class, ``(C,)``.
        start: The same of earlier labels.
        min_share: In [0, 1], of all pixels; smaller classes are not looked at.
        kept: In [0, 1], of the earlier share.

    Returns:
        bool ``(C,)``.
    """
    before, now = shares(start), shares(counts)
    return (before >= min_share) & (now < kept * before)


def drift_signs(
    labels: Tensor, start: Tensor, names: Sequence[str], min_agreement: float, min_share: float, kept: float
) -> list[str]:
    """Say in words how labels have drifted.

    Args:
        labels: Class ids ``(n,)`` of some pixels.
        start: Earlier labels of the same pixels.
        names: Of the classes.
        min_agreement: Less agreement with the start is a sign.
        min_share: As for ``vanishing``, each of whose classes is a sign.
        kept: Likewise.

    Returns:
        The signs; empty if labels have not drifted.

    Raises:
        ValueError: If the shapes differ.
    """
    agreed = agreement(labels, start)
    before, now = (class_counts(each, len(names)) for each in (start, labels))
    gone = vanishing(now, before, min_share, kept)
    signs = [f'{agreed:.1%} of the pixels have the label of the start'] if agreed < min_agreement else []
    return signs + [
        f'{names[i]} fell from {was:.2%} to {holds:.2%}'
        for i, (was, holds) in enumerate(zip(shares(before).tolist(), shares(now).tolist(), strict=True))
        if gone[i]
    ]
