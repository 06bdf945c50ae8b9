"""The estimate of a dry run: time and disk space of a whole run, from two windows of one panorama."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from stage1_sam_cache.build.panorama import PanoramaTask, crop_boxes, grid_over
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.panorama_file import encode
from stage1_sam_cache.data.images import RgbImage
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.mask_generator import MaskSource, generate_batch


@dataclass(frozen=True)
class Estimate:
    """Estimated seconds per crop, crops per panorama and bytes per panorama."""

    seconds_per_crop: float
    crops: int
    bytes_per_panorama: int


def estimate(
    image: RgbImage,
    settings: CacheSettings,
    generator: MaskSource,
    clock: Callable[[], float] = time.perf_counter,
    image_id: str = '',
) -> Estimate:
    """Time the generator on the first and the middle window of a panorama, after a warm-up; write nothing.

    Args:
        image: The panorama.
        settings: Windows and rules.
        generator: Makes the masks.
        clock: Returns seconds.
        image_id: The panorama's name in the cache, by which masks are found that are made already.

    Raises:
        ImageError: If the windows do not fit the panorama.
    """
    grid = grid_over(image, settings, 'the image')
    sample = PanoramaTask(image_id, image, grid, settings)

    def masks_of(window: int) -> InstanceMasks:
        return generate_batch(generator, [sample.crop(window)], [sample.place(window)])[0]

    masks_of(0)
    trials, seconds = [], 0.0
    for window in (0, len(grid.windows) // 2):
        start = clock()
        trials.append(masks_of(window))
        seconds += clock() - start
    # The two windows in turn stand for all others. Their overlaps are cut from them: other edges, but about as many.
    panorama = PanoramaTask('', image, grid, replace(settings, overlap_source='window'))
    for index in range(len(panorama)):
        panorama.add(trials[index % len(trials)])
    size = len(encode(panorama.result(generator)))
    return Estimate(seconds / len(trials), len(crop_boxes(grid, settings)), size)
