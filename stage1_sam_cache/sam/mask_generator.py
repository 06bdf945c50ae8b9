"""What stage 1 asks of anything that gives instance masks.

``sam_generator`` and ``felzenszwalb`` make masks of pixels; ``exchange.imported_masks`` looks up those of other tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.geometry.windows import WindowGrid
from stage1_sam_cache.masks.instance_masks import InstanceMasks


class Place(NamedTuple):
    """Where a crop was cut: panorama and its windows, the crop's box, and all boxes of the panorama that are asked for.

    Boxes are without padding.
    """

    image_id: str
    grid: WindowGrid
    box: Box
    boxes: Sequence[Box]


class MaskSource(Protocol):
    """Whatever gives instance masks without labels; it is a ``MaskGenerator`` or a ``StoredMasks``."""

    @property
    def identity(self) -> dict[str, Any]:
        """``name`` and every setting, weight digest and version that can change a mask, as JSON values."""
        ...

    @property
    def made_with(self) -> dict[str, str]:
        """Versions and hardware, noted in every file but not part of the identity."""
        ...


class MaskGenerator(MaskSource, Protocol):
    """Makes the masks of an image."""

    def generate(self, image: NDArray[np.uint8]) -> InstanceMasks:
        """Return the masks of an RGB image uint8 ``(h, w, 3)`` of any size, in any order, none empty."""
        ...


class StoredMasks(MaskSource, Protocol):
    """Has the masks of panoramas already."""

    def masks_at(self, place: Place) -> InstanceMasks:
        """Return the masks of a crop, of the size of its box, in any order, none empty.

        Raises:
            ImageError: If there are none for this panorama or crop, or they can't be used.
        """
        ...


class BatchMaskGenerator(MaskGenerator, Protocol):
    """A mask generator that works on several images at once."""

    @property
    def batch_size(self) -> int:
        """How many images ``generate_many`` takes at once, at least 1."""
        ...

    def generate_many(self, images: Sequence[NDArray[np.uint8]]) -> list[InstanceMasks]:
        """Return the masks of each image, in the order of the images."""
        ...


def batch_size_of(source: MaskSource) -> int:
    """Return how many images a source takes at once: 1 unless it is a ``BatchMaskGenerator``."""
    return int(getattr(source, 'batch_size', 1))


def is_on_accelerator(source: MaskSource) -> bool:
    """Whether a generator computes on another device than the processor, which has time for other work meanwhile.

    Generators say so by an attribute ``on_accelerator``. They are then called by two threads, so that the next images
    can be prepared while the accelerator works on the last ones, and have to let one of them at a time have it.
    """
    return bool(getattr(source, 'on_accelerator', False))


def generate_batch(
    source: MaskSource, images: Sequence[NDArray[np.uint8]], places: Sequence[Place]
) -> list[InstanceMasks]:
    """Return the masks of each image, in one call if the source is a ``BatchMaskGenerator``.

    Args:
        source: Gives the masks.
        images: Crops, RGB uint8 ``(h, w, 3)``.
        places: Where each was cut, for a source that has the masks already.
    """
    if hasattr(source, 'masks_at'):
        return [cast(StoredMasks, source).masks_at(place) for place in places]
    if hasattr(source, 'generate_many'):
        return cast(BatchMaskGenerator, source).generate_many(images)
    return [cast(MaskGenerator, source).generate(image) for image in images]
