"""Sliding windows over an equirectangular panorama (Sec. 3.1): where they lie, meet and tile.

Integer geometry in pixels, shared by both stages: stage 1 cuts what SAM sees, stage 2 what the teacher assistant sees,
and the student's output is cut at the same places.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np

from stage1_sam_cache.geometry.axis import axis_overlaps, axis_owners, axis_starts
from stage1_sam_cache.geometry.boxes import Box, Overlap, Owner

if TYPE_CHECKING:
    import torch

    Array = TypeVar('Array', np.ndarray, torch.Tensor)


def _pair(name: str, sizes: Iterable[int]) -> tuple[int, int]:
    try:
        rows, columns = (operator.index(n) for n in sizes)
    except (TypeError, ValueError):
        rows = columns = 0
    if rows < 1 or columns < 1:
        raise ValueError(f'{name} of {sizes} pixels: two positive whole numbers (rows, columns) are needed')
    return rows, columns


@dataclass(frozen=True)
class WindowSettings:
    """Size, stride and wrap-around of the windows over panoramas of any size; sizes in pixels.

    Args:
        window: Rows and columns of a window; the paper's 400x512.
        stride: Columns from one window to the next, or ``(rows, columns)``. A single number leaves the rows of
            windows without overlap (rows stride = window height), as in the paper, where one row fills the height.
        wrap: Treat panoramas as closed. Only for images that really show 360 degrees.

    Raises:
        ValueError: If a size is not positive, or a stride would leave gaps.
    """

    window: tuple[int, int] = (400, 512)
    stride: int | tuple[int, int] = 256
    wrap: bool = False

    def __post_init__(self) -> None:
        window = _pair('window', self.window)
        stride = _pair('stride', self.stride if isinstance(self.stride, Iterable) else (window[0], self.stride))
        if stride[0] > window[0] or stride[1] > window[1]:
            raise ValueError(f'stride {stride} is larger than the window {window}: pixels between windows are lost')
        # The plain and complete form of the arguments: equal windows are equal settings.
        object.__setattr__(self, 'window', window)
        object.__setattr__(self, 'stride', stride)

    @property
    def strides(self) -> tuple[int, int]:
        """``stride`` per axis, ``(rows, columns)``."""
        assert isinstance(self.stride, tuple)
        return self.stride

    def over(self, height: int, width: int) -> WindowGrid:
        """Return the windows over a panorama; the same object each time, so that derived values are computed once.

        Raises:
            ValueError: See ``WindowGrid``.
        """
        return _grid_over(self, height, width)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: part of a mask cache's fingerprint, and keywords for ``from_json``."""
        return {'window': list(self.window), 'stride': list(self.strides), 'wrap': self.wrap}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WindowSettings:
        """Make settings of the values of ``to_json``, or of a config's ``grid``.

        Raises:
            ValueError: If there are other keys, or values that ``WindowSettings`` refuses.
        """
        unknown = set(values) - {'window', 'stride', 'wrap'}
        if unknown:
            raise ValueError(f'window settings have no {", ".join(sorted(unknown))}; window, stride and wrap are known')
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**plain)


DEFAULT_WINDOWS = WindowSettings()


