"""JSON files of masks: of one image each, as SA-1B and SAM have them, or COCO's instances of many images."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.exchange.content import FileContent
from stage1_sam_cache.exchange.records import Record, masks_of, read_record
from stage1_sam_cache.masks.instance_masks import InstanceMasks


class CocoImage(NamedTuple):
    """An image that a COCO file lists: its name there, and its masks."""

    name: str
    masks: CocoMasks


@dataclass(frozen=True, eq=False)
class CocoMasks:
    """The annotations of one image of a COCO file, which is held in memory.

    Attributes:
        file: The COCO file.
        size: Rows and columns of the image as the file states them; None where it does not.
        annotations: Of the image.
    """

    file: Path
    size: tuple[Any, Any] | None
    annotations: list[Any]

    def load(self, size: tuple[int, int]) -> InstanceMasks:
        """Return the masks of an image of ``size`` rows and columns.

        Raises:
            ImageError: If they can't be read or are of another size.
        """
        return _load(self.file, self.annotations, self.size, size)


@dataclass(frozen=True, eq=False)
class JsonMasks:
    """The masks of one image in a file of their own."""

    content: FileContent

    @property
    def file(self) -> Path:
        """The file."""
        return self.content.path

    def load(self, size: tuple[int, int]) -> InstanceMasks:
        """As ``CocoMasks.load``."""
        document = parse(self.content.read(), self.file)
        stated = None
        if isinstance(document, dict) and isinstance(document.get('image'), dict):
            stated = _stated_size(document['image'])
        annotations = document.get('annotations') if isinstance(document, dict) else document
        if not isinstance(annotations, list):
            raise ImageError(f'{self.file}: neither a list of masks nor an object with "annotations"')
        return _load(self.file, annotations, stated, size)


def parse(data: bytes, file: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        ImageError: If it is no JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise ImageError(f'{file}: not a sound JSON file ({problem})', 'was it written completely?') from None


def read_coco(document: Any, file: Path) -> tuple[list[CocoImage], int]:
    """Return the images of a COCO file, and how many annotations belong to none of them.

    Raises:
        ImageError: If it is no COCO file, or images share an id, so that whose masks are whose is not known.
    """
    images = document.get('images') if isinstance(document, dict) else None
    annotations = document.get('annotations') if isinstance(document, dict) else None
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise ImageError(f'{file}: no COCO instances, which have lists of images and annotations')
    of_image: dict[Any, list[Any]] = defaultdict(list)
    found = []
    try:
        for annotation in annotations:
            of_image[annotation['image_id']].append(annotation)
        for image in images:
            name = str(image['file_name']).replace('\\', '/')
            found.append(CocoImage(name, CocoMasks(file, _stated_size(image), of_image.pop(image['id'], []))))
    except (TypeError, KeyError, AttributeError) as problem:
        raise ImageError(f'{file}: an image or annotation without what COCO asks for ({problem!r})') from None
    ids = Counter(image['id'] for image in images)
    if len(ids) < len(images):
        number, count = ids.most_common(1)[0]
        raise ImageError(f'{file}: {count} images have the id {number!r}', 'give each image an id of its own')
    return found, sum(map(len, of_image.values()))


def _stated_size(image: dict[str, Any]) -> tuple[Any, Any] | None:
    return (image['height'], image['width']) if {'height', 'width'} <= image.keys() else None


def _load(file: Path, annotations: list[Any], stated: tuple[Any, Any] | None, size: tuple[int, int]) -> InstanceMasks:
    try:
        if stated is not None and stated != size:
            raise ValueError(f'masks of {stated[0]}x{stated[1]} pixels where {size[0]}x{size[1]} are needed')
        records: list[Record] = [read_record(annotation) for annotation in annotations]
        return masks_of(records, size)
    except ValueError as problem:
        raise ImageError(f'{file}: {problem}') from None
