"""ToyPASS's true segments as a mask generator: the upper bound of fusion and distillation, with perfect masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.masks.instance_masks import InstanceMasks
from toypass.knobs import VERSION

KINDS = ('instances', 'parts')


def encode(maps: list[NDArray[np.uint16]]) -> NDArray[np.uint8]:
    """Pack up to two maps of segment numbers ``(H, W)`` into an image uint8 ``(H, W, 4)``, two channels per map."""
    both = np.zeros((*maps[0].shape, 4), np.uint8)
    for i, numbers in enumerate(maps):
        both[..., 2 * i], both[..., 2 * i + 1] = numbers >> 8, numbers & 255
    return both


def decode(image: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """Unpack both maps of an image that ``encode`` made, or of a crop of it; a map that it was not given is 0."""
    numbers = image.astype(np.int64)
    return [numbers[..., i] * 256 + numbers[..., i + 1] for i in (0, 2)]


class TruthMaskGenerator:
    """Generates the segments of images that ``encode`` made of the truth.

    Args:
        kinds: ``instances``, ``parts`` or both, which then overlap as wholes and parts of SAM do.
    """

    def __init__(self, kinds: tuple[str, ...] = ('instances',)) -> None:
        self.kinds = kinds

    @property
    def identity(self) -> dict[str, Any]:
        """Name and kinds."""
        return {'name': 'truth', 'toypass': VERSION, 'kinds': list(self.kinds)}

    @property
    def made_with(self) -> dict[str, str]:
        """NumPy's version."""
        return {'device': 'cpu', 'numpy': np.__version__}

    def generate(self, image: NDArray[np.uint8]) -> InstanceMasks:
        """Return every segment of every kind once; together they cover the image."""
        return InstanceMasks.from_label_maps(decode(image)[: len(self.kinds)])
