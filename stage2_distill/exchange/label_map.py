"""One labelled image as other tools' files describe it: a name, and a mask of runs for each class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class LabelMap(NamedTuple):
    """The labels of one image.

    Attributes:
        name: Path of the image below the folder that was named, with its extension and with ``/``.
        labels: Class ids, uint8 ``(H, W)``; an id without a class belongs to no mask.
    """

    name: str
    labels: NDArray[np.uint8]


class LabelSet(NamedTuple):
    """What the ids of all images mean, and who made them."""

    classes: list[str]
    palette: list[list[int]]
    made_by: str  # of the student, as a short digest
    image_url: str = ''  # what stands before each name where a tool wants an address

    def colour(self, index: int) -> str:
        """Return the colour of a class as ``#rrggbb``."""
        return '#{:02x}{:02x}{:02x}'.format(*self.palette[index])


class Runs(NamedTuple):
    """A mask, row by row inside its bounding box: pixels outside of it, inside, outside, ...; the first may be 0."""

    left: int
    top: int
    width: int
    height: int
    counts: list[int]


def class_masks(labels: NDArray[np.uint8], count: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield every class below ``count`` that an image has, with its mask, bool ``(H, W)``."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[:count])
    for index in present.tolist():
        yield index, labels == index


def runs_in_box(mask: NDArray[np.bool_]) -> Runs:
    """Return the runs of a mask inside its bounding box.

    Args:
        mask: bool ``(H, W)`` with at least one pixel.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    crop = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    return Runs(left, top, crop.shape[1], crop.shape[0], run_lengths(crop).tolist())


def run_lengths(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the lengths of runs of a mask, row by row, in turn outside and inside; the first may be 0."""
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return np.concatenate([[0], lengths]) if flat[0] else lengths
