"""Recognises what ``predict.py`` has written: PNGs by the note in them, folders by their description or layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from stage1_sam_cache.data.images import open_header

DESCRIPTION = 'predictions.json'
LABELS, OVERLAYS, CONFIDENCE = 'labels', 'overlays', 'confidence'
MASKS, VIEWS = 'masks', 'views'
NOTE = 'GoodSAM'  # key of the text in a PNG that says how it was made

Note = dict[str, Any]


def read_note(path: Path) -> Note | None:
    """Return what a PNG says about how it was made; None if it is not of this project or can't be read."""
    try:
        with path.open('rb') as file:
            if file.read(4) != b'\x89PNG':
                return None
            file.seek(0)
            with open_header(file, ['PNG']) as image:  # the header alone
                note = json.loads(image.info[NOTE])
    except Exception:  # Pillow raises almost anything for damaged files
        return None
    return note if isinstance(note, dict) else None


class OwnOutput:
    """Recognises files that ``predict.py`` has written, so that they are not taken for images to label.

    Args:
        out: The folder of this run; what lies in its folders, such as ``labels/``, counts in any case.
    """

    def __init__(self, out: Path) -> None:
        self._known: dict[Path, bool] = {out.resolve(): True}

    def folder_of(self, path: Path) -> Path | None:
        """Return the folder of predictions that a file belongs to; None if it belongs to none."""
        for root, kind, rest in _possible_roots(path.resolve()):
            if root not in self._known and (root / DESCRIPTION).is_file():
                self._known[root] = True
            if self._known.get(root) or _is_pair(root, kind, rest):
                return root
        return None


def _possible_roots(path: Path) -> Iterator[tuple[Path, str, Path]]:
    for folder in path.parents:
        if folder.name in (LABELS, OVERLAYS, CONFIDENCE, MASKS, VIEWS):
            yield folder.parent, folder.name, path.relative_to(folder)


def _is_pair(root: Path, kind: str, rest: Path) -> bool:
    """Whether a file and its counterpart look like a label file and its overlay, as versions without notes wrote them.

    Labels are grey, overlays are coloured and equally large, and both are PNGs of one name.
    """
    if kind not in (LABELS, OVERLAYS) or rest.suffix != '.png':  # other files have notes
        return False
    if not (root / (OVERLAYS if kind == LABELS else LABELS) / rest).is_file():
        return False
    try:
        with Image.open(root / LABELS / rest) as label, Image.open(root / OVERLAYS / rest) as overlay:
            return label.mode == 'L' and overlay.mode == 'RGB' and label.size == overlay.size
    except Exception:  # Pillow raises almost anything for damaged files
        return False
