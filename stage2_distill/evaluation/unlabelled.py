"""What can be said of labels without true ones: agreement, the 0/360 degree seam, boundaries on edges of the image.

None of them says that a label is right: two networks may agree on a wrong class, and masks that were cut along edges of
the image bring labels to these edges, whether objects end there or not.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.feature import canny

from stage2_distill.evaluation.region_scores import seam_columns

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def agreement(labels: Labels, others: Labels, scored: Mask) -> float:
    """Share of the scored pixels that have the same label in both, in [0, 1].

    Args:
        labels: ``(H, W)`` uint8.
        others: The same.
        scored: ``(H, W)`` bool.

    Returns:
        NaN if no pixel is scored.
    """
    return float((labels == others)[scored].mean()) if scored.any() else float('nan')


def seam_agreement(labels: Labels, rolled: Labels, columns: int, scored: Mask, degrees: float = 15.0) -> float:
    """Share of the pixels near the 0/360 degree seam that keep their label where the panorama has no border.

    Args:
        labels: Of the panorama, ``(H, W)`` uint8.
        rolled: Of the panorama rolled to the left by ``columns``, ``(H, W)`` uint8.
        columns: 0 to W; half of the width brings the seam to the middle.
        scored: Pixels of the panorama that count, ``(H, W)`` bool.
        degrees: How far from the seam, on either side.
    """
    near = scored & seam_columns(labels.shape[1], degrees)
    return agreement(labels, np.roll(rolled, columns, axis=1), near)


def image_edges(pixels: NDArray[np.uint8], sigma: float = 1.0) -> Mask:
    """Canny edges of a panorama, whose left and right border join.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB.
        sigma: Of the smoothing, in pixels.

    Returns:
        ``(H, W)`` bool.
    """
    beside = int(8 * sigma) + 8
    gray = rgb2gray(np.pad(pixels, ((0, 0), (beside, beside), (0, 0)), mode='wrap'))
    edges: Mask = canny(gray, sigma=sigma)[:, beside:-beside]
    return edges


def label_boundaries(labels: Labels) -> Mask:
    """Pixels whose right or lower neighbour has another label; the right border's neighbour is the left border."""
    boundary: Mask = labels != np.roll(labels, -1, axis=1)
    boundary[:-1] |= labels[:-1] != labels[1:]
    return boundary


def on_edges(labels: Labels, edges: Mask, scored: Mask, distance: int = 2, shift: int = 0) -> tuple[int, int]:
    """Count the boundary pixels of labels, and those of them that lie on an edge of the image.

    Args:
        labels: ``(H, W)`` uint8.
        edges: ``image_edges``, ``(H, W)`` bool.
        scored: ``(H, W)`` bool.
        distance: How many rows and columns away an edge may be.
        shift: Columns by which the boundaries are first rolled, see ``chance_on_edges``.

    Returns:
        Boundary pixels, and those near an edge.
    """
    near = cv2.dilate(
        np.pad(edges.astype(np.uint8), ((0, 0), (distance, distance)), mode='wrap'),
        np.ones((2 * distance + 1, 2 * distance + 1), np.uint8),
    )[:, distance : distance + edges.shape[1]]
    boundary = np.roll(label_boundaries(labels) & scored, shift, axis=1)
    return int(boundary.sum()), int((boundary & (near > 0)).sum())


def chance_on_edges(labels: Labels, edges: Mask, scored: Mask, distance: int = 2, shifts: int = 7) -> tuple[int, int]:
    """``on_edges`` of the same boundaries at other longitudes, added up over shifts: what is met by chance.

    A boundary keeps its shape and latitude, but belongs to another part of the image.
    """
    width = labels.shape[1]
    counts: Sequence[tuple[int, int]] = [
        on_edges(labels, edges, scored, distance, width * k // (shifts + 1)) for k in range(1, shifts + 1)
    ]
    return sum(count for count, _ in counts), sum(met for _, met in counts)
