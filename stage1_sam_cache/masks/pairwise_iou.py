"""IoU of every mask of one set with every mask of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stage1_sam_cache.masks.instance_masks import InstanceMasks


def pairwise_iou(one: InstanceMasks, other: InstanceMasks) -> NDArray[np.float64]:
    """Return the IoU of every pair of masks.

    Args:
        one, other: ``K`` and ``L`` masks of the same pixels.

    Returns:
        float64 ``(K, L)`` in [0, 1].

    Raises:
        ValueError: If the shapes differ.
    """
    if one.shape != other.shape:
        raise ValueError(f'masks of {one.shape} pixels and of {other.shape}')
    both = (_as_rows(one) @ _as_rows(other).T).toarray()
    return both / (one.area[:, None] + other.area[None] - both)


def _as_rows(masks: InstanceMasks) -> csr_array:
    """A matrix with a row per mask, and a column per pixel, that has ones in the mask."""
    first = np.append(0, np.cumsum(masks.area))
    shape = len(masks), masks.shape[0] * masks.shape[1]
    return csr_array((np.ones(len(masks.pixels), np.int32), masks.pixels, first), shape=shape)
