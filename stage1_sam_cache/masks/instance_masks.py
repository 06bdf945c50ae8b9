"""The instance masks of one window, held as runs, and the order in which they are painted.

Masks overlap (whole, part, subpart), so each is stored on its own and completely. A run is a horizontal stretch of one
mask in one row. Dense masks, id map, areas and boxes are derived from the runs by array operations, without a loop over
masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MAX_MASKS = np.iinfo(np.uint16).max  # per window: as many as the ids of an id map
ORDERS = ('area_desc', 'area_asc', 'score')


@dataclass(frozen=True, eq=False)
class InstanceMasks:
    """``K`` overlapping instance masks of one window of ``h x w`` pixels; lengths and positions in pixels.

    Attributes:
        shape: ``(h, w)`` of the window.
        runs_per_mask: int64 ``(K,)``, at least 1 each.
        rows: int64 ``(R,)``, the row of each run. Runs are sorted by mask, then by their rank among the mask's runs
            in the same row, then by row, so that they follow an outline downwards: the cache's coding relies on that.
        starts: int64 ``(R,)``, first column of each run.
        ends: int64 ``(R,)``, column after the last of each run.
        predicted_iou: float32 ``(K,)``, SAM's own estimate, about 0 to 1; NaN if the generator gives none.
        stability: float32 ``(K,)`` in [0, 1], SAM's stability score; NaN if the generator gives none.
    """

    shape: tuple[int, int]
    runs_per_mask: NDArray[np.int64]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    predicted_iou: NDArray[np.float32]
    stability: NDArray[np.float32]

    @classmethod
    def from_dense(
        cls,
        masks: NDArray[np.bool_],
        predicted_iou: Sequence[float] | None = None,
        stability: Sequence[float] | None = None,
    ) -> InstanceMasks:
        """Make them of masks bool ``(K, h, w)``; empty ones are skipped, and the order of the others is kept.

        Raises:
            ValueError: If the array is not three-dimensional or a score list has another length.
        """
        masks = np.asarray(masks, dtype=bool)
        if masks.ndim != 3:
            raise ValueError(f'masks of shape {masks.shape}; (K, h, w) is needed')
        return cls.from_packed(np.packbits(masks, axis=2), masks.shape[2], predicted_iou, stability)

    @classmethod
    def from_packed(
        cls,
        bits: NDArray[np.uint8],
        width: int,
        predicted_iou: Sequence[float] | None = None,
        stability: Sequence[float] | None = None,
    ) -> InstanceMasks:
        """Make them of masks of eight pixels per byte, as ``numpy.packbits`` packs their rows; else as ``from_dense``.

        Args:
            bits: uint8 ``(K, h, ceil(width / 8))``; bits after the last pixel of a row are 0.
            width: Of the window.
            predicted_iou, stability: Scores of each mask.

        Raises:
            ValueError: If a score list has another length.
        """
        k, h, size = bits.shape
        lines = np.pad(bits.reshape(k * h, size), ((0, 0), (0, 1))).ravel()  # what follows a row is outside
        left = lines >> 1  # each pixel's left neighbour
        left[1:] |= lines[:-1] << 7
        changes = (lines ^ left).view(np.uint8)
        place = np.flatnonzero(changes)
        which, bit = np.nonzero(np.unpackbits(changes[place, None], axis=1))
        line, byte = np.divmod(place[which], size + 1)
        column = 8 * byte + bit
        line = line[::2]  # a run begins at one change and ends at the next
        runs = line // h, line % h, column[::2], column[1::2]
        return cls.from_runs((h, width), k, *runs, predicted_iou, stability)

    @classmethod
    def from_label_maps(cls, label_maps: Sequence[NDArray[np.integer]]) -> InstanceMasks:
        """Make them of several integer label maps ``(h, w)``: every region is a mask, without scores.

        A region that is in two maps gives one mask. All pixels of equal label are one region, connected or not.
        """
        h, w = label_maps[0].shape
        parts: list[tuple[NDArray, ...]] = []
        count = 0
        earlier: list[NDArray[np.int64]] = []
        for raw in label_maps:
            labels = np.unique(raw, return_inverse=True)[1].reshape(h, w)
            new = np.ones(int(labels.max()) + 1, dtype=bool)
            for other in earlier:
                new[_regions_also_in(labels, other)] = False
            earlier.append(labels)
            breaks = np.ones((h, w), dtype=bool)
            breaks[:, 1:] = labels[:, 1:] != labels[:, :-1]
            position = np.flatnonzero(breaks)
            label = labels.ravel()[position]
            length = np.diff(position, append=h * w)
            number = np.cumsum(new) - 1 + count
            count += int(new.sum())
            kept = new[label]
            position, length, label = position[kept], length[kept], label[kept]
            parts.append((number[label], position // w, position % w, position % w + length))
        mask, row, start, end = (np.concatenate(part) for part in zip(*parts, strict=True))
        return cls.from_runs((h, w), count, mask, row, start, end, None, None)

    @classmethod
    def from_runs(
        cls,
        shape: tuple[int, int],
        count: int,
        mask: NDArray,
        row: NDArray,
        start: NDArray,
        end: NDArray,
        predicted_iou: Sequence[float] | NDArray[np.float32] | None = None,
        stability: Sequence[float] | NDArray[np.float32] | None = None,
    ) -> InstanceMasks:
        """Make them of runs in any order, int64 ``(R,)`` each; else as ``from_dense``.

        Args:
            shape: ``(h, w)`` of the window.
            count: Masks, empty ones among them.
            mask, row, start, end: Of each run; runs of one mask neither overlap nor touch.
            predicted_iou, stability: Scores of each mask.

        Raises:
            ValueError: If a score list has another length.
        """
        line = mask * shape[0] + row
        order = np.lexsort((start, line))
        line = line[order]
        rank = np.arange(len(line)) - np.searchsorted(line, line)
        order = order[np.lexsort((line, rank, line // shape[0]))]
        runs = np.bincount(mask, minlength=count)
        scores = []
        for name, values in (('predicted_iou', predicted_iou), ('stability', stability)):
            array = np.full(count, np.nan) if values is None else np.asarray(values)
            if array.shape != (count,):
                raise ValueError(f'{array.size} values of {name} for {count} masks')
            scores.append(array.astype(np.float32)[runs > 0])
        return cls(shape, runs[runs > 0], row[order], start[order], end[order], *scores)

    def __len__(self) -> int:
        return len(self.runs_per_mask)

    @cached_property
    def mask_of_run(self) -> NDArray[np.int64]:
        """int64 ``(R,)``, the mask that each run belongs to."""
        return np.repeat(np.arange(len(self)), self.runs_per_mask)

    @cached_property
    def area(self) -> NDArray[np.int64]:
        """int64 ``(K,)``, pixels of each mask's full extent."""
        return self._per_mask(np.add, self.ends - self.starts)

    @cached_property
    def bbox(self) -> NDArray[np.int64]:
        """int64 ``(K, 4)``, left, top, width, height of each mask, counting every pixel.

        SAM's own records measure from the first to the last pixel, so their widths and heights are one less.
        """
        left, right = self._per_mask(np.minimum, self.starts), self._per_mask(np.maximum, self.ends)
        top, bottom = self._per_mask(np.minimum, self.rows), self._per_mask(np.maximum, self.rows) + 1
        return np.stack([left, top, right - left, bottom - top], axis=1)

    def _per_mask(self, reduce: np.ufunc, values: NDArray[np.int64]) -> NDArray[np.int64]:
        firsts = np.cumsum(self.runs_per_mask) - self.runs_per_mask
        return reduce.reduceat(values, firsts) if len(self) else np.zeros(0, np.int64)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """int64 ``(sum of areas,)``, flat index in the window of every pixel of every mask, mask after mask."""
        lengths = self.ends - self.starts
        first = self.rows * self.shape[1] + self.starts
        before = np.cumsum(lengths) - lengths
        return np.arange(lengths.sum()) + np.repeat(first - before, lengths)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """bool ``(K, h, w)``, computed at each access."""
        row = (self.mask_of_run * self.shape[0] + self.rows) * self.shape[1]
        # In the concatenation of all masks, stretches outside and inside alternate.
        edges = np.sort(np.concatenate([row + self.starts, row + self.ends]))
        lengths = np.diff(edges, prepend=0, append=len(self) * self.shape[0] * self.shape[1])
        inside = np.arange(len(lengths)) % 2 == 1
        return np.repeat(inside, lengths).reshape(len(self), *self.shape)

    @cached_property
    def id_map(self) -> NDArray[np.uint16]:
        """uint16 ``(h, w)``: 1 + index of the mask on top at each pixel, 0 where there is no mask.

        Masks are painted in their order, later ones over earlier ones.

        Raises:
            ValueError: If there are more than 65535 masks.
        """
        if len(self) > MAX_MASKS:
            raise ValueError(f'{len(self)} masks in one window; an id map holds at most {MAX_MASKS}')
        painted = np.zeros(self.shape[0] * self.shape[1], dtype=np.uint16)
        # NumPy assigns in order, so the last mask at a pixel wins.
        painted[self.pixels] = np.repeat(np.arange(1, len(self) + 1), self.area)
        return painted.reshape(self.shape)

    @property
    def coverage(self) -> float:
        """Share of the window's pixels, padding included, that lie in at least one mask, in [0, 1]."""
        return float(np.count_nonzero(self.id_map)) / self.id_map.size

    def in_painting_order(self, order: str = 'area_desc') -> InstanceMasks:
        """Sort the masks by painting order, the last one on top.

        Args:
            order: ``'area_desc'``, small masks on top of large ones, and among equal areas the better scored on top
                (the default; the paper does not say how overlapping masks are stacked); ``'area_asc'``, large
                masks on top; ``'score'``, the best predicted IoU on top.

        Raises:
            ValueError: If the order is unknown.
        """
        if order not in ORDERS:
            raise ValueError(f'painting order {order!r} is none of {", ".join(ORDERS)}')
        # Without scores (NaN), area and index decide.
        iou, stability = np.nan_to_num(self.predicted_iou), np.nan_to_num(self.stability)
        index = np.arange(len(self))
        area_keys = {'area_desc': (-self.area,), 'area_asc': (self.area,), 'score': ()}[order]
        return self.take(np.lexsort((index, stability, iou, *area_keys)))

    def take(self, masks: NDArray[np.int64]) -> InstanceMasks:
        """Return the masks with these indices, in this order."""
        counts = self.runs_per_mask[masks]
        firsts = np.cumsum(self.runs_per_mask) - self.runs_per_mask
        before = np.cumsum(counts) - counts
        runs = np.arange(counts.sum()) + np.repeat(firsts[masks] - before, counts)
        rows, starts, ends = self.rows[runs], self.starts[runs], self.ends[runs]
        return InstanceMasks(self.shape, counts, rows, starts, ends, self.predicted_iou[masks], self.stability[masks])

    def padded_to(self, shape: tuple[int, int]) -> InstanceMasks:
        """Return the same masks in a window padded at the bottom and the right.

        Raises:
            ValueError: If the shape is smaller than the window.
        """
        if shape[0] < self.shape[0] or shape[1] < self.shape[1]:
            raise ValueError(f'masks of {self.shape} pixels do not fit {shape}')
        return replace(self, shape=shape)


def _regions_also_in(labels: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels whose region is, pixel for pixel, also a region of the other map; both count from 0."""
    pair, count = np.unique(labels * (other.max() + 1) + other, return_counts=True)
    mine, theirs = np.divmod(pair, other.max() + 1)
    whole = (count == np.bincount(labels.ravel())[mine]) & (count == np.bincount(other.ravel())[theirs])
    return mine[whole]
