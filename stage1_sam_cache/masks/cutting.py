"""Masks of a panorama cut to a box of it, and masks of a box put where it lies in the panorama; all as runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.masks.instance_masks import InstanceMasks


def cut(masks: InstanceMasks, box: Box, least_area: int = 1) -> InstanceMasks:
    """Cut masks of a whole panorama to a box.

    Args:
        masks: Of the panorama, ``H x W``.
        box: Inside its rows; past the right border the panorama goes on at its left.
        least_area: Masks of fewer pixels in the box are dropped.

    Returns:
        Masks of ``box.height x box.width``, in their order and with their scores; none empty.
    """
    width, end = masks.shape[1], box.left + box.width
    inside = (masks.rows >= box.top) & (masks.rows < box.top + box.height)
    here = np.flatnonzero(inside & (masks.ends > box.left) & (masks.starts < end))
    beyond = np.flatnonzero(inside & (masks.starts < end - width))
    run = np.concatenate([here, beyond])
    shift = np.repeat([-box.left, width - box.left], [len(here), len(beyond)])
    starts = np.maximum(masks.starts[run] + shift, 0)
    ends = np.minimum(masks.ends[run] + shift, box.width)
    rows = masks.rows[run] - box.top
    return at_least(_joined(masks, (box.height, box.width), masks.mask_of_run[run], rows, starts, ends), least_area)


def put(masks: InstanceMasks, box: Box, shape: tuple[int, int]) -> InstanceMasks:
    """Put masks of a box where it lies in a panorama; the inverse of ``cut`` for masks that lie in the box.

    Args:
        masks: Of ``box.height x box.width``, or of a padded window whose padding is in no mask.
        box: As for ``cut``, without padding.
        shape: ``(H, W)`` of the panorama.
    """
    starts, ends, width = masks.starts + box.left, masks.ends + box.left, shape[1]
    here, beyond = np.flatnonzero(starts < width), np.flatnonzero(ends > width)
    run = np.concatenate([here, beyond])
    starts = np.concatenate([starts[here], np.maximum(starts[beyond] - width, 0)])
    ends = np.concatenate([np.minimum(ends[here], width), ends[beyond] - width])
    return _joined(masks, shape, masks.mask_of_run[run], masks.rows[run] + box.top, starts, ends)


def concatenate(parts: Sequence[InstanceMasks], shape: tuple[int, int]) -> InstanceMasks:
    """Return the masks of all parts, each of this shape, one part after the other."""
    if not parts:
        return InstanceMasks.from_dense(np.zeros((0, *shape), bool))
    names = ('runs_per_mask', 'rows', 'starts', 'ends', 'predicted_iou', 'stability')
    return InstanceMasks(shape, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def at_least(masks: InstanceMasks, area: int) -> InstanceMasks:
    """Return the masks of at least this many pixels."""
    return masks if area <= 1 else masks.take(np.flatnonzero(masks.area >= area))


def _joined(
    masks: InstanceMasks,
    shape: tuple[int, int],
    mask: NDArray[np.int64],
    row: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
) -> InstanceMasks:
    """Make masks of runs of ``masks`` that were moved; runs that touch now become one, as at the seam."""
    line = mask * shape[0] + row
    order = np.lexsort((start, line))
    line, start, end = line[order], start[order], end[order]
    touch = (line[1:] == line[:-1]) & (start[1:] == end[:-1])
    first, last = np.ones(len(line), bool), np.ones(len(line), bool)
    first[1:], last[:-1] = ~touch, ~touch
    kept = line[first]
    scores = masks.predicted_iou, masks.stability
    return InstanceMasks.from_runs(
        shape, len(masks), kept // shape[0], kept % shape[0], start[first], end[last], *scores
    )
