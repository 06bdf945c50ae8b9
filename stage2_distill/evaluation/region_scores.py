"""Scores of parts of a panorama: at the contours of things, at the 0/360 degree seam, and by latitude.

All are ordinary IoUs: for each class, intersection and union are counted in a part of each image, summed over the data
set and divided. A region's mean is over the classes in its labels, so that the means of two networks are over the same
classes; those of two regions need not be. (mmseg's mIoU also counts classes that are only predicted, as 0. In a part of
the image, one wrong pixel of a class that never occurs there, such as road in the upper third, would then cost as much
as a whole class.)

- ``boundary``: Boundary IoU (Cheng et al., CVPR 2021), over the pixels of the predicted and of the true class that lie
  near the contour of their own mask.
- ``seam`` and ``elsewhere``: the columns near the left and right border, which are neighbours, and the others.
- ``top``, ``middle``, ``bottom``: thirds of the rows. The rows of an equirectangular image are equally far apart in
  degrees, so these are bands of latitude: 60 degrees each where an image reaches from nadir to zenith, 23 degrees in
  the 400x2048 pixels of DensePASS. The position of the horizon is not used.

Pixels with the label ``ignore`` are not counted, whatever is predicted there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot

import cv2
import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.data.label_spaces import IGNORE

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]  # (3, classes): pixels of the intersection, of the union, and of the label alone
BANDS = ('top', 'middle', 'bottom')


@dataclass(frozen=True)
class RegionSettings:
    """How wide the regions are.

    Raises:
        ValueError: If the ratio is not above 0, or the degrees are not from above 0 to 180.
    """

    # The paper takes 2 % for the photographs of COCO, but 0.5 % for Cityscapes. 2 % of a panorama of 400x2048 would be
    # 42 pixels or 7 degrees, more than the whole of most people and poles; 0.5 % is 10 pixels or 1.8 degrees.
    boundary_ratio: float = field(
        default=0.005, metadata={'help': "what is near a contour for boundary IoU, as a share of the image's diagonal"}
    )
    seam_degrees: float = field(default=15.0, metadata={'help': 'what is near the 0/360 degree seam, on either side'})

    def __post_init__(self) -> None:
        if not 0 < self.boundary_ratio < float('inf'):
            raise ValueError(f'the boundary ratio has to be above 0, not {self.boundary_ratio}')
        if not 0 < self.seam_degrees <= 180:
            raise ValueError(f'the degrees beside the seam have to be above 0 and at most 180, not {self.seam_degrees}')


def contour_distance(height: int, width: int, ratio: float) -> int:
    """Distance in pixels up to which a pixel is near a contour: a share of the image's diagonal, at least 1."""
    return max(1, round(ratio * hypot(height, width)))


def near_contour(labels: Labels, scored: Mask, distance: int, closed: bool) -> Mask:
    """Mark pixels that lie near the contour of their own class.

    Those are the scored pixels with a scored pixel of another class at most ``distance`` rows and columns away: what
    ``distance`` erosions of each class's mask by 3x3 pixels remove. Unknown pixels make no contour: neither pixels that
    are not scored, nor the upper and lower border, where only the view ends (the paper's code counts the border). Left
    and right border of a panorama are neighbours.

    Args:
        labels: ``(H, W)`` uint8, any ids.
        scored: ``(H, W)`` bool.
        distance: In pixels, at least 1.
        closed: Whether the left and right border join; if not, they make no contour either.

    Returns:
        ``(H, W)`` bool.
    """
    beside = ((0, 0), (distance, distance) if closed else (0, 0))
    kernel = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    # One maximum and one minimum instead of an erosion for every class. OpenCV leaves out what is outside the image.
    highest = cv2.dilate(np.pad(np.where(scored, labels, np.uint8(0)), beside, mode='wrap'), kernel)
    lowest = cv2.erode(np.pad(np.where(scored, labels, np.uint8(255)), beside, mode='wrap'), kernel)
    inside = slice(beside[1][0], beside[1][0] + labels.shape[1])
    near: Mask = (highest[:, inside] != lowest[:, inside]) & scored
    return near


def seam_columns(width: int, degrees: float) -> Mask:
    """Mark columns whose centre is at most so many degrees from the seam, of 360 degrees in all. ``(W,)``."""
    angle = (np.arange(width) + 0.5) * (360 / width)
    near: Mask = np.minimum(angle, 360 - angle) <= degrees
    return near


