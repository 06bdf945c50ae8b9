"""Label files of any data set of the catalogue, read as ids of a label space."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from stage1_sam_cache.data.catalog import Dataset
from stage1_sam_cache.data.images import limited, open_header, read_rgb
from stage1_sam_cache.data.label_spaces import IGNORE, LABEL_SPACES, REMAPS, convert_labels, decode_stanford2d3d
from stage1_sam_cache.errors import DatasetError, ImageError

_STANFORD = 'stanford_instances'  # a special encoding: colours that index a table of names


class LabelReader:
    """Reads the labels of one data set as ids of a label space.

    Args:
        dataset: Entry of the catalogue.
        root: Its image folder, in which Stanford2D3D's table of names is searched.
        space: Key of ``LABEL_SPACES``; None is the data set's own.

    Raises:
        DatasetError: If its labels can't be converted to the space, or the table of names is missing or damaged.
    """

    def __init__(self, dataset: Dataset, root: Path, space: str | None = None) -> None:
        self.space = LABEL_SPACES[space or dataset.label_space]
        self._encoding = 'stanford13' if dataset.label_encoding == _STANFORD else dataset.label_encoding
        if (self._encoding, self.space.name) not in REMAPS:
            raise DatasetError(f'labels of {dataset.name} ({self._encoding}) cannot be read as {self.space.name}')
        self._names = _stanford_names(root) if dataset.label_encoding == _STANFORD else []

    def __call__(self, path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Read the label file of an image, uint8 ``(H, W)``.

        Args:
            path: The label file.
            pixels: The image, uint8 ``(H, W, 3)``.

        Raises:
            ImageError: If it can't be read, does not fit the image, or holds an id that its encoding does not have.
        """
        if self._names:
            colours = read_rgb(path).pixels
            _check_size(path, colours.shape[:2], pixels.shape[:2])
            return convert_labels(decode_stanford2d3d(colours, pixels, self._names), self._encoding, self.space.name)
        raw = read_ids(path, pixels.shape[:2])
        if self._encoding in LABEL_SPACES:
            check_ids(path, raw, range(len(LABEL_SPACES[self._encoding].classes)))
        return convert_labels(raw, self._encoding, self.space.name)


def read_ids(path: Path, size: tuple[int, ...], content: bytes | None = None) -> NDArray[np.uint8]:
    """Read the ids that a label file holds, whatever they mean, uint8 ``(H, W)``.

    Args:
        path: A PNG of 8-bit ids, greyscale or with a palette, whose indices are the ids.
        size: Rows and columns of its image.
        content: Of the file, if it was read already.

    Raises:
        ImageError: If it can't be read, does not fit the image, or does not hold ids of 8 bits.
    """
    try:
        with (
            path.open('rb') if content is None else io.BytesIO(content) as file,
            open_header(limited(file, size, path), ('PNG',)) as label,
        ):
            _check_size(path, (label.height, label.width), size)  # before it is decoded
            stored = label.tile[0].args if label.tile else ''  # Pillow scales the ids of 2- and 4-bit images
            raw = np.asarray(label)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageError(f'{path}: damaged or no PNG', 'save one class id per pixel as greyscale PNG') from None
    except Exception as problem:  # Pillow lets anything through
        raise ImageError(f'{path}: damaged or no PNG ({problem})') from problem
    if raw.ndim != 2 or raw.dtype != np.uint8 or stored in ('L;2', 'L;4'):
        raise ImageError(
            f'{path}: label ids of 8 bits are needed, not {stored or raw.dtype} of shape {raw.shape}',
            'save one class id per pixel as greyscale PNG' + ('; colours are no ids' if raw.ndim == 3 else ''),
        )
    return raw


def check_ids(path: Path, raw: NDArray[np.uint8], allowed: Collection[int], of: str = '', remedy: str = '') -> None:
    """Refuse a label file that holds other ids than are allowed, and ``IGNORE``.

    Raises:
        ImageError: With these ids, and what they should be: the classes, or as ``of`` says.
    """
    unknown = np.setdiff1d(np.unique(raw), [*allowed, IGNORE])
    if len(unknown):
        raise ImageError(
            f'{path}: ids {", ".join(map(str, unknown))} are none of {of or f"the {len(allowed)} classes"}', remedy
        )


def _stanford_names(root: Path) -> list[str]:
    places = [folder / 'semantic_labels.json' for folder in (root, root / 'assets', root.parent / 'assets')]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise DatasetError(f'the labels need the file semantic_labels.json of the release in {root}')
    try:
        return [str(name) for name in json.loads(file.read_text(encoding='utf-8'))]
    except (OSError, ValueError, TypeError) as problem:
        raise DatasetError(f'{file} is not a list of names ({problem})', 'get it from the release') from problem


def _check_size(path: Path, size: tuple[int, ...], image_size: tuple[int, ...]) -> None:
    if size != image_size:
        raise ImageError(f'{path}: labels of {size} pixels for an image of {image_size}')
