"""Connected components of label files, as a source of masks for stage 1: prompts for adapting SAM, never its targets.

The masks of a window are the components of the window's own labels, so that what a window's border cuts is cut.
Components of one class that touch, such as parked cars, are one mask.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from stage1_sam_cache.cache.crop_masks import crops_of, masks_of_crop
from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.data.label_spaces import IGNORE, LABEL_SPACES
from stage1_sam_cache.errors import ImageError, MaskCacheError
from stage1_sam_cache.exchange.label_files import LabelFiles
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.masks.pairwise_iou import pairwise_iou
from stage1_sam_cache.sam.mask_generator import Place
from stage1_sam_cache.system.digests import sha256_of

NAME = 'components'  # of the generator, in a fingerprint


@dataclass(frozen=True)
class ComponentSettings:
    """Which components become masks.

    Args:
        label_space: Key of ``LABEL_SPACES``, the classes of the labels.
        min_area: Smaller components of a window are dropped, in pixels.
        things_only: Drop components of classes that can't be counted.

    Raises:
        ValueError: If a value makes no sense.
    """

    label_space: str = 'cityscapes19'
    min_area: int = 100
    things_only: bool = False

    def __post_init__(self) -> None:
        if self.label_space not in LABEL_SPACES:
            raise ValueError(f'label space {self.label_space!r} is none of {", ".join(LABEL_SPACES)}')
        if self.min_area < 1:
            raise ValueError(f'min_area {self.min_area} has to be at least 1 pixel')


class KeepRule(NamedTuple):
    """Keep a component only if a mask of another cache confirms it.

    Attributes:
        cache: Of the same images and windows, such as the cache of SAM before it is adapted.
        iou: Least IoU of the best mask, in [0, 1].
        images: Files of the images, by id, which have to be those of the cache.
    """

    cache: MaskCache
    iou: float
    images: Mapping[str, Path]


def components(
    labels: NDArray[np.uint8], things: Collection[int], min_area: int = 1, things_only: bool = False
) -> InstanceMasks:
    """Find the connected components of equal label; pixels that meet at a corner are connected.

    Args:
        labels: Class ids ``(h, w)``; 255 is in no component.
        things: Ids of the classes that can be counted.
        min_area: Smaller components are dropped.
        things_only: Drop components of other classes.

    Returns:
        Masks without scores. They do not overlap. Components of things come first, then those of other classes, both
        from large to small and, where areas are equal, from top to bottom.
    """
    numbers = label(labels, background=IGNORE, connectivity=2)
    masks = InstanceMasks.from_label_maps([numbers])
    masks = masks.take(np.arange(int(numbers.min() == 0), len(masks)))  # 0 is what is ignored
    pixel = np.unique(numbers, return_index=True)[1][-len(masks) :] if len(masks) else np.zeros(0, np.int64)
    is_thing = np.isin(labels.ravel()[pixel], list(things))
    order = np.lexsort((pixel, -masks.area, ~is_thing))
    return masks.take(order[(masks.area >= min_area)[order] & (is_thing | (not things_only))[order]])


class LabelComponents:
    """Finds the components of each crop, in the order of ``components``.

    Args:
        labels: Label files of the images.
        settings: Which components become masks.
        keep: Which of them are kept; None keeps all.
    """

    def __init__(
        self, labels: LabelFiles, settings: ComponentSettings | None = None, keep: KeepRule | None = None
    ) -> None:
        self.labels, self.settings, self.keep = labels, settings or ComponentSettings(), keep
        space = LABEL_SPACES[self.settings.label_space]
        self._classes, self._things = len(space.classes), space.things
        self._last: tuple[str, NDArray[np.uint8], PanoramaMasks | None] | None = None  # for the next crop

    @property
    def identity(self) -> dict[str, Any]:
        """The digest of all label files, the settings, and what confirms components, if anything does."""
        identity: dict[str, Any] = {'name': NAME, 'labels_sha256': self.labels.sha256, **asdict(self.settings)}
        if self.keep:
            identity['keep'] = {'cache': self.keep.cache.fingerprint.key, 'iou': self.keep.iou}
        return identity

    @property
    def made_with(self) -> dict[str, str]:
        """scikit-image's version; everything runs on the CPU."""
        return {'device': 'cpu', 'scikit-image': version('scikit-image')}

    def masks_at(self, place: Place) -> InstanceMasks:
        """Return the components of a crop.

        Raises:
            ImageError: If the labels are missing, of another size or can't be read, or the cache that confirms
                components has no masks of this image file, or damaged ones.
        """
        labels, confirming = self._of_panorama(place)
        crop = place.grid.crop(labels, place.box)
        found = components(crop, self._things, self.settings.min_area, self.settings.things_only)
        if confirming is None or self.keep is None:
            return found
        window = next(window for window, box in crops_of(place.grid) if box == place.box)
        best = pairwise_iou(found, masks_of_crop(confirming, window, place.box)).max(1, initial=0.0)
        return found.take(np.flatnonzero(best >= self.keep.iou))

    def _of_panorama(self, place: Place) -> tuple[NDArray[np.uint8], PanoramaMasks | None]:
        """Labels of a panorama, and the masks that confirm its components."""
        if self._last is None or self._last[0] != place.image_id:
            self._last = None  # first free the memory
            labels = self.labels.read(place.image_id, (place.grid.height, place.grid.width), self._classes)
            self._last = place.image_id, labels, self._confirming(place)
        return self._last[1:]

    def _confirming(self, place: Place) -> PanoramaMasks | None:
        if self.keep is None:
            return None
        cache, image_id = self.keep.cache, place.image_id
        if image_id not in cache:
            raise ImageError(f'{image_id}: {cache.path} has no masks of it')
        try:
            panorama = cache[image_id]
        except MaskCacheError as problem:  # of this panorama alone
            raise ImageError(problem.problem, problem.remedy) from problem
        if panorama.image_sha256 != sha256_of(self.keep.images[image_id]):
            raise ImageError(
                f'{image_id}: the masks in {cache.path} are those of another image of this name',
                'give the cache of these images with --keep',
            )
        if panorama.grid != place.grid:
            raise ImageError(f'{image_id}: the masks in {cache.path} are those of other windows')
        return panorama
