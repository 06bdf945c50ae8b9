"""Names of masks in files: those of a whole panorama have its id, those of a part its id and the part's box.

``street_7@0_256_400x512`` names the masks of 400 rows and 512 columns of ``street_7``, from row 0 and column 256 on. A
part may run past the right border, where the panorama goes on at its left.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from stage1_sam_cache.geometry.boxes import Box

_PART = re.compile(r'(.+)@([0-9]{1,9})_([0-9]{1,9})_([0-9]{1,9})x([0-9]{1,9})', re.DOTALL)


class Owner(NamedTuple):
    """Whose masks a file holds: a panorama's, or those of a box of it."""

    image_id: str
    box: Box | None


def part_name(image_id: str, box: Box) -> str:
    """Return the name of the masks of a part of a panorama; the box is without padding."""
    return f'{image_id}@{box.top}_{box.left}_{box.height}x{box.width}'


class NameTable:
    """Finds panoramas by the names that other tools give their masks.

    Args:
        image_ids: Of all panoramas.
        root: Their folder, which names may begin with.
    """

    def __init__(self, image_ids: Collection[str], root: Path) -> None:
        self._ids = frozenset(image_ids)
        parts = root.absolute().parts
        self._roots = [
            '',
            *('/'.join(parts[-n:]) + '/' for n in range(1, len(parts))),
            root.absolute().as_posix() + '/',
        ]

    def find(self, name: str) -> Owner | None:
        """Return whose masks have a POSIX path without extension as their name; None if no panorama has it."""
        name = unicodedata.normalize('NFC', name).removeprefix('./')
        for start in self._roots:
            if not name.startswith(start):
                continue
            image_id = name.removeprefix(start)
            if image_id in self._ids:
                return Owner(image_id, None)
            part = _PART.fullmatch(image_id)
            if part and part[1] in self._ids:
                return Owner(part[1], Box(*map(int, part.groups()[1:])))
        return None
