"""The masks in any crop that stage 1 shows to a mask generator: windows, and the overlaps of two."""

from __future__ import annotations

from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.geometry.boxes import Box, inside
from stage1_sam_cache.geometry.windows import WindowGrid
from stage1_sam_cache.masks.cutting import cut
from stage1_sam_cache.masks.instance_masks import InstanceMasks


def crops_of(grid: WindowGrid) -> list[tuple[int, Box]]:
    """Return the crops, without padding: windows, then overlaps; each with the window that its masks are those of."""
    places = [*enumerate(grid.windows), *((overlap.first, overlap.box) for overlap in grid.overlaps)]
    return [(window, grid.valid(box)) for window, box in places]


def masks_of_crop(panorama: PanoramaMasks, window: int, box: Box) -> InstanceMasks:
    """Return a window's masks, cut to a crop.

    Args:
        panorama: Its masks.
        window, box: Of ``crops_of``.
    """
    grid = panorama.grid
    return cut(panorama.windows[window], inside(grid.windows[window], box, grid.width))
