"""Labels of a folder of images that is no data set of the catalogue: which file is whose, and what its ids mean.

A label is found by the id of its image, the path below the image folder without extension: at the same path below the
label folder, as ``<id>.png`` or with an ending that releases use (``names_of``). Its ids are those of the classes in a
label space, or of another encoding, or have a table of their own (``OwnLabelReader``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.data.label_spaces import IGNORE, LABEL_SPACES, RAW_IDS, REMAPS, LabelSpace
from stage1_sam_cache.data.labels import check_ids, read_ids
from stage1_sam_cache.data.listing import Listing, Sample, is_folder, scan
from stage1_sam_cache.errors import DatasetError
from stage1_sam_cache.system.nearest import known

IGNORED = 'ignore'  # in a table of ids: pixels that are not scored
_ENDINGS = ('', '_labelTrainIds', '_gtFine_labelTrainIds')
_REMEDY = 'say what the ids are: --label-ids; in a config, label_ids of the data set (docs/usage.md)'
_RAW_ENDINGS = ('', '_labelIds', '_gtFine_labelIds')

LabelIds = str | Mapping[str | int, str]


class LabelledListing(NamedTuple):
    """Listed images with their labels.

    Attributes:
        listing: Each sample with its label or with None.
        without: By id why samples have no label.
        unused: Names of label files of which there is no image.
    """

    listing: Listing
    without: dict[str, str]
    unused: list[str]


class OwnLabelReader:
    """Reads label files as ids of a label space.

    Args:
        space: Key of ``LABEL_SPACES``: the classes.
        ids: What the ids in the files are. None: those of the space. A name: another encoding that can be converted to
            the space, such as ``'cityscapes34'``. A table: the name of a class, or ``'ignore'``, for each id from 0 to
            255. 255 is ignored in any case.

    Raises:
        DatasetError: If space, encoding or class is unknown, or an id is not from 0 to 255.
    """

    def __init__(self, space: str = 'cityscapes19', ids: LabelIds | None = None) -> None:
        self.space = label_space(space)
        if isinstance(ids, Mapping):
            self._table, self._allowed = _table(ids, self.space)
            self._of = f'the {len(self._allowed)} ids that are given a class'
        else:
            encoding = ids or self.space.name
            sources = [source for source, target in REMAPS if target == self.space.name]
            if encoding not in sources:
                raise DatasetError(f'label ids {encoding!r} cannot be read as {space}', known(encoding, sources))
            self._table = REMAPS[encoding, self.space.name]
            self._allowed = set(
                range(len(LABEL_SPACES[encoding].classes)) if encoding in LABEL_SPACES else RAW_IDS[encoding]
            )
            self._of = f'the {len(self._allowed)} ids of {encoding}, 0 to {max(self._allowed)}, and 255 for ignored'

    def __call__(self, path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Read the label file of an image, uint8 ``(H, W)``.

        Args:
            path: The label file.
            pixels: The image, uint8 ``(H, W, 3)``.

        Raises:
            ImageError: If it can't be read, does not fit the image, or holds an id without a meaning.
        """
        raw = read_ids(path, pixels.shape[:2])
        check_ids(path, raw, self._allowed, self._of, _REMEDY)
        labels: NDArray[np.uint8] = self._table[raw]
        return labels


def label_space(name: str) -> LabelSpace:
    """Return a label space by its name.

    Raises:
        DatasetError: If there is none; the message lists those that exist.
    """
    if name not in LABEL_SPACES:
        raise DatasetError(f'there is no label space {name!r}', known(name, LABEL_SPACES))
    return LABEL_SPACES[name]


def _table(ids: Mapping[str | int, str], space: LabelSpace) -> tuple[NDArray[np.uint8], set[int]]:
    """Return the class of each id, uint8 ``(256,)``, and the ids that have a meaning."""
    table = np.full(256, IGNORE, np.uint8)
    allowed = set()
    for key, name in ids.items():
        if not (str(key).isdecimal() and int(key) <= IGNORE):
            raise DatasetError(f'label ids: {key!r} is no id', 'give numbers from 0 to 255')
        if name != IGNORED and name not in space.classes:
            raise DatasetError(
                f'label ids: {key} is {name!r}, which is neither {IGNORED!r} nor a class of {space.name}',
                known(str(name), space.classes),
            )
        allowed.add(int(key))
        if name != IGNORED and int(key) != IGNORE:
            table[int(key)] = space.classes.index(name)
    return table, allowed


def names_of(image_id: str, ids: LabelIds | None = None) -> Iterator[str]:
    """Yield the ids that an image's label file may have, best first.

    Args:
        image_id: Of the image; ``_leftImg8bit`` and a last underscore are also tried without.
        ids: As ``OwnLabelReader`` takes them; raw Cityscapes ids have other endings.
    """
    for stem in dict.fromkeys((image_id, image_id.removesuffix('_leftImg8bit'), image_id.removesuffix('_'))):
        for ending in _RAW_ENDINGS if ids == 'cityscapes34' else _ENDINGS:
            yield stem + ending


def with_labels(
    listing: Listing, folder: str | Path, ids: LabelIds | None = None, follow_links: bool = False
) -> LabelledListing:
    """Find the labels of listed images in a folder.

    Args:
        listing: The images.
        folder: The label folder.
        ids: As ``OwnLabelReader`` takes them.
        follow_links: As for ``list_folder``.

    Returns:
        The listing, each sample with its label or with None, and what does not go together.

    Raises:
        DatasetError: If the folder is missing or is the image folder, or if no image has a label.
    """
    folder = Path(folder)
    if not is_folder(folder):
        raise DatasetError(f'the label folder {folder} is not a folder that exists and can be read')
    if folder.resolve() == listing.root.resolve():
        raise DatasetError(f'{folder} is both image and label folder', 'put the labels into a folder of their own')
    files = scan(folder, ('.png',), ('**',), follow_links)
    by_id = {file.id: file.image for file in files.samples}
    reasons = {entry.name.removesuffix('.png'): entry.reason for entry in files.refused}
    samples, without = [], {}
    for sample in listing.samples:
        names = list(names_of(sample.id, ids))
        label = next((by_id[name] for name in names if name in by_id), None)
        samples.append(Sample(sample.id, sample.image, label))
        if label is None:
            refused = next((name for name in names if name in reasons), None)
            without[sample.id] = f'label {refused}.png: {reasons[refused]}' if refused else 'no label'
    if len(without) == len(samples):
        first = samples[0].id
        looked = ' or '.join(f'{name}.png' for name in [*names_of(first, ids)][:2])
        held = f'it holds {len(by_id)} PNGs, such as {files.samples[0].id}.png' if by_id else 'it holds no PNG'
        why = held if without[first] == 'no label' else without[first]
        raise DatasetError(
            f'none of the {len(samples)} images of {listing.root} has a label in {folder}, '
            f'where that of {first} would be {looked}; {why}'
        )
    images = {sample.id for sample in samples} | {entry.name.rpartition('.')[0] for entry in listing.refused}
    stems = {image_id.removesuffix('_leftImg8bit').removesuffix('_') for image_id in images} | images
    unused = [f'{file.id}.png' for file in files.samples if not _is_of(file.id, stems)]
    return LabelledListing(Listing(samples, listing.refused, listing.root), without, unused)


def _is_of(label_id: str, stems: set[str]) -> bool:
    """Whether a label file is of one of these images, also with an ending that is not read, such as ``_color``."""
    return any(label_id[: place.start()] in stems for place in re.finditer('_|$', label_id))