def latitude_bands(height: int) -> NDArray[np.intp]:
    """The third of the image that each row's centre is in: 0, 1, 2 from top to bottom. ``(H,)``."""
    return 3 * (2 * np.arange(height) + 1) // (2 * height)


def region_counts(
    prediction: Labels,
    label: Labels,
    classes: int,
    closed: bool = True,
    settings: RegionSettings | None = None,
    ignore: int = IGNORE,
) -> dict[str, Counts]:
    """Count pixels of one image's regions; counts of several images may be added.

    Args:
        prediction: ``(H, W)`` uint8; an id from ``classes`` on is no class and agrees with no label.
        label: ``(H, W)`` uint8, ids below ``classes`` or ``ignore``.
        classes: 1 to 254.
        closed: Whether it is a panorama; other images have neither seam nor latitudes.
        settings: None takes the defaults.
        ignore: Label of pixels that are not scored.

    Returns:
        By region, ``(3, classes)`` int64: pixels of intersection, union and label of each class. The key is
        ``boundary``; for a panorama also ``seam``, ``elsewhere``, ``top``, ``middle`` and ``bottom``.

    Raises:
        ValueError: If prediction and label are not uint8 of one shape, or there are more classes.
    """
    if prediction.shape != label.shape or prediction.ndim != 2 or {prediction.dtype, label.dtype} != {np.dtype('u1')}:
        raise ValueError(
            f'prediction {prediction.dtype} {prediction.shape} and label {label.dtype} {label.shape}; '
            'both have to be uint8 and of one (H, W)'
        )
    if not 1 <= classes <= 254:
        raise ValueError(f'{classes} classes; 1 to 254 can be told from ids that are no class')
    settings = settings or RegionSettings()
    height, width = label.shape
    scored = label != ignore
    distance = contour_distance(height, width, settings.boundary_ratio)
    nothing = np.uint8(255)
    near = [
        np.where(near_contour(ids, scored, distance, closed), ids, nothing)  # of each mask, the part near its contour
        for ids in (prediction, label)
    ]
    counts = {'boundary': _counts(_pairs(near[0], near[1], scored, classes), classes)}
    if not closed:
        return counts
    pairs = _pairs(prediction, label, scored, classes)
    bands = latitude_bands(height)
    by_latitude = {name: _counts(pairs[bands == band], classes) for band, name in enumerate(BANDS)}
    seam = _counts(pairs[:, seam_columns(width, settings.seam_degrees)], classes)
    whole = sum(by_latitude.values(), np.zeros_like(seam))
    return counts | {'seam': seam, 'elsewhere': whole - seam} | by_latitude


def class_ious(counts: Counts) -> NDArray[np.float64]:
    """IoU of each class in percent, ``(classes,)``; NaN where the label has no pixel."""
    shared, either, true = counts
    return np.where(true > 0, 100 * shared / np.maximum(either, 1), np.nan)


def mean_iou(ious: NDArray[np.float64]) -> float:
    """Mean of the classes that are not NaN; NaN if there are none."""
    known = ious[~np.isnan(ious)]
    return float(known.mean()) if known.size else float('nan')


def _pairs(prediction: Labels, label: Labels, scored: Mask, classes: int) -> NDArray[np.uint16]:
    """One number for each pair of label (a row) and prediction (a column); pixels not scored have a row of their own.

    Rows: classes, no class, not scored. Columns: classes, no class. With 254 classes the numbers just fit into 16 bits.
    """
    rows = np.where(scored, np.minimum(label, np.uint8(classes)), np.uint8(classes + 1)).astype(np.uint16)
    return rows * np.uint16(classes + 1) + np.minimum(prediction, np.uint8(classes))


def _counts(pairs: NDArray[np.uint16], classes: int) -> Counts:
    table = np.bincount(pairs.ravel(), minlength=(classes + 2) * (classes + 1)).reshape(classes + 2, classes + 1)
    shared = table.diagonal()[:classes]
    true = table[:classes].sum(axis=1)
    predicted = table[: classes + 1, :classes].sum(axis=0)
    return np.stack([shared, predicted + true - shared, true]).astype(np.int64)