@dataclass(frozen=True)
class WindowGrid:
    """The windows of one panorama; every size is in pixels.

    Along each axis windows start every ``stride`` pixels and the last one is moved back to end at the border. With
    ``wrap`` the columns are cyclic, every window has a right neighbour, and the last ones cross the 0/360 degree seam.
    A panorama smaller than a window is padded at the bottom and the right up to one window.

    Args:
        height: Rows of the panorama, at least 1.
        width: Columns of the panorama, at least 1; with ``wrap`` at least one window wide.
        window, stride, wrap: As ``WindowSettings``.

    Raises:
        ValueError: If a size is not positive, a stride would leave gaps, or a wrapped panorama is narrower than a
            window.
    """

    height: int
    width: int
    window: tuple[int, int] = DEFAULT_WINDOWS.window
    stride: int | tuple[int, int] = DEFAULT_WINDOWS.stride
    wrap: bool = DEFAULT_WINDOWS.wrap

    def __post_init__(self) -> None:
        settings = WindowSettings(self.window, self.stride, self.wrap)
        height, width = _pair('panorama', (self.height, self.width))
        if self.wrap and width < settings.window[1]:
            raise ValueError(f'a panorama of {width} columns cannot wrap around with windows of {settings.window[1]}')
        for name, value in [
            ('height', height),
            ('width', width),
            ('window', settings.window),
            ('stride', settings.strides),
        ]:
            object.__setattr__(self, name, value)

    @cached_property
    def settings(self) -> WindowSettings:
        """Window size, stride and wrap-around, without the panorama's size."""
        return WindowSettings(self.window, self.stride, self.wrap)

    @property
    def strides(self) -> tuple[int, int]:
        """``stride`` per axis, ``(rows, columns)``."""
        return self.settings.strides

    @cached_property
    def starts(self) -> list[int]:
        """Left column of every window in one row of windows, ascending."""
        if not self.wrap:
            return axis_starts(self.width, self.window[1], self.strides[1])
        count = -(-self.width // self.strides[1])
        # round(i * W / n), halves up; i * stride exactly where the stride divides the width.
        return [(2 * i * self.width + count) // (2 * count) for i in range(count)]

    @cached_property
    def row_starts(self) -> list[int]:
        """Top row of every row of windows, ascending; ``[0]`` where one window is as high as the panorama."""
        return axis_starts(self.height, self.window[0], self.strides[0])

    @cached_property
    def windows(self) -> list[Box]:
        """All windows, row of windows by row of windows from the top, each from left to right."""
        return [Box(top, left, *self.window) for top in self.row_starts for left in self.starts]

    @cached_property
    def overlaps(self) -> list[Overlap]:
        """Overlaps of neighbouring windows: left-right ones in window order, then top-bottom ones.

        Only direct neighbours count, also where the stride is under half a window. The paper's grid has the 6
        left-right ones of its 7 windows; with ``wrap`` the last window meets the first.
        """
        columns = axis_overlaps(self.starts, self.window[1], self.width if self.wrap else None)
        rows = axis_overlaps(self.row_starts, self.window[0], None)
        n = len(self.starts)
        overlaps = [
            Overlap(row * n + i, row * n + j, Box(top, left, self.window[0], size), 'columns')
            for row, top in enumerate(self.row_starts)
            for i, j, left, size in columns
        ]
        overlaps += [
            Overlap(i * n + column, j * n + column, Box(top, left, size, self.window[1]), 'rows')
            for i, j, top, size in rows
            for column, left in enumerate(self.starts)
        ]
        return overlaps

    @cached_property
    def owners(self) -> list[Owner]:
        """The tiling that rebuilds the panorama without overlap (``S_TA^w`` of Eq. 4).

        Walk from the left: the window with the largest start that is not past the current column owns the columns up
        to its end. The paper's grid is owned by windows 0, 2, 4, 6. The boxes cover each pixel of the panorama once.
        """
        n = len(self.starts)
        return [
            Owner(row * n + column, Box(top, left, height, width))
            for row, top, height in axis_owners(self.row_starts, self.window[0], self.height)
            for column, left, width in axis_owners(self.starts, self.window[1], self.width)
        ]

    def valid(self, box: Box) -> Box:
        """Return the part of a box that shows the panorama: smaller than the box only where there is padding."""
        height = min(box.height, self.height - box.top)
        width = box.width if self.wrap else min(box.width, self.width - box.left)
        return Box(box.top, box.left, height, width)

    def crop(self, panorama: Array, box: Box) -> Array:
        """Cut one window or overlap out of a panorama; what lies outside the panorama is zero.

        Args:
            panorama: ``(..., H, W)``, NumPy array or torch tensor of any dtype.
            box: A member of ``windows``, or the box of an overlap or owner.

        Returns:
            ``(..., box.height, box.width)`` of the same dtype; a view unless the box is padded or crosses the seam.

        Raises:
            ValueError: If the array is not as large as the grid's panorama.
        """
        _check_size(panorama, (self.height, self.width))
        valid = self.valid(box)
        source: Any = panorama
        regions = self.regions(valid)
        if valid == box and len(regions) == 1:
            return cast('Array', source[regions[0][0]])
        piece: Any = _zeros(source, (*source.shape[:-2], box.height, box.width))
        for region, columns in regions:
            piece[..., : valid.height, columns] = source[region]
        return cast('Array', piece)

    def stitch(self, pieces: Array, mode: Literal['owners', 'mean'] = 'owners') -> Array:
        """Put all windows back together.

        Args:
            pieces: ``(n, ..., h, w)``, one for each of ``windows`` in order; NumPy array or torch tensor.
            mode: ``'owners'`` takes each pixel from its owner (any dtype); ``'mean'`` averages all windows that see
                it (floating point).

        Returns:
            ``(..., H, W)``.

        Raises:
            ValueError: If number or size of the pieces differ from the grid's, the mode is unknown, or it is
                ``'mean'`` for integers.
        """
        if len(pieces) != len(self.windows):
            raise ValueError(f'{len(pieces)} pieces for a grid of {len(self.windows)} windows')
        _check_size(pieces, self.window)
        panorama = _zeros(pieces, (*pieces.shape[1:-2], self.height, self.width))
        if mode == 'owners':
            for index, box in self.owners:
                window = self.windows[index]
                top, left = box.top - window.top, box.left - window.left
                piece = pieces[index][..., top : top + box.height, left : left + box.width]
                for region, columns in self.regions(box):
                    panorama[region] = piece[..., columns]
            return cast('Array', panorama)
        if mode != 'mean':
            raise ValueError(f"mode {mode!r} is neither 'owners' nor 'mean'")
        if not _is_floating(pieces):
            raise ValueError(f"mode 'mean' of {pieces.dtype} values; floating point is needed")
        windows_at = _zeros(pieces, (self.height, self.width))
        for window, values in zip(self.windows, pieces, strict=True):
            valid = self.valid(window)
            for region, columns in self.regions(valid):
                panorama[region] += values[..., : valid.height, columns]
                windows_at[region] += 1
        return cast('Array', panorama / windows_at)

    def regions(self, box: Box) -> list[tuple[tuple[Any, ...], slice]]:
        """Return a box as indices into ``(..., H, W)``, two if it crosses the seam, each with the box's columns there.

        They are slices, which give views; an index by numbers is copied to the device first, and that is waited for.
        """
        rows, end = slice(box.top, box.top + box.height), box.left + box.width
        if end <= self.width:
            return [((..., rows, slice(box.left, end)), slice(0, box.width))]
        before = self.width - box.left
        return [
            ((..., rows, slice(box.left, self.width)), slice(0, before)),
            ((..., rows, slice(0, end - self.width)), slice(before, box.width)),
        ]


@lru_cache(maxsize=64)
def _grid_over(settings: WindowSettings, height: int, width: int) -> WindowGrid:
    return WindowGrid(height, width, settings.window, settings.stride, settings.wrap)


def _check_size(array: Any, size: tuple[int, int]) -> None:
    if tuple(array.shape[-2:]) != size:
        raise ValueError(f'array of {tuple(array.shape[-2:])} pixels where the grid has {size}')


def _zeros(like: Any, shape: tuple[int, ...]) -> Any:
    return np.zeros(shape, like.dtype) if isinstance(like, np.ndarray) else like.new_zeros(shape)


def _is_floating(array: Any) -> bool:
    return np.issubdtype(array.dtype, np.floating) if isinstance(array, np.ndarray) else array.is_floating_point()
