"""How many images of a split a score covers, and what became of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stage1_sam_cache.data.refusals import Refused


@dataclass(frozen=True)
class Coverage:
    """What a score is of.

    Args:
        images: How many images the split, the folder or the list has.
        scored: How many of them have a pixel that was scored.
        left_out: Images that could not be scored, with the reason.
        blank: How many images have labels that ignore every pixel.
        unused: Names of label files of which there is no image.
    """

    images: int
    scored: int
    left_out: Sequence[Refused] = ()
    blank: int = 0
    unused: Sequence[str] = ()

    @classmethod
    def of(cls, dataset: Any, scored: int) -> Coverage:
        """Return the coverage of a ``CatalogueDataset``, or of any other data set, that was scored as it is.

        Args:
            dataset: With all its images scored once.
            scored: How many of them have a pixel that was scored.
        """
        listed = getattr(dataset, 'listed', len(dataset))
        left_out, unused = (tuple(getattr(dataset, name, ())) for name in ('left_out', 'unused_labels'))
        return cls(listed, scored, left_out, len(dataset) - scored, unused)

    @property
    def line(self) -> str:
        """One line: the images that were scored, of how many, and why the others were not."""
        reasons = []
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left_out:
            by_reason.setdefault(reason, []).append(name)
        for reason, names in by_reason.items():
            reasons.append(f'{len(names)} ({reason}: {names[0]}{", ..." if names[1:] else ""})')
        if self.blank:
            reasons.append(f'{self.blank} (the label ignores every pixel)')
        limited = self.images - self.scored - self.blank - len(self.left_out)
        if limited:
            reasons.append(f'{limited} (over the limit)')
        line = f'{self.scored} of {self.images} images scored' + (f'; skipped: {", ".join(reasons)}' if reasons else '')
        if self.unused:
            more = f', and {len(self.unused) - 3} more' if self.unused[3:] else ''
            line += f'; labels without an image: {len(self.unused)} ({", ".join(self.unused[:3])}{more})'
        return line

    def record(self) -> dict[str, Any]:
        """Return the same for a JSON file."""
        return {
            'images': self.images,
            'scored': self.scored,
            'left_out': [{'name': name, 'reason': reason} for name, reason in self.left_out],
            'labels_without_image': list(self.unused),
        }
