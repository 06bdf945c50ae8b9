"""What stage 1 asks of anything that makes instance masks; ``sam_generator`` and ``felzenszwalb`` implement it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.masks.instance_masks import InstanceMasks


class MaskGenerator(Protocol):
    """Instance masks of one image, without labels."""

    @property
    def identity(self) -> dict[str, Any]:
        """``name`` and every setting, weight digest and version that can change a mask, as JSON values."""
        ...

    @property
    def made_with(self) -> dict[str, str]:
        """Versions and hardware, noted in every file but not part of the identity."""
        ...

    def generate(self, image: NDArray[np.uint8]) -> InstanceMasks:
        """Return the masks of an RGB image uint8 ``(h, w, 3)`` of any size, in any order, none empty."""
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


def batch_size_of(generator: MaskGenerator) -> int:
    """Return how many images a generator takes at once: 1 unless it is a ``BatchMaskGenerator``."""
    return int(getattr(generator, 'batch_size', 1))


def is_on_accelerator(generator: MaskGenerator) -> bool:
    """Whether a generator computes on another device than the processor, which has time for other work meanwhile.

    Generators say so by an attribute ``on_accelerator``. They are then called by two threads, so that the next images
    can be prepared while the accelerator works on the last ones, and have to let one of them at a time have it.
    """
    return bool(getattr(generator, 'on_accelerator', False))


def generate_batch(generator: MaskGenerator, images: Sequence[NDArray[np.uint8]]) -> list[InstanceMasks]:
    """Return the masks of each image, in one call if the generator is a ``BatchMaskGenerator``."""
    if hasattr(generator, 'generate_many'):
        return cast(BatchMaskGenerator, generator).generate_many(images)
    return [generator.generate(image) for image in images]
