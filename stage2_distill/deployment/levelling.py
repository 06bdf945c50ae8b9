"""Tilted panoramas: the student sees them level, and its labels are turned back into the geometry of the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.data.gpano import PanoramaFacts
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.geometry.resampling import level, tilt_back

Pixels = NDArray[np.uint8]


def label_level(
    label: Callable[[Pixels, str, bool], tuple[Pixels, str]], pixels: Pixels, name: str, facts: PanoramaFacts
) -> tuple[Pixels, str]:
    """Label a tilted panorama as a level one.

    Args:
        label: Labels an image, as ``Labeller.label``.
        pixels: RGB, uint8 ``(H, W, 3)``.
        name: For reports.
        facts: What the panorama shows, and how the camera was tilted.

    Returns:
        Class ids, uint8 ``(H, W)`` of the given image, by nearest neighbours, and in words how they were made; with
        their confidence ``(2, H, W)``, as ``label`` returns it.

    Raises:
        ImageError: As ``label``, or if the panorama is too large to be levelled.
    """
    try:
        upright = level(pixels, facts.shown, facts.pitch, facts.roll)
    except ValueError as problem:
        raise ImageError(f'{name}: {problem}', 'leave --level away, or scale it down') from problem
    labels, how = label(upright.pixels, name, facts.is_closed)
    maps = [
        tilt_back(each, upright.area, facts.shown, facts.pitch, facts.roll)
        for each in (labels if labels.ndim == 3 else [labels])
    ]
    return np.stack(maps) if labels.ndim == 3 else maps[0], f'{how}, level'
