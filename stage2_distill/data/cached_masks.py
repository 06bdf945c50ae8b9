"""The cache entry of a panorama as tensors, as fusion and refinement take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.errors import ConfigError
from stage2_distill.fusion.mask_atoms import MaskAtoms


@dataclass(frozen=True, eq=False)
class CachedMasks:
    """SAM's side of one panorama.

    Attributes:
        grid: The windows.
        windows: The masks of each window, in the grid's order; ``joined``, of all windows at once.
        boundaries: SAM's boundary map of each overlap, bool ``(h, o)``, in the grid's order; ``joined``, bool
            ``(m, h, o)`` if all overlaps have one size.
    """

    grid: WindowGrid
    windows: tuple[MaskAtoms, ...]
    boundaries: tuple[Tensor, ...] | Tensor

    @classmethod
    def from_cache(cls, panorama: PanoramaMasks) -> CachedMasks:
        """Convert a cache entry."""
        return cls(
            panorama.grid,
            tuple(map(MaskAtoms.from_masks, panorama.windows)),
            tuple(torch.from_numpy(overlap.boundary) for overlap in panorama.overlaps),
        )

    def joined(self) -> CachedMasks:
        """The same in few tensors, as fusion takes it; it can no longer be mirrored or rolled."""
        boundaries = self.boundaries
        if len({part.shape for part in boundaries}) == 1:
            boundaries = torch.stack(tuple(boundaries))
        return CachedMasks(self.grid, (MaskAtoms.stack(self.windows),), boundaries)

    def flipped(self) -> CachedMasks:
        """The masks of the mirrored panorama: windows and overlaps change places and are mirrored.

        Raises:
            ConfigError: If the mirrored grid is another one.
        """
        windows, overlaps = mirrored_order(self.grid)
        return CachedMasks(
            self.grid,
            tuple(self.windows[i].flipped() for i in windows),
            tuple(self.boundaries[i].flip(-1) for i in overlaps),
        )

    def rolled(self, steps: int) -> CachedMasks:
        """The masks of the panorama rolled to the left by a number of strides.

        Raises:
            ConfigError: If the grid is not cyclic with a stride that divides the width.
        """
        windows, overlaps = rolled_order(self.grid, steps)
        return CachedMasks(
            self.grid, tuple(self.windows[i] for i in windows), tuple(self.boundaries[i] for i in overlaps)
        )

    def to(self, *args: Any, **kwargs: Any) -> CachedMasks:
        """A copy on another device, as ``Tensor.to``."""
        return self._each(lambda part: part.to(*args, **kwargs))

    def pin_memory(self) -> CachedMasks:
        """A copy in pinned memory, which non-blocking copies to a GPU need."""
        return self._each(lambda part: part.pin_memory())

    def _each(self, change: Callable[[Any], Any]) -> CachedMasks:
        maps = self.boundaries
        boundaries = change(maps) if isinstance(maps, Tensor) else tuple(map(change, maps))
        return CachedMasks(self.grid, tuple(map(change, self.windows)), boundaries)


def mirrored_order(grid: WindowGrid) -> tuple[list[int], list[int]]:
    """For each window and each overlap of a grid, the index of its mirror image.

    Raises:
        ConfigError: If it has none.
    """

    def mirror(box: Box) -> Box:
        left = grid.width - box.left - box.width
        return box._replace(left=left % grid.width if grid.wrap else left)

    return _order(grid, mirror, 'mirrored; leave the flip out, or take a stride that divides width minus window')


def rolled_order(grid: WindowGrid, steps: int) -> tuple[list[int], list[int]]:
    """For each window and each overlap of a cyclic grid, the index of the one that a roll to the left moves there.

    Raises:
        ConfigError: If the grid is not cyclic, or its stride does not divide the width.
    """
    stride = grid.strides[1]
    if not grid.wrap or grid.width % stride:
        raise ConfigError(
            f'panoramas of {grid.width} columns with windows every {stride}, wrap={grid.wrap}, cannot be rolled; leave '
            'the roll out, or take a cyclic grid (wrap) whose stride divides the width'
        )

    def source(box: Box) -> Box:
        return box._replace(left=(box.left + steps * stride) % grid.width)

    return _order(grid, source, 'rolled')


@lru_cache(maxsize=1024)
def can_mirror(grid: WindowGrid) -> bool:
    """Whether the mirrored grid is the grid."""
    return _is_possible(lambda: mirrored_order(grid))


@lru_cache(maxsize=1024)
def can_roll(grid: WindowGrid) -> bool:
    """Whether a grid that is rolled by a stride is the grid."""
    return _is_possible(lambda: rolled_order(grid, 1))


def _is_possible(order: Callable[[], Any]) -> bool:
    try:
        order()
    except ConfigError:
        return False
    return True


def _order(grid: WindowGrid, source: Any, what: str) -> tuple[list[int], list[int]]:
    places: list[Sequence[Box]] = [grid.windows, [overlap.box for overlap in grid.overlaps]]
    orders = []
    for boxes in places:
        index = {box: i for i, box in enumerate(boxes)}
        sources = [source(box) for box in boxes]
        if not all(box in index for box in sources):
            raise ConfigError(f'windows {grid.settings.to_json()} over {grid.width} columns cannot be {what}')
        orders.append([index[box] for box in sources])
    return orders[0], orders[1]
