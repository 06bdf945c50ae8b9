"""Files of other tools beside predictions: a part for each image as it is labelled, put together at the end.

The label files are the truth: a part says of which label file it was made, and is made again where that file is another
one. So the file of all images has what lies in ``labels/``, whichever processes labelled it, in one run or several.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stage1_sam_cache.data.images import open_header
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.system.atomic_file import commit, commit_pieces, make_folder
from stage2_distill.deployment.outputs import matches
from stage2_distill.deployment.own_output import LABELS, Note, read_note
from stage2_distill.exchange.formats import FORMATS, Part
from stage2_distill.exchange.label_map import LabelMap, LabelSet
from stage2_distill.exchange.shared_folder import alone

PARTS = 'parts'
_VERSION = 1  # of parts; increase it when what a format says of an image changes


class Assembled(NamedTuple):
    """What was put together: images, label files that say something else, and what is missing where, and why."""

    images: int
    foreign: int
    failed: dict[str, str]


class PredictionFiles:
    """The files of other tools in a folder of predictions.

    Args:
        root: The folder of predictions.
        formats: Keys of ``FORMATS``.
        about: Classes, colours and student.

    Raises:
        ConfigError: If a format needs a package that is missing.
    """

    def __init__(self, root: Path, formats: Sequence[str], about: LabelSet) -> None:
        self.root, self.formats, self.about = root, tuple(formats), about
        for name in self.formats:
            FORMATS[name].require()

    @property
    def files(self) -> list[Path]:
        """What ``put_together`` writes."""
        kinds = [FORMATS[name] for name in self.formats]
        return [self.root / file for kind in kinds for file in (kind.file, *kind.beside)]

    def add(self, image_id: str) -> None:
        """Make the parts of an image whose label file has just been written; ``put_together`` says which can't be.

        Raises:
            WriteError: If one can't be written.
        """
        for name in self.formats:
            with suppress(ImageError):
                self._part(name, image_id)

    def put_together(
        self, note: Note, each: Callable[[Sequence[str], str], Iterator[str]] = lambda ids, title: iter(ids)
    ) -> Assembled:
        """Write the files, of all images whose labels were made as a note says.

        Processes that share the folder do so one after the other, and whichever is last finds all labels.

        Args:
            note: What the notes of label files have to say.
            each: Goes through image ids with a title; shows a progress bar, for instance.

        Returns:
            What they hold, and what is missing.

        Raises:
            WriteError: If one can't be written.
        """
        with alone(self.root / PARTS):
            found = sorted((self.root / LABELS).rglob('*.png'))
            ids = [file.relative_to(self.root / LABELS).as_posix().removesuffix('.png') for file in found]
            ours = [image_id for image_id in each(ids, 'label files') if matches(self._note(image_id), note)]
            failed = dict[str, str]()
            for name in self.formats:
                kind = FORMATS[name]
                able = [
                    image_id for image_id in each(ours, f'for {kind.file}') if self._is_made(name, image_id, failed)
                ]
                parts = (self._part(name, image_id) for image_id in each(able, kind.file))
                commit_pieces(self.root / kind.file, kind.document(parts, len(able), self.about))
                for file, content in kind.beside.items():
                    commit(self.root / file, content(self.about), replace=True)
        return Assembled(len(ours), len(ids) - len(ours), failed)

    def _is_made(self, name: str, image_id: str, failed: dict[str, str]) -> bool:
        """Make the part of an image; where that is not possible, note why."""
        try:
            self._part(name, image_id)
        except ImageError as problem:
            failed[f'{image_id} in {FORMATS[name].file}'] = str(problem)
            return False
        return True

    def _label_file(self, image_id: str) -> Path:
        return self.root / LABELS / f'{image_id}.png'

    def _note(self, image_id: str) -> Note | None:
        return read_note(self._label_file(image_id))

    def _part(self, name: str, image_id: str) -> Part:
        """Read the part of an image, or make it where it is missing or is of another label file.

        Raises:
            ImageError: If the label file can't be read, or its image's name can't be in the format.
            WriteError: If the part can't be written.
        """
        try:
            content = self._label_file(image_id).read_bytes()
        except OSError as problem:
            raise ImageError(f'{self._label_file(image_id)}: cannot be read ({problem.strerror})') from problem
        made_of = {'version': _VERSION, 'label_file': hashlib.sha256(content).hexdigest()}
        path = self.root / PARTS / name / f'{image_id}.json'
        stored = _read(path)
        if stored is not None and all(stored.get(key) == value for key, value in made_of.items()):
            return stored['part']
        with open_header(io.BytesIO(content), ['PNG']) as image:
            labels = np.asarray(image)
        # Versions that kept no name labelled an image of any extension.
        shown = (self._note(image_id) or {}).get('name', f'{image_id}.png')
        part = FORMATS[name].describe(LabelMap(shown, labels), self.about)
        make_folder(path.parent, 'give another --out')
        commit(path, json.dumps({**made_of, 'part': part}).encode(), replace=True)
        return part


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a part's file holds; None if it is missing or damaged."""
    try:
        stored = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return stored if isinstance(stored, dict) and isinstance(stored.get('part'), dict) else None
