"""The masks of a cache written for other tools: SA-1B JSON, COCO instances or PNG, per window or per panorama.

What is written can be killed and started again: each file is atomic, and finished files stay unless the panorama was
cached again since.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.errors import MaskCacheError, WriteError
from stage1_sam_cache.exchange.names import part_name
from stage1_sam_cache.exchange.png_masks import METADATA, stack_files
from stage1_sam_cache.exchange.records import write_records
from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.masks.cutting import concatenate, put
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.system.atomic_file import commit, make_folder

FORMATS = ('coco', 'sa1b', 'png')
COCO_FILE = 'instances.json'
_PART = '.part'
_AGAIN = 'what was finished before is safe: fix the cause and run the same command again'


class NamedMasks(NamedTuple):
    """Masks under one name: those of a window, without its padding, or of a panorama; and each mask's crop box."""

    name: str
    masks: InstanceMasks
    crop_boxes: Sequence[Box]


def named_masks(panorama: PanoramaMasks, merged: bool) -> Iterator[NamedMasks]:
    """Yield the masks of every window, or those of all windows at their place in the panorama.

    Raises:
        MaskCacheError: If the panorama's id is no name of a file below a folder.
    """
    image_id, grid, (height, width) = panorama.image_id, panorama.grid, panorama.image_size
    path = PurePosixPath(image_id)
    if path.is_absolute() or '..' in path.parts or '\0' in image_id:
        raise MaskCacheError(f'{image_id!r} is no name of a file')
    boxes = [grid.valid(box) for box in grid.windows]
    if not merged:
        for box, masks in zip(boxes, panorama.windows, strict=True):
            whole = Box(0, 0, box.height, box.width)
            yield NamedMasks(
                part_name(image_id, box), replace(masks, shape=(box.height, box.width)), [whole] * len(masks)
            )
        return
    placed = [put(masks, box, (height, width)) for box, masks in zip(boxes, panorama.windows, strict=True)]
    crop_boxes = [box for box, masks in zip(boxes, placed, strict=True) for _ in range(len(masks))]
    yield NamedMasks(image_id, concatenate(placed, (height, width)), crop_boxes)


class Writer(Protocol):
    """Writes the masks of panoramas in one format."""

    def write(self, panorama: PanoramaMasks, since: float) -> bool:
        """Write a panorama's masks; False if what is there is younger than ``since``, in seconds of the epoch."""
        ...

    def finish(self) -> None:
        """Write what belongs to all panoramas."""
        ...


@dataclass
class Sa1bWriter:
    """One JSON per window or panorama, as SA-1B has them."""

    out: Path
    merged: bool

    def write(self, panorama: PanoramaMasks, since: float) -> bool:
        """As ``Writer.write``."""
        wrote = False
        for name, masks, boxes in named_masks(panorama, self.merged):
            file = self.out / f'{name}.json'
            if _is_younger(file, since):
                continue
            image = {'file_name': f'{PurePosixPath(name).name}.png', 'height': masks.shape[0], 'width': masks.shape[1]}
            annotations = [{'id': i, **record} for i, record in enumerate(write_records(masks, boxes))]
            _commit(file, json.dumps({'image': image, 'annotations': annotations}).encode())
            wrote = True
        return wrote

    def finish(self) -> None:
        """Do nothing."""


@dataclass
class PngWriter:
    """One folder per window or panorama: a PNG of one bit per mask, and ``metadata.csv``, which gets its name last."""

    out: Path
    merged: bool

    def write(self, panorama: PanoramaMasks, since: float) -> bool:
        """As ``Writer.write``."""
        wrote = False
        for name, masks, _ in named_masks(panorama, self.merged):
            if _is_younger(self.out / name / METADATA, since):
                continue
            try:
                self._write_folder(self.out / name, stack_files(masks))
            except OSError as problem:
                raise WriteError(f'cannot write {self.out / name}: {problem.strerror}', _AGAIN) from problem
            wrote = True
        return wrote

    def _write_folder(self, folder: Path, files: Iterator[tuple[str, bytes]]) -> None:
        """Write the files elsewhere, all to the disk at once (each by itself takes far longer), then name them."""
        part = self.out / _PART
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        names = []
        for name, data in files:
            (part / name).write_bytes(data)
            names.append(name)
        os.sync()
        folder.mkdir(parents=True, exist_ok=True)
        for old in [folder / METADATA, *folder.glob('*.png')]:  # of an older export, perhaps of more masks
            old.unlink(missing_ok=True)
        for name in names:
            (part / name).replace(folder / name)
        part.rmdir()

    def finish(self) -> None:
        """Do nothing."""


class CocoWriter:
    """One COCO file for all; it is held in memory and written at the end."""

    def __init__(self, out: Path, merged: bool, info: dict[str, Any]) -> None:
        self._out, self._merged, self._info = out, merged, info
        self._images: list[dict[str, Any]] = []
        self._annotations: list[str] = []

    def write(self, panorama: PanoramaMasks, since: float) -> bool:
        """As ``Writer.write``; what is there already is not looked at."""
        for name, masks, boxes in named_masks(panorama, self._merged):
            number = len(self._images) + 1
            image = {'id': number, 'file_name': f'{name}.png', 'height': masks.shape[0], 'width': masks.shape[1]}
            self._images.append(image)
            for record in write_records(masks, boxes):
                known = {'id': len(self._annotations) + 1, 'image_id': number, 'category_id': 1, 'iscrowd': 0}
                self._annotations.append(json.dumps({**known, **record}))
        return True

    def finish(self) -> None:
        """Write the file."""
        head = {'info': self._info, 'categories': [{'id': 1, 'name': 'mask'}], 'images': self._images}
        text = f'{json.dumps(head)[:-1]}, "annotations": [\n' + ',\n'.join(self._annotations) + '\n]}\n'
        _commit(self._out / COCO_FILE, text.encode())


def _is_younger(file: Path, since: float) -> bool:
    try:
        return file.stat().st_mtime >= since
    except OSError:
        return False


def _commit(file: Path, data: bytes) -> None:
    make_folder(file.parent, 'give another --out')
    commit(file, data, replace=True)
