"""What a frozen teacher assistant teaches about one panorama, kept as a file: made once, read in every iteration."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stage1_sam_cache.geometry.windows import WindowGrid, WindowSettings
from stage2_distill.data.cached_masks import mirrored_order, rolled_order
from stage2_distill.errors import TrainingError

SUFFIX = '.npz'
FORMAT = 1  # of the file and of the code that makes lessons; increase it when either changes: others are never read
_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, eq=False)
class StoredLesson:
    """The lesson of one panorama of ``H x W`` pixels and ``n`` windows of ``h x w``.

    Attributes:
        grid: The windows.
        labels: Ensemble labels of the windows, uint8 ``(n, h, w)``; 255 is ignored.
        reliable: Their weight map, bool ``(n, h, w)``.
        assistant_labels: The assistant's own labels of the windows, uint8 ``(n, h, w)``.
        refined: Refined boundary map of each overlap, bool ``(h', o)``, in the grid's order.
        entropy: Mean entropy of the assistant's pixels.
    """

    grid: WindowGrid
    labels: Tensor
    reliable: Tensor
    assistant_labels: Tensor
    refined: tuple[Tensor, ...]
    entropy: float

    def flipped(self) -> StoredLesson:
        """The lesson of the mirrored panorama, as ``CachedMasks.flipped``."""
        windows, overlaps = mirrored_order(self.grid)
        return StoredLesson(
            self.grid,
            self.labels[windows].flip(-1),
            self.reliable[windows].flip(-1),
            self.assistant_labels[windows].flip(-1),
            tuple(self.refined[i].flip(-1) for i in overlaps),
            self.entropy,
        )

    def rolled(self, steps: int) -> StoredLesson:
        """The lesson of the panorama rolled to the left by a number of strides, as ``CachedMasks.rolled``."""
        windows, overlaps = rolled_order(self.grid, steps)
        return StoredLesson(
            self.grid,
            self.labels[windows],
            self.reliable[windows],
            self.assistant_labels[windows],
            tuple(self.refined[i] for i in overlaps),
            self.entropy,
        )

    def to(self, *args: Any, **kwargs: Any) -> StoredLesson:
        """A copy on another device, as ``Tensor.to``."""
        return self._each(lambda part: part.to(*args, **kwargs))

    def pin_memory(self) -> StoredLesson:
        """A copy in pinned memory, which non-blocking copies to a GPU need."""
        return self._each(lambda part: part.pin_memory())

    def _each(self, change: Any) -> StoredLesson:
        labels, reliable, assistant = map(change, (self.labels, self.reliable, self.assistant_labels))
        return StoredLesson(self.grid, labels, reliable, assistant, tuple(map(change, self.refined)), self.entropy)


def file_name(image_id: str, image_sha256: str) -> str:
    """Name of a lesson's file in its folder, which data sets with the same ids can share."""
    return f'{image_id}.{image_sha256[:16]}{SUFFIX}'


def encode(lesson: StoredLesson, image_sha256: str) -> bytes:
    """The bytes of a lesson's file, a compressed ``.npz`` whose parts carry checksums.

    Args:
        lesson: On the CPU.
        image_sha256: Digest (hex) of the image's pixels, compared when the lesson is used.
    """
    text = json.dumps(
        {
            'image_sha256': image_sha256,
            'grid': lesson.grid.settings.to_json(),
            'size': [lesson.grid.height, lesson.grid.width],
            'entropy': lesson.entropy,
        }
    )
    parts: dict[str, Any] = {f'refined_{i}': part.numpy() for i, part in enumerate(lesson.refined)}
    file = io.BytesIO()
    np.savez_compressed(
        file,
        labels=lesson.labels.numpy(),
        reliable=lesson.reliable.numpy(),
        assistant_labels=lesson.assistant_labels.numpy(),
        about=np.frombuffer(text.encode(), np.uint8),
        **parts,
    )
    return file.getvalue()


def is_of(path: Path, image_sha256: str) -> bool:
    """Whether a lesson's file is there and says that it is of this image; false for one that can't be opened."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return bool(json.loads(file['about'].tobytes())['image_sha256'] == image_sha256)
    except _DAMAGE:
        return False


def read(path: Path, image_sha256: str) -> StoredLesson:
    """Read a lesson's file.

    Raises:
        TrainingError: If it is missing or damaged, or belongs to another image.
    """
    remedy = 'delete it and start the training again: it is made anew'
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file['about'].tobytes())
            grid = WindowSettings.from_json(about['grid']).over(*about['size'])
            refined = tuple(torch.from_numpy(file[f'refined_{i}']) for i in range(len(grid.overlaps)))
            parts = {name: torch.from_numpy(file[name]) for name in ('labels', 'reliable', 'assistant_labels')}
            lesson = StoredLesson(grid=grid, **parts, refined=refined, entropy=float(about['entropy']))
    except FileNotFoundError as problem:
        raise TrainingError(
            f'{path} is missing: these labels were removed, or the image was replaced since they were made',
            'start the training again: they are made anew, and --resume continues it',
        ) from problem
    except _DAMAGE as problem:
        raise TrainingError(f'{path}: labels of a panorama are damaged or missing ({problem})', remedy) from problem
    if about['image_sha256'] != image_sha256:
        raise TrainingError(f'{path}: the image has changed since its labels were made', remedy)
    return lesson
