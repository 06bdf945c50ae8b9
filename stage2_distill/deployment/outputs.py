"""What predictions are on disk: PNGs that carry a note of what made them, and a description beside them.

There are labels, and where they are asked for overlays and confidence maps.

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

from stage1_sam_cache.data.images import open_header
from stage1_sam_cache.errors import ImageError, WriteError
from stage1_sam_cache.system.atomic_file import commit, make_folder, remove_abandoned
from stage2_distill.deployment.enlarge import CONFIDENCE_SCALE
from stage2_distill.deployment.own_output import CONFIDENCE, DESCRIPTION, LABELS, NOTE, OVERLAYS, Note, read_note

# What is wrong with one name, not with the disk.
_BAD_NAME = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)


class Predictions:
    """The folder that predictions are written to.

    Args:
        root: The folder; ``labels/``, ``overlays/`` and ``confidence/`` in it get the PNGs.
        palette: RGB of each class.
        opacity: Of the labels in overlays, 0 to 1.
        overwrite: Make everything again, and replace files that something else made.
        overlays: Whether overlays are wanted.
        confidence: Whether confidence maps are wanted.
    """

    def __init__(
        self,
        root: Path,
        palette: list[list[int]],
        opacity: float,
        overwrite: bool = False,
        overlays: bool = True,
        confidence: bool = False,
    ) -> None:
        self.root, self.overwrite = root, overwrite
        # What notes say more, by the folder; labels are written last: where they are, all is there.
        self._more: dict[str, Note] = {OVERLAYS: {'opacity': opacity}} if overlays else {}
        if confidence:
            self._more[CONFIDENCE] = {'probability_1_is': CONFIDENCE_SCALE}
        self._more[LABELS] = {}
        self.opacity, self.confidence = opacity, confidence
        self._colours = np.zeros((256, 3), np.uint8)  # black where a network gives no label
        self._colours[: len(palette)] = palette
        self._cleaned: set[Path] = set()

    def describe(self, description: dict[str, Any]) -> None:
        """Write what the ids mean, and what made the labels last.

        Raises:
            WriteError: If the folder can't be made or written.
        """
        self._make_folder(self.root)
        text = json.dumps({'made_by': 'tools/predict.py', **description}, indent=1)
        commit(self.root / DESCRIPTION, text.encode(), replace=True)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of PNGs in ``root``, in the order in which the files of an image are written."""
        return tuple(self._more)

    def files(self, image_id: str) -> dict[str, Path]:
        """Return the files of an image by their folders: overlay, confidence map, labels."""
        return {folder: self.root / folder / f'{image_id}.png' for folder in self._more}

    def labels(self, image_id: str) -> NDArray[np.uint8]:
        """Return the labels of an image that are there, uint8 ``(H, W)``."""
        with self.files(image_id)[LABELS].open('rb') as file, open_header(file, ['PNG']) as image:
            return np.asarray(image)

    def note(self, image_id: str) -> Note:
        """Return what the labels of an image say of how they were made; empty if nothing."""
        return read_note(self.files(image_id)[LABELS]) or {}

    def is_finished(self, image_id: str, note: Note) -> bool:
        """Return whether all files are there and were made as ``note`` says.

        Raises:
            ImageError: If a file of that name was not made by this project, or does not say how.
        """
        if self.overwrite:
            return False
        files = self.files(image_id)
        # All are looked at: each may be one that must not be replaced.
        made = [self.is_made_as(path, {**note, **self._more[folder]}) for folder, path in files.items()]
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
        return matches(found, note)

    def write(self, image_id: str, pixels: NDArray[np.uint8], labels: NDArray[np.uint8], note: Note) -> None:
        """Write overlay and confidence map and then the labels, each atomic: where labels are, all are.

        An overlay or confidence map that is not asked for and belongs to other labels is removed.

        Args:
            image_id: Of the image; folders in it are made.
            pixels: RGB, uint8 ``(H, W, 3)``.
            labels: Class ids, uint8 ``(H, W)``; with confidence maps ``(2, H, W)``, as ``enlarged_with_confidence``.
            note: How they were made.

        Raises:
            ImageError: If the file system refuses this name.
            WriteError: If nothing can be written, as on a full disk.
        """
        for folder in {OVERLAYS, CONFIDENCE} - set(self._more):
            stale = self.root / folder / f'{image_id}.png'
            found = read_note(stale)
            if found is not None and not matches(found, note):
                stale.unlink(missing_ok=True)
        for folder, path in self.files(image_id).items():
            ids = labels[0] if self.confidence else labels
            if folder == OVERLAYS:
                coloured = Image.fromarray(self._colours[ids])
                image = Image.blend(Image.fromarray(pixels), coloured, self.opacity)
            else:
                image = Image.fromarray(labels[1] if folder == CONFIDENCE else ids)
            self.write_png(image_id, path, image, {**note, **self._more[folder]})

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
            commit(path, encode_png(image, note), replace=True)
        except WriteError as problem:
            if getattr(problem.__cause__, 'errno', None) in _BAD_NAME:
                raise ImageError(f'{image_id}: {problem.problem}', 'rename the image') from problem
            raise

    def _make_folder(self, folder: Path) -> None:
        make_folder(folder, 'give another --out')
        if folder not in self._cleaned:
            self._cleaned.add(folder)
            remove_abandoned(folder)


def matches(found: Note | None, note: Note) -> bool:
    """Whether a note that was found holds all of another one."""
    wanted = json.loads(json.dumps(note))  # tuples become lists, as in the file
    return found is not None and all(found.get(key) == value for key, value in wanted.items())


def encode_png(image: Image.Image, note: Note) -> bytes:
    """Return a PNG that holds a note of how it was made."""
    info = PngImagePlugin.PngInfo()
    info.add_text(NOTE, json.dumps(note))
    buffer = io.BytesIO()
    image.save(buffer, 'PNG', pnginfo=info)
    return buffer.getvalue()
