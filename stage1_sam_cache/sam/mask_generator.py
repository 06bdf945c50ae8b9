"""What stage 1 asks of anything that makes instance masks; ``sam`` and ``felzenszwalb`` implement it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

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
        """Masks of an RGB image uint8 ``(h, w, 3)`` of any size, in any order, overlapping or not, none empty."""
        ...


def generate_many(generator: MaskGenerator, images: Iterable[NDArray[np.uint8]]) -> Iterator[InstanceMasks]:
    """The masks of several images, in their order.

    A generator that has a ``generate_many`` may take more than one image before it gives masks.
    """
    together = getattr(generator, 'generate_many', None)
    return together(images) if together else map(generator.generate, images)
