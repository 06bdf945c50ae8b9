"""What predictions are on disk: labels and overlays that carry a note of what made them, and a description beside them.

Each PNG holds its note as text, so that file and note are complete or absent together, whichever process wrote it and
whenever it was stopped. A later run compares notes: what the same student made of the same image in the same way is
finished.
"""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from stage1_sam_cache.errors import ImageError, WriteError
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned
from stage2_distill.deployment.own_output import DESCRIPTION, LABELS, NOTE, OVERLAYS, Note, read_note

# What is wrong with one name, not with the disk.
_BAD_NAME = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)


class Predictions:
    """The folder that predictions are written to.

    Args:
        root: The folder; ``labels/`` and ``overlays/`` in it get the PNGs.
        palette: RGB of each class.
        opacity: Of the labels in overlays, 0 to 1.
        overwrite: Make everything again, and replace files that something else made.
    """

    def __init__(self, root: Path, palette: list[list[int]], opacity: float, overwrite: bool = False) -> None:
        self.root, self.opacity, self.overwrite = root, opacity, overwrite
        self._colours = np.array(palette, np.uint8)
        self._cleaned: set[Path] = set()

    def describe(self, description: dict[str, Any]) -> None:
        """Write what the ids mean, and what made the labels last.

        Raises:
            WriteError: If the folder can't be made or written.
        """
        self._make_folder(self.root)
        text = json.dumps({'made_by': 'tools/predict.py', **description}, indent=1)
        commit(self.root / DESCRIPTION, text.encode(), replace=True)

    def files(self, image_id: str) -> tuple[Path, Path]:
        """Return the label file and the overlay of an image."""
        return self.root / LABELS / f'{image_id}.png', self.root / OVERLAYS / f'{image_id}.png'

    def labels(self, image_id: str) -> NDArray[np.uint8]:
        """Return the labels of an image that are there, uint8 ``(H, W)``."""
        with Image.open(self.files(image_id)[0]) as image:
            return np.asarray(image)

    def is_finished(self, image_id: str, note: Note) -> bool:
        """Return whether both files are there and were made as ``note`` says.

        Raises:
            ImageError: If a file of that name was not made by this project, or does not say how.
        """
        if self.overwrite:
            return False
        label, overlay = self.files(image_id)
        made = [self.is_made_as(label, note), self.is_made_as(overlay, {**note, 'opacity': self.opacity})]
        return all(made)

    def is_made_as(self, path: Path, note: Note) -> bool:
        """Return whether a PNG is there and was made as ``note`` says.

        Raises:
            ImageError: If a file of that name was not made by this project, or does not say how.
        """
        if self.overwrite:
            return False
        found = read_note(path)
        if found is None and path.exists():
            raise ImageError(
                f'{path} exists and does not say what made it', 'give another --out, or replace it by --overwrite'
            )
        return self._matches(found, note)

    @staticmethod
    def _matches(found: Note | None, note: Note) -> bool:
        wanted = json.loads(json.dumps(note))  # tuples become lists, as in the file
        return found is not None and all(found.get(key) == value for key, value in wanted.items())

    def write(self, image_id: str, pixels: NDArray[np.uint8], labels: NDArray[np.uint8], note: Note) -> None:
        """Write the overlay and then the labels, each atomic: where labels are, both are.

        Args:
            image_id: Of the image; folders in it are made.
            pixels: RGB, uint8 ``(H, W, 3)``.
            labels: Class ids, uint8 ``(H, W)``.
            note: How they were made.

        Raises:
            ImageError: If the file system refuses this name.
            WriteError: If nothing can be written, as on a full disk.
        """
        label_file, overlay_file = self.files(image_id)
        coloured = Image.fromarray(self._colours[labels])
        overlay = Image.blend(Image.fromarray(pixels), coloured, self.opacity)
        for path, image, extra in (
            (overlay_file, overlay, {'opacity': self.opacity}),
            (label_file, Image.fromarray(labels), {}),
        ):
            self.write_png(image_id, path, image, {**note, **extra})

    def write_png(self, image_id: str, path: Path, image: Image.Image, note: Note) -> None:
        """Write a PNG with its note, atomic.

        Args:
            image_id: Of the image that it belongs to, for errors.
            path: The file; folders are made.
            image: What it shows.
            note: How it was made.

        Raises:
            ImageError: If the file system refuses this name.
            WriteError: If nothing can be written, as on a full disk.
        """
        try:
            self._make_folder(path.parent)
            commit(path, _png(image, note), replace=True)
        except WriteError as problem:
            if getattr(problem.__cause__, 'errno', None) in _BAD_NAME:
                raise ImageError(f'{image_id}: {problem.problem}', 'rename the image') from problem
            raise

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise WriteError(f'cannot make the folder {folder}: {problem.strerror}', 'give another --out') from problem
        if folder not in self._cleaned:
            self._cleaned.add(folder)
            remove_abandoned(folder)


def _png(image: Image.Image, note: Note) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text(NOTE, json.dumps(note))
    buffer = io.BytesIO()
    image.save(buffer, 'PNG', pnginfo=info)
    return buffer.getvalue()
