"""A folder of masks from another tool: which file has whose masks, and what identifies the content of all of them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from tqdm import tqdm

from stage1_sam_cache.data.refusals import Refused
from stage1_sam_cache.errors import ImageError, Stage1Error
from stage1_sam_cache.exchange.content import FileContent
from stage1_sam_cache.exchange.json_masks import JsonMasks, parse, read_coco
from stage1_sam_cache.exchange.marker import unfinished
from stage1_sam_cache.exchange.names import NameTable, Owner
from stage1_sam_cache.exchange.png_masks import METADATA, PngIds, PngStack
from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.masks.instance_masks import InstanceMasks

_TYPES = ('.json', '.png')
_NO_IMAGE = 'masks without image: none of the images has this name'


class MaskFile(Protocol):
    """Where the masks of one panorama, or of one part of it, are read from."""

    @property
    def file(self) -> Path:
        """The file or folder, for messages."""
        ...

    def load(self, size: tuple[int, int]) -> InstanceMasks:
        """Return masks of ``size`` rows and columns; ``ImageError`` if they can't be used."""
        ...


@dataclass
class ImportFolder:
    """What a folder of masks holds, and for whom.

    Attributes:
        path: The folder, or a single file.
        sha256: Hex digest of the names and the content of all files of masks.
        masks: By panorama, then by the part of it that they show; None is all of it.
        twice: Panoramas whose masks are in several files, with the reason why none is used.
        refused: Files, and images in COCO files, that no panorama can use.
    """

    path: Path
    sha256: str = ''
    masks: dict[str, dict[Box | None, MaskFile]] = field(default_factory=lambda: defaultdict(dict))
    twice: dict[str, str] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    def add(self, owner: Owner | None, name: str, masks: MaskFile) -> None:
        """Note masks under the panorama that they belong to, or that they belong to none."""
        if owner is None:
            self.refused.append(Refused(name, _NO_IMAGE))
            return
        image_id, box = owner
        other = self.masks[image_id].setdefault(box, masks)
        if other is not masks:
            self.twice[image_id] = f'masks of the same pixels in {other.file} and in {masks.file}'


def read_folder(path: Path, image_ids: Collection[str], root: Path) -> ImportFolder:
    """Find the masks in a folder, or in one file; every file is read once, with a progress bar.

    Args:
        path: The folder, searched recursively, hidden names skipped; or a single JSON file.
        image_ids: Panoramas whose masks are wanted, and all others that may have some.
        root: Folder of the images, with which names of masks may begin.

    Raises:
        Stage1Error: If it holds no masks, can't be read, or is an export that was not finished.
    """
    files = _list(path)
    if not files:
        lack = 'is no .json file' if path.is_file() else 'holds no masks: neither .json nor .png files'
        raise Stage1Error(f'{path} {lack}', 'give the folder into which the other tool wrote')
    base = path.parent if path.is_file() else path
    if unfinished(base):
        raise Stage1Error(f'{path} is an export that was not finished', 'run tools/inspect_cache.py export again')
    folder, names, digest = ImportFolder(path), NameTable(image_ids, root), hashlib.sha256()
    stacks: dict[str, list[FileContent]] = defaultdict(list)
    with tqdm(files, desc='reading imported masks', unit='file', disable=sys.stderr is None, mininterval=1) as bar:
        for file in bar:
            name = file.relative_to(base).as_posix()
            data = _read(file)
            content = FileContent(file, hashlib.sha256(data).hexdigest())
            digest.update(json.dumps([name, content.sha256]).encode())
            if file.suffix.lower() == '.json':
                _add_json(folder, names, name, content, data)
            else:
                _add_picture(folder, names, name, content, stacks)
    for name, members in stacks.items():
        owner = names.find(name)
        if owner is None:
            stray = [content.path.relative_to(base).as_posix() for content in members]
            folder.refused += [Refused(file, _NO_IMAGE) for file in stray]
            continue
        metadata = next((content for content in members if content.path.name == METADATA), None)
        pictures = [content for content in members if content is not metadata]
        folder.add(owner, name, PngStack(base / name, pictures, metadata))
    folder.sha256 = digest.hexdigest()
    return folder


def _list(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == '.json' else []
    if not path.is_dir():
        raise Stage1Error(f'{path} is neither a folder nor a file that exists', 'give the folder of masks')
    found = []
    for folder, folders, names in os.walk(path, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        wanted = [name for name in names if name.lower().endswith(_TYPES) or name == METADATA]
        found += [Path(folder, name) for name in wanted if not name.startswith('.')]
    return sorted(found)


def _refuse(problem: OSError) -> None:
    raise Stage1Error(f'{problem.filename}: cannot be read ({problem.strerror})') from problem


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise Stage1Error(f'{file}: cannot be read ({problem.strerror})') from problem


def _add_json(folder: ImportFolder, names: NameTable, name: str, content: FileContent, data: bytes) -> None:
    """Note the masks of a JSON file: those of one image, named as it, or COCO's of many."""
    if b'"images"' not in data:
        folder.add(names.find(_without_extension(name)), name, JsonMasks(content))
        return
    try:
        images, strangers = read_coco(parse(data, content.path), content.path)
    except ImageError as problem:
        folder.refused.append(Refused(name, str(problem)))
        return
    for image in images:
        folder.add(names.find(_without_extension(image.name)), f'{name}: {image.name}', image.masks)
    if strangers:
        folder.refused.append(Refused(name, f'{strangers} annotations belong to no image that it lists'))


def _without_extension(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix('')) if path.name else name  # '/' and '.' name no file


def _add_picture(
    folder: ImportFolder, names: NameTable, name: str, content: FileContent, stacks: dict[str, list[FileContent]]
) -> None:
    """Note a PNG as map of ids if it is named as an image, else, as ``metadata.csv``, as member of its folder."""
    path = PurePosixPath(name)
    owner = names.find(_without_extension(name)) if path.name != METADATA else None
    parent = names.find(str(path.parent))
    if owner and parent:
        reason = f'{content.path} may be instance ids of {owner.image_id} or a mask of {parent.image_id}'
        folder.twice[owner.image_id] = folder.twice[parent.image_id] = reason
    elif owner:
        folder.add(owner, name, PngIds(content))
    else:
        stacks[str(path.parent)].append(content)
