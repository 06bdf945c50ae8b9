"""Scores of the masks of one window against ToyPASS's true segments and labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.masks.instance_masks import InstanceMasks


class Segments(NamedTuple):
    """Segments of the truth in one window.

    Attributes:
        area: int64 ``(S,)`` in pixels.
        best: float64 ``(S,)`` in [0, 1], IoU with the mask that fits best; 0 without masks.
    """

    area: NDArray[np.int64]
    best: NDArray[np.float64]


def best_overlaps(masks: InstanceMasks, truth: NDArray[np.integer]) -> Segments:
    """Find the best mask of every segment.

    Args:
        masks: Of the window.
        truth: Segment numbers ``(h, w)``.

    Raises:
        ValueError: If the shapes differ.
    """
    if truth.shape != masks.shape:
        raise ValueError(f'truth of {truth.shape} pixels for masks of {masks.shape}')
    _, inverse, area = np.unique(truth, return_inverse=True, return_counts=True)
    both = _count(masks, inverse.reshape(truth.shape), len(area))
    union = masks.area[:, None] + area[None] - both
    return Segments(area, (both / union).max(0, initial=0.0))


def label_by_truth(masks: InstanceMasks, labels: NDArray[np.integer], classes: int) -> NDArray[np.uint8]:
    """Return the best labels that masks allow: each takes its most frequent true class, painted in order.

    Args:
        masks: In painting order.
        labels: True class ids ``(h, w)``, 255 where there is none.
        classes: Number of classes.

    Returns:
        uint8 ``(h, w)``; 255 in no mask.
    """
    painted = np.full(masks.shape, IGNORE, np.uint8)
    if len(masks):
        known = np.where(labels == IGNORE, classes, labels)
        chosen = _count(masks, known, classes + 1)[:, :classes].argmax(1).astype(np.uint8)
        covered = masks.id_map > 0
        painted[covered] = chosen[masks.id_map[covered].astype(np.int64) - 1]
    return painted


def confusion(truth: NDArray[np.integer], labels: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Count pixels by true class and label, int64 ``(classes, classes + 1)``; the last column is unlabelled."""
    known = truth != IGNORE
    column = np.where(labels == IGNORE, classes, labels)[known].astype(np.int64)
    place = truth[known].astype(np.int64) * (classes + 1) + column
    return np.bincount(place, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def mean_iou(matrix: NDArray[np.int64]) -> float:
    """Return the mIoU in percent over the classes that occur."""
    hit = np.diagonal(matrix)
    union = matrix.sum(1) + matrix[:, : len(matrix)].sum(0) - hit
    return float(100 * np.mean(hit[union > 0] / union[union > 0]))


def _count(masks: InstanceMasks, labels: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Count the pixels of each mask by label, ``(K, classes)``."""
    mask = np.repeat(np.arange(len(masks)), masks.area)
    place = mask * classes + labels.reshape(-1)[masks.pixels]
    return np.bincount(place, minlength=len(masks) * classes).reshape(len(masks), classes)
