"""What can be said about the masks of a cache without labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.masks.overlap_agreement import overlap_agreement


class CacheQuality(NamedTuple):
    """Means over the panoramas of a cache; NaN where there is nothing to average.

    Attributes:
        panoramas: How many were looked at.
        masks_per_window: Number of masks.
        coverage: Share of a window's pixels that lie in a mask, in [0, 1].
        predicted_iou: The generator's own estimate, over the masks that have one.
        stability: SAM's stability score, over the masks that have one.
        agreement: Overlap agreement over all masks in overlaps, in [0, 1].
    """

    panoramas: int
    masks_per_window: float
    coverage: float
    predicted_iou: float
    stability: float
    agreement: float


def measure(panoramas: Iterable[PanoramaMasks]) -> CacheQuality:
    """Average over panoramas, which are looked at one after the other."""
    counts: list[int] = []
    coverage: list[float] = []
    scores: dict[str, list[NDArray[np.floating]]] = {'predicted_iou': [], 'stability': [], 'agreement': []}
    looked_at = 0
    for panorama in panoramas:
        looked_at += 1
        counts += [len(masks) for masks in panorama.windows]
        coverage += panorama.coverage
        for masks in panorama.windows:
            scores['predicted_iou'].append(masks.predicted_iou)
            scores['stability'].append(masks.stability)
        scores['agreement'].append(overlap_agreement(panorama.windows, panorama.grid))
    means = {name: _mean(values) for name, values in scores.items()}
    return CacheQuality(looked_at, _mean([np.array(counts)]), _mean([np.array(coverage)]), **means)


def _mean(parts: list[NDArray]) -> float:
    """The mean of the values that are not NaN."""
    values = np.concatenate([np.zeros(0), *parts])
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float('nan')
