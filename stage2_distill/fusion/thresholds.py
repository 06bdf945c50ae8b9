"""How much of a mask its most frequent label has to cover: the paper's fixed thresholds, or the mean of a size level.

The mean is the adaptive threshold of GoodSAM++, read off its overview figure, which shows an average within each of
three levels on the axis of label coverage; neither its text nor code is public. A weight map of 1 then says that a mask
is clearer than others of its size, no longer that it is clear.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

THETAS = ('fixed', 'level_mean')
SCOPES = ('panorama', 'window')
AREA_UNITS = ('window', 'sam_input', 'relative')
SMALL, MEDIUM, LARGE = LEVELS = range(3)
_SAM_INPUT = 1024  # SAM enlarges a window's longer side to this many pixels
_EQUAL = 1e-12  # sums of shares differ by less with their order, different shares by more


def size_levels(area: Tensor, bounds: tuple[float, float], unit: str, window: Sequence[int]) -> Tensor:
    """Sort masks into small, medium and large ones.

    Args:
        area: In pixels of the window, int64 ``(K,)``.
        bounds: Smallest and largest area that count as medium.
        unit: Of the bounds, one of ``AREA_UNITS``.
        window: Its height and width.

    Returns:
        int64 ``(K,)``: ``SMALL``, ``MEDIUM`` or ``LARGE``.
    """
    height, width = window
    # Multiplied and divided, not scaled by a factor: 35 of 100 pixels are exactly 0.35 of a window, 35 * 0.01 are more.
    times, over = {
        'window': (1, 1),
        'sam_input': (_SAM_INPUT**2, max(height, width) ** 2),
        'relative': (1, height * width),
    }[unit]
    size = area.double() * times / over
    return (size >= bounds[0]).long() + (size > bounds[1]).long()


def fixed_thresholds(level: Tensor, medium: float, other: float) -> Tensor:
    """The paper's threshold of every mask, float64 ``(K,)``; as float32, 0.7 is less than 7 of 10."""
    return torch.full_like(level, other, dtype=torch.float64).masked_fill(level == MEDIUM, medium)


def mean_thresholds(
    share: Tensor, area: Tensor, level: Tensor, group: Tensor, groups: int, clamp: tuple[float, float] | None
) -> Tensor:
    """The mean share of the masks of one level and group, for each of them.

    Without a clamp, at least one mask of every level and group reaches its threshold.

    Args:
        share: Of each mask that its most frequent label covers, float64 ``(K,)`` in [0, 1].
        area: int64 ``(K,)``; masks of area 0, which others hide, do not count.
        level: ``size_levels``, int64 ``(K,)``.
        group: Number of the mask's panorama or window, int64 ``(K,)``.
        groups: How many there are.
        clamp: Least and largest threshold; None for any.

    Returns:
        float64 ``(K,)``. A level without masks needs no threshold.
    """
    place, counts = group * len(LEVELS) + level, (area > 0).double()
    total, number = (share.new_zeros(groups * len(LEVELS)).index_add_(0, place, x) for x in (share * counts, counts))
    theta = (total / number.clamp(min=1))[place]
    if clamp is not None:
        theta = theta.clamp(*clamp)
    # A share that is its level's mean but for rounding must reach it, whatever the order in which it was summed.
    return torch.where((share - theta).abs() < _EQUAL, share, theta)


def check_clamp(clamp: tuple[float, float] | None) -> None:
    """Refuse bounds that are no shares or out of order.

    Raises:
        ValueError: If they are.
    """
    if clamp is not None and not (len(clamp) == 2 and 0 <= clamp[0] <= clamp[1] <= 1):
        raise ValueError(f'theta_clamp={clamp!r} is neither None nor two shares such as (0.5, 0.9)')
