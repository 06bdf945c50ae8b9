"""One panorama: the crops that a mask generator sees of it, and its masks and boundary maps made of theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.panorama_file import OverlapBoundary, PanoramaMasks
from stage1_sam_cache.data.images import RgbImage
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.geometry.boxes import Box, Overlap, inside
from stage1_sam_cache.geometry.windows import WindowGrid
from stage1_sam_cache.masks.boundary_map import boundary_map, contour_map
from stage1_sam_cache.masks.cutting import cut
from stage1_sam_cache.masks.instance_masks import MAX_MASKS, InstanceMasks
from stage1_sam_cache.sam.mask_generator import MaskSource, Place, batch_size_of, generate_batch


def make_masks(image_id: str, image: RgbImage, settings: CacheSettings, generator: MaskSource) -> PanoramaMasks:
    """Make the instance masks of every window and the boundary map of every overlap of one panorama.

    Args:
        image_id: Its name in the cache.
        image: The decoded panorama.
        settings: Windows and rules.
        generator: Makes the masks.

    Raises:
        ImageError: If the windows do not fit the panorama (wrapped and narrower than a window), or a window has more
            masks than an id map can tell apart.
    """
    task = PanoramaTask(image_id, image, grid_over(image, settings, image_id), settings)
    size = batch_size_of(generator)
    for first in range(0, len(task), size):
        indices = range(first, min(first + size, len(task)))
        crops = [task.crop(index) for index in indices]
        for masks in generate_batch(generator, crops, [task.place(index) for index in indices]):
            task.add(masks)
    return task.result(generator)


class PanoramaTask:
    """The work on one panorama between reading and writing: its crops, and what is kept of their masks.

    The crops are the windows, then the overlaps if ``settings.overlap_source`` is ``'crop'``. ``add`` takes their
    masks in that order, over any number of calls of the generator; ``result`` follows the last one.

    Args:
        image_id: The panorama's name in the cache.
        image: The decoded panorama.
        grid: Its windows.
        settings: Windows and rules.

    Attributes:
        is_dropped: Whether ``drop`` was called.
    """

    def __init__(self, image_id: str, image: RgbImage, grid: WindowGrid, settings: CacheSettings) -> None:
        self.image_id, self.image, self.grid, self.settings = image_id, image, grid, settings
        self._boxes = crop_boxes(grid, settings)
        self._valid_boxes = [grid.valid(box) for box in self._boxes]
        self._windows: list[InstanceMasks] = []
        self._boundaries: list[NDArray[np.bool_]] = []
        self.is_dropped = False

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self._boxes)

    @property
    def crops_added(self) -> int:
        """How many crops have their masks."""
        return len(self._windows) + len(self._boundaries)

    @property
    def is_complete(self) -> bool:
        """Whether all crops have their masks."""
        return self.crops_added == len(self)

    def crop(self, index: int) -> NDArray[np.uint8]:
        """Return one crop as the generator sees it, RGB uint8 ``(h, w, 3)``."""
        return crop_pixels(self.image, self.grid, self._boxes[index])

    def place(self, index: int) -> Place:
        """Return where one crop was cut."""
        return Place(self.image_id, self.grid, self._valid_boxes[index], self._valid_boxes)

    def add(self, masks: InstanceMasks) -> None:
        """Take the masks of the next crop.

        Raises:
            ImageError: If there are more than an id map can tell apart.
        """
        if len(masks) > MAX_MASKS:
            raise ImageError(f'{self.image_id}: {len(masks)} masks in one window; at most {MAX_MASKS} fit an id map')
        masks = masks.in_painting_order(self.settings.order)
        if len(self._windows) < len(self.grid.windows):
            self._windows.append(masks.padded_to(self.settings.window))
        else:
            self._boundaries.append(_boundary(masks, self.settings, self._boxes[self.crops_added]))

    def drop(self) -> None:
        """Give the panorama up, and the memory of its masks back."""
        self._windows.clear()
        self._boundaries.clear()
        self.is_dropped = True

    def result(self, generator: MaskSource) -> PanoramaMasks:
        """Return what is cached of this panorama.

        Args:
            generator: The generator that made the masks.
        """
        assert self.is_complete
        boundaries = self._boundaries
        if self.settings.overlap_source == 'window':
            boundaries = [self._boundary_cut_from_window(overlap) for overlap in self.grid.overlaps]
        return PanoramaMasks(
            self.image_id,
            self.image.sha256,
            (self.grid.height, self.grid.width),
            self.settings.fingerprint(generator),
            self._windows,
            [OverlapBoundary(*pair) for pair in zip(self.grid.overlaps, boundaries, strict=True)],
            generator.made_with,
        )

    def _boundary_cut_from_window(self, overlap: Overlap) -> NDArray[np.bool_]:
        """Boundary map of the part of the first window's masks that lies in the overlap; their order stays."""
        window, valid = self.grid.windows[overlap.first], self.grid.valid(overlap.box)
        masks = cut(self._windows[overlap.first], inside(window, valid, self.grid.width))
        return _boundary(masks, self.settings, overlap.box)


def grid_over(image: RgbImage, settings: CacheSettings, name: str | Path) -> WindowGrid:
    """Return the windows over an image.

    Raises:
        ImageError: If they do not fit; the message starts with ``name``.
    """
    try:
        return settings.over(*image.pixels.shape[:2])
    except ValueError as problem:
        raise ImageError(f'{name}: {problem}') from problem


def crop_boxes(grid: WindowGrid, settings: CacheSettings) -> list[Box]:
    """Return the boxes that are given to the generator: the windows, then the overlaps that it gets separately."""
    overlaps = grid.overlaps if settings.overlap_source == 'crop' else []
    return [*grid.windows, *(overlap.box for overlap in overlaps)]


def crop_pixels(image: RgbImage, grid: WindowGrid, box: Box) -> NDArray[np.uint8]:
    """Cut a box out of an image without its padding, whose edge would look like the edge of an object."""
    crop = grid.crop(image.pixels.transpose(2, 0, 1), grid.valid(box))
    return np.ascontiguousarray(crop.transpose(1, 2, 0))


def _boundary(masks: InstanceMasks, settings: CacheSettings, box: Box) -> NDArray[np.bool_]:
    """Boundary map bool ``(box.height, box.width)``; False in the padding."""
    if settings.boundary == 'contours':
        boundary = contour_map(masks)
    else:
        boundary = boundary_map(masks.id_map, settings.boundary_thickness)
    return np.pad(boundary, ((0, box.height - boundary.shape[0]), (0, box.width - boundary.shape[1])))
