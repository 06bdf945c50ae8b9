"""A data set of images, label PNGs and weight PNGs that is written image by image, by one process or several.

Each PNG holds a note of what made it, so that a later run finds what is finished. Images are written last: where one
is, its weight map and labels are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stage1_sam_cache.errors import ImageError, WriteError
from stage1_sam_cache.system.atomic_file import commit, commit_link, make_folder
from stage2_distill.deployment.outputs import encode_png, matches
from stage2_distill.deployment.own_output import Note, read_note
from stage2_distill.errors import ConfigError
from stage2_distill.exchange.layouts import IGNORED, LAYOUTS, WEIGHT_SCALE, Entry
from stage2_distill.exchange.shared_folder import alone

DESCRIPTION = 'goodsam_labels.json'
_MADE_BY = 'tools/export_labels.py'
_ELSEWHERE = 'give another --out'


class TrainingSet:
    """A data set in a folder.

    Args:
        root: The folder; it is made.
        layout: Key of ``LAYOUTS``.
        copied: Copy images, instead of links to them.
        about: What made the labels; ``labels`` is a digest of all that they depend on beside the image, ``classes`` and
            ``palette`` say what their ids are.

    Raises:
        ConfigError: If the folder holds something else, or a data set of other labels.
        WriteError: If it can't be made.
    """

    def __init__(self, root: Path, layout: str, copied: bool, about: dict[str, Any]) -> None:
        self.root, self.layout, self.copied = root, LAYOUTS[layout], copied
        self.about = {
            'made_by': _MADE_BY,
            'layout': layout,
            'ignored_label': IGNORED,
            'weight_1_is': WEIGHT_SCALE,
            **about,
        }
        self._claim()

    def _claim(self) -> None:
        """Write the description into a new folder; refuse a folder of something else."""
        make_folder(self.root, _ELSEWHERE)
        refuse_others(self.root, {'layout': self.about['layout']})
        commit(self.root / DESCRIPTION, json.dumps(self.about, indent=1).encode())  # unless it is there
        refuse_others(self.root, self.about)

    def is_finished(self, entry: Entry, source: Path, image_sha256: str) -> bool:
        """Return whether image, weight map and labels of an image are there, and are those that would be made."""
        note = self._note(entry, image_sha256)
        label, weight = self._png(self.layout.labels, entry), self._png(self.layout.weights, entry)
        return matches(read_note(label), note) and matches(read_note(weight), note) and self._has_image(entry, source)

    def write(
        self,
        entry: Entry,
        source: Path,
        image_sha256: str,
        labels: NDArray[np.uint8],
        weight: NDArray[np.floating],
    ) -> None:
        """Write an image's weight map, its labels and then the image, each atomic; an image of another suffix goes.

        Args:
            entry: The image.
            source: Its file.
            image_sha256: Digest (hex) of that file.
            labels: Class ids, uint8 ``(H, W)``; 255 is ignored.
            weight: 0 to 1, ``(H, W)``.

        Raises:
            ImageError: If the image can't be copied.
            WriteError: If something can't be written.
        """
        note = self._note(entry, image_sha256)
        self._remove_other_image(entry)
        maps = {self.layout.weights: np.rint(weight * WEIGHT_SCALE).astype(np.uint8), self.layout.labels: labels}
        for folder, pixels in maps.items():
            path = self._png(folder, entry)
            make_folder(path.parent, _ELSEWHERE)
            commit(path, encode_png(Image.fromarray(pixels), note), replace=True)
        self._put_image(entry, source)

    def put_together(self, wanted: Collection[Entry]) -> tuple[int, int]:
        """Write the files that list the data set, as far as it is finished.

        Processes that share the folder do so one after the other, and whichever is last finds all of them.

        Args:
            wanted: All images of the data set.

        Returns:
            How many of them are listed, and how many others have labels in the folder.
        """
        with alone(self.root):
            notes = [read_note(path) for path in sorted((self.root / self.layout.labels).rglob('*.png'))]
            ours = [note for note in notes if note is not None and matches(note, {'labels': self.about['labels']})]
            found = [Entry(note['id'], note['name']) for note in ours]
            entries = [entry for entry in found if entry in wanted and self._image(entry).exists()]
            for name, text in self.layout.index(entries, self.about).items():
                make_folder((self.root / name).parent, _ELSEWHERE)
                commit(self.root / name, text.encode(), replace=True)
            description = {**self.about, 'images': len(entries)}
            commit(self.root / DESCRIPTION, json.dumps(description, indent=1).encode(), replace=True)
        return len(entries), sum(entry not in wanted for entry in found)

    def _note(self, entry: Entry, image_sha256: str) -> Note:
        return {'labels': self.about['labels'], 'image': image_sha256, 'id': entry.id, 'name': entry.name}

    def _png(self, folder: str, entry: Entry) -> Path:
        return self.root / folder / f'{entry.id}.png'

    def _image(self, entry: Entry) -> Path:
        return self.root / self.layout.images / entry.name

    def _remove_other_image(self, entry: Entry) -> None:
        """Remove the image that the labels had when its file had another suffix."""
        name = (read_note(self._png(self.layout.labels, entry)) or {}).get('name', entry.name)
        if name != entry.name and name == f'{entry.id}{PurePosixPath(name).suffix}':
            self._image(Entry(entry.id, name)).unlink(missing_ok=True)

    def _has_image(self, entry: Entry, source: Path) -> bool:
        path = self._image(entry)
        if path.is_symlink():
            return not self.copied and path.readlink() == _absolute(source)
        return self.copied and path.is_file() and path.stat().st_size == source.stat().st_size

    def _put_image(self, entry: Entry, source: Path) -> None:
        path = self._image(entry)
        make_folder(path.parent, _ELSEWHERE)
        if self.copied:
            try:
                content = source.read_bytes()
            except OSError as problem:
                raise ImageError(f'{source}: cannot be read ({problem.strerror})') from problem
            commit(path, content, replace=True)
            return
        try:
            commit_link(path, _absolute(source))
        except OSError as problem:
            raise WriteError(f'cannot make the link {path}: {problem.strerror}', 'add --copy') from problem


def refuse_others(root: Path, about: dict[str, Any]) -> None:
    """Refuse a folder of something else, or a data set of another layout or of other labels.

    Args:
        root: The folder; it may be missing.
        about: What is going to be written, as far as it is known: ``layout`` and ``labels``.

    Raises:
        ConfigError: If it holds other things.
    """
    path = root / DESCRIPTION
    try:
        strangers = [entry.name for entry in root.iterdir() if not entry.name.startswith('.')]
    except FileNotFoundError:
        return
    except OSError as problem:
        raise ConfigError(
            f'{root} is no folder that can be read ({problem.strerror})', 'give another --out'
        ) from problem
    if not strangers:
        return
    found = _read(path)
    if found.get('made_by') != _MADE_BY:
        raise ConfigError(f'{root} holds something else, such as {min(strangers)}', 'give another --out')
    for key, what in (('layout', 'another layout'), ('labels', 'labels of another checkpoint, config or mask cache')):
        if key in about and found.get(key) != about[key]:
            raise ConfigError(f'{root} holds {what}', 'give another --out, or remove that folder')


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links


def _read(path: Path) -> dict[str, Any]:
    """Return a description; an empty one if it can't be read as such."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
