"""How far two sets of masks of one window agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.masks.boundary_map import boundary_map
from stage1_sam_cache.masks.instance_masks import InstanceMasks


def agreement(first: InstanceMasks, second: InstanceMasks) -> str:
    """Describe how far two sets of masks agree."""
    if not len(first) or not len(second):
        return f'{len(first)} and {len(second)} masks'
    a, b = (m.masks.reshape(len(m), -1).astype(np.float32) for m in (first, second))
    both = a @ b.T
    overlap = both / (a.sum(1)[:, None] + b.sum(1)[None] - both)
    best = overlap.max(1)
    if len(first) == len(second) and np.array_equal(first.masks, second.masks):
        return 'identical'
    return (
        f'{(best >= 0.95).mean():.1%} matched at IoU 0.95, mean IoU {best.mean():.4f}, '
        f'boundary F {boundary_f(first, second):.4f}, {len(second) - len(first):+d} masks'
    )


def boundary_f(first: InstanceMasks, second: InstanceMasks) -> float:
    """Return the F score of the boundary maps, pixel by pixel, in [0, 1]."""
    maps: list[NDArray[np.bool_]] = [boundary_map(m.in_painting_order('area_desc').id_map, 1) for m in (first, second)]
    hit = (maps[0] & maps[1]).sum()
    return float(2 * hit / max(maps[0].sum() + maps[1].sum(), 1))
