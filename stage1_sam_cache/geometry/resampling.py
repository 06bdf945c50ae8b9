"""Equirectangular images turned, cropped and completed: pixels of one area of the sphere taken from another."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.geometry.sphere import Floats, SphereArea, camera_to_level, levelled_area

Pixels = NDArray[np.uint8]
_ROWS = 256  # that are worked on at once: float64 directions of a large panorama would fill the memory
_LARGEST = 32766  # rows and columns that cv2.remap takes
_PIXELS, _TIMES = 100_000_000, 4  # of a level image: so many, or so many times those of the given one


def resample(
    pixels: Pixels,
    source: SphereArea,
    target: SphereArea,
    to_source: Floats | None = None,
    nearest: bool = False,
    fill: int | None = None,
) -> Pixels:
    """Return what an image shows in another area of the sphere.

    Args:
        pixels: uint8 ``(H, W)`` or ``(H, W, channels)``.
        source: What it shows.
        target: What the result shows.
        to_source: Rotation ``(3, 3)`` of directions in the target to those in the source; None for the same.
        nearest: Take the nearest pixel, as labels need it, instead of interpolating between four.
        fill: Value where the image shows nothing; None for the nearest pixel at its border.

    Returns:
        uint8 of the target's size.

    Raises:
        ValueError: If the image has another size than its area, or more rows or columns than OpenCV takes.
    """
    if pixels.shape[:2] != (source.height, source.width):
        raise ValueError(f'an image of {pixels.shape[:2]} pixels for an area of {source.height}x{source.width}')
    longest = max(*pixels.shape[:2], target.width)  # the target is made in blocks of rows
    if not nearest and longest + 2 > _LARGEST:
        raise ValueError(f'{longest} pixels: at most {_LARGEST - 2} rows and columns can be interpolated')
    closed = pixels
    if source.is_closed:  # a column of the other side at each border
        closed = np.concatenate([pixels[:, -1:], pixels, pixels[:, :1]], axis=1)
    result = np.empty((target.height, target.width, *pixels.shape[2:]), np.uint8)
    columns = np.arange(target.width, dtype=np.float64)[None]
    for top in range(0, target.height, _ROWS):
        rows = np.arange(top, min(top + _ROWS, target.height), dtype=np.float64)[:, None]
        directions = target.directions(rows, columns)
        if to_source is not None:
            directions = np.asarray(np.tensordot(to_source, directions, axes=1), np.float64)
        y, x = source.places(directions)
        block = _take(closed, y, x + source.is_closed, nearest)
        if fill is not None:
            block[_outside(source, y, x)] = fill
        result[top : top + _ROWS] = block
    return result


def _take(pixels: Pixels, y: Floats, x: Floats, nearest: bool) -> Pixels:
    height, width = pixels.shape[:2]
    if nearest:
        rows = np.clip(np.floor(y + 0.5), 0, height - 1).astype(np.intp)
        return pixels[rows, np.clip(np.floor(x + 0.5), 0, width - 1).astype(np.intp)]
    maps = x.astype(np.float32), y.astype(np.float32)
    return np.asarray(cv2.remap(pixels, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _outside(area: SphereArea, y: Floats, x: Floats) -> NDArray[np.bool_]:
    tolerance = 0.5 + 1e-6  # a pixel's own place must not fall out by rounding
    outside = (y < -tolerance) | (y > area.height - 1 + tolerance)
    return outside if area.is_closed else outside | (x < -tolerance) | (x > area.width - 1 + tolerance)


class Levelled(NamedTuple):
    """A panorama as a level camera would have taken it: its pixels and what they show."""

    pixels: Pixels
    area: SphereArea


def level(pixels: Pixels, area: SphereArea, pitch: float, roll: float, fill: int | None = None) -> Levelled:
    """Turn a panorama so that its horizon is level; its heading stays.

    Args:
        pixels: uint8 ``(H, W, 3)``.
        area: What it shows.
        pitch, roll: Of the camera, in degrees, with the signs of ``geometry.sphere``.
        fill: As for ``resample``.

    Returns:
        The smallest level image that shows all of it; of a full sphere, one of the same size.

    Raises:
        ValueError: As ``resample``, or if the result would be much larger than the image, as at a pole.
    """
    to_level = camera_to_level(pitch, roll)
    target = levelled_area(area, to_level)
    if target.height * target.width > max(_PIXELS, _TIMES * area.height * area.width):
        raise ValueError(f'level it would have {target.width}x{target.height} pixels, by the metadata')
    return Levelled(resample(pixels, area, target, to_level.T, fill=fill), target)


def tilt_back(labels: Pixels, area: SphereArea, given: SphereArea, pitch: float, roll: float) -> Pixels:
    """Return labels of a levelled panorama in the geometry of the image that was levelled, by nearest neighbours.

    Args:
        labels: Of the level panorama, uint8 ``(h, w)``.
        area: What they show, as ``level`` returned it.
        given: What the image shows.
        pitch, roll: As for ``level``.

    Returns:
        uint8 of the given image's size.
    """
    return resample(labels, area, given, camera_to_level(pitch, roll), nearest=True)
