"""The estimate of a dry run: time and disk space of a whole run, from two windows of one panorama."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from stage1_sam_cache.build.panorama import PanoramaTask, crop_boxes, crop_pixels, grid_over
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.panorama_file import encode
from stage1_sam_cache.data.images import RgbImage
from stage1_sam_cache.sam.mask_generator import MaskGenerator


@dataclass(frozen=True)
class Estimate:
    """Estimated seconds per crop, crops per panorama and bytes per panorama."""

    seconds_per_crop: float
    crops: int
    bytes_per_panorama: int


def estimate(
    image: RgbImage, settings: CacheSettings, generator: MaskGenerator, clock: Callable[[], float] = time.perf_counter
) -> Estimate:
    """Time the generator on the first and the middle window of a panorama, after a warm-up; write nothing.

    Args:
        image: The panorama.
        settings: Windows and rules.
        generator: Makes the masks.
        clock: Returns seconds.

    Raises:
        ImageError: If the windows do not fit the panorama.
    """
    grid = grid_over(image, settings, 'the image')
    boxes = [grid.windows[0], grid.windows[len(grid.windows) // 2]]
    crops = [crop_pixels(image, grid, box) for box in boxes]
    generator.generate(crops[0])
    trials, seconds = [], 0.0
    for crop in crops:
        start = clock()
        trials.append(generator.generate(crop))
        seconds += clock() - start
    # The two windows in turn stand for all others. Their overlaps are cut from them: other edges, but about as many.
    panorama = PanoramaTask('', image, grid, replace(settings, overlap_source='window'))
    for index in range(len(panorama)):
        panorama.add(trials[index % len(trials)])
    size = len(encode(panorama.result(generator)))
    return Estimate(seconds / len(crops), len(crop_boxes(grid, settings)), size)
