"""COCO's run lengths from and to the runs of ``InstanceMasks``, for all masks of an image at once and never as pixels.

COCO counts pixels column by column, from the top left: outside, inside, outside, ... Its compressed form is the text in
which pycocotools and SAM write these counts. pycocotools itself can turn that text only into dense masks, of which a
panorama with thousands of masks has too many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.masks.instance_masks import InstanceMasks

Runs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # mask, line, start, end
_MOST_DIGITS = 8  # of five bits each, in a count


def decode_texts(texts: Sequence[bytes]) -> list[NDArray[np.int64]]:
    """Return the counts of each compressed text.

    Raises:
        ValueError: If one is not such a text.
    """
    if not texts:
        return []
    sizes = np.array([len(text) for text in texts])
    letters = np.frombuffer(b''.join(texts), np.uint8).astype(np.int64) - 48
    last = (letters & 32) == 0  # letter of a number
    ends = np.cumsum(sizes)
    if not sizes.all() or ((letters < 0) | (letters > 63)).any() or not last[ends - 1].all():
        raise ValueError('run lengths that are no compressed COCO text')
    first = np.flatnonzero(np.append(True, last[:-1]))
    digits = np.diff(first, append=len(letters))
    if digits.max() > _MOST_DIGITS:
        raise ValueError('a run length that is too large')
    place = np.arange(len(letters)) - np.repeat(first, digits)
    numbers = np.add.reduceat((letters & 31) << (5 * place), first)
    numbers -= np.where(letters[first + digits - 1] & 16, np.int64(1) << (5 * digits), 0)
    counts = np.add.reduceat(last, ends - sizes, dtype=np.int64)
    return np.split(_undo_differences(numbers, counts), np.cumsum(counts)[:-1])


def _undo_differences(numbers: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add up the numbers of each text: from the fourth on, each is the difference to the one two places before."""
    text = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
    chain = 3 * text + np.where(place == 0, 0, 1 + place % 2)
    order = np.lexsort((place, chain))
    sums = np.cumsum(numbers[order])
    firsts = np.flatnonzero(np.diff(chain[order], prepend=-1))
    before = sums[firsts] - numbers[order][firsts]
    numbers = np.empty_like(numbers)
    numbers[order] = sums - np.repeat(before, np.diff(firsts, append=len(sums)))
    return numbers


def from_counts(
    counts: Sequence[NDArray[np.int64]],
    shape: tuple[int, int],
    predicted_iou: Sequence[float] | None = None,
    stability: Sequence[float] | None = None,
) -> InstanceMasks:
    """Make masks of COCO's counts; empty ones are skipped, and the order of the others is kept.

    Args:
        counts: Of each mask.
        shape: ``(h, w)`` of the image.
        predicted_iou, stability: Scores of each mask, NaN where there is none.

    Raises:
        ValueError: If counts are negative or are not those of so many pixels.
    """
    h, w = shape
    sizes = np.array([len(values) for values in counts], np.int64)
    lengths = np.concatenate([np.zeros(0, np.int64), *counts])
    if (lengths < 0).any() or (lengths > h * w).any() or any(values.sum() != h * w for values in counts):
        raise ValueError(f'run lengths that are not those of {h}x{w} pixels')
    ends = np.cumsum(lengths)  # through all masks, one after the other
    odd = (np.arange(len(lengths)) - np.repeat(np.cumsum(sizes) - sizes, sizes)) % 2 == 1
    inside = odd & (lengths > 0)
    start, end = (ends - lengths)[inside], ends[inside]
    columns = (end - 1) // h - start // h + 1  # that each run lies in
    column = (
        np.repeat(start // h, columns) + np.arange(columns.sum()) - np.repeat(np.cumsum(columns) - columns, columns)
    )
    top = np.maximum(np.repeat(start, columns), column * h) - column * h
    bottom = np.minimum(np.repeat(end, columns), (column + 1) * h) - column * h
    runs = transposed((column // w, column % w, top, bottom), (w, h))
    return InstanceMasks.from_runs(shape, len(counts), *runs, predicted_iou, stability)


def to_counts(masks: InstanceMasks) -> list[NDArray[np.int64]]:
    """Return COCO's counts of each mask, as pycocotools makes them of dense masks."""
    h, w = masks.shape
    if not len(masks):
        return []
    mask, column, top, bottom = transposed((masks.mask_of_run, masks.rows, masks.starts, masks.ends), (h, w))
    start, end = column * h + top, column * h + bottom
    joins = (mask[1:] == mask[:-1]) & (start[1:] == end[:-1])  # from the foot of a column to the head of the next
    start, end = start[np.append(True, ~joins)], end[np.append(~joins, True)]
    runs = np.bincount(mask[np.append(True, ~joins)], minlength=len(masks))
    edges = np.stack([start, end], axis=1).ravel()
    per_mask = np.split(edges, np.cumsum(2 * runs)[:-1])
    return [np.diff(each, prepend=0, **({} if each[-1] == h * w else {'append': h * w})) for each in per_mask]


def transposed(runs: Runs, size: tuple[int, int]) -> Runs:
    """Turn runs along the lines of masks into runs across them: of columns into those of rows, and back.

    A run across begins where a line has a pixel that the line before has not, and ends where the line before has one
    that this line has not. Both are stretches of lines, found from the sorted ends of the runs of both lines.

    Args:
        runs: int64 ``(R,)`` each: mask, line, start and end in the line; runs do not overlap.
        size: Lines, and places of a line.

    Returns:
        Mask, place, first line, and line after the last, by mask, place and line.
    """
    lines, places = size
    mask, line, start, end = runs
    here = (mask * (lines + 1) + line) * (places + 1)
    after = here + places + 1
    edge = np.concatenate([here + start, here + end, after + start, after + end])
    step = np.repeat(np.array([1, -1, -1, 1]), len(mask))
    order = np.argsort(edge, kind='stable')
    edge, state = edge[order], np.cumsum(step[order])  # 1: a run across begins; -1: it ends
    length = np.diff(edge, append=edge[-1:])
    first, last = (_pixels(edge[state == sign], length[state == sign], size) for sign in (1, -1))
    return first[0], first[1], first[2], last[2]


def _pixels(
    start: NDArray[np.int64], length: NDArray[np.int64], size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Mask, place and line of every pixel of stretches of lines, by mask, place and line."""
    lines, places = size
    pixel = np.arange(length.sum()) + np.repeat(start - (np.cumsum(length) - length), length)
    line, place = np.divmod(pixel, places + 1)
    mask, line = np.divmod(line, lines + 1)
    key = np.sort((mask * places + place) * (lines + 1) + line)
    place, line = np.divmod(key, lines + 1)
    return place // places, place % places, line
