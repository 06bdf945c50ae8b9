"""How well two windows agree on the masks in their overlap: a measure of masks that needs no labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.geometry.boxes import inside
from stage1_sam_cache.geometry.windows import WindowGrid
from stage1_sam_cache.masks.cutting import cut
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.masks.pairwise_iou import pairwise_iou

MIN_AREA = 100  # pixels in the overlap


def overlap_agreement(
    windows: Sequence[InstanceMasks], grid: WindowGrid, min_area: int = MIN_AREA
) -> NDArray[np.float64]:
    """Find, for every mask in an overlap, the mask of the other window that fits best there.

    Masks of both windows are cut to the overlap. Each direction counts: masks of the first window in the second, and
    of the second in the first. The mean of all values is the overlap agreement. It says nothing by itself: a few huge
    masks agree perfectly, and so do masks that are wrong in the same way.

    Args:
        windows: Masks of each window of the grid.
        grid: The windows of the panorama.
        min_area: Masks with fewer pixels in the overlap are not counted; they may be the best of another one.

    Returns:
        float64 ``(n,)`` in [0, 1], the IoU of each counted mask with its best; 0 where the other window has no masks.

    Raises:
        ValueError: If there are not as many windows as the grid has.
    """
    if len(windows) != len(grid.windows):
        raise ValueError(f'masks of {len(windows)} windows for a grid of {len(grid.windows)}')
    found = [np.zeros(0)]
    for overlap in grid.overlaps:
        valid = grid.valid(overlap.box)
        first, second = (
            cut(windows[i], inside(grid.windows[i], valid, grid.width)) for i in (overlap.first, overlap.second)
        )
        iou = pairwise_iou(first, second)
        found += [iou.max(1, initial=0.0)[first.area >= min_area], iou.max(0, initial=0.0)[second.area >= min_area]]
    return np.concatenate(found)
