"""Files and list entries that a listing refuses, and the errors that say so, with remedies in the user's terms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stage1_sam_cache.errors import DatasetError


class Refused(NamedTuple):
    """A file, link or list entry that was refused, and why."""

    name: str
    reason: str


class RefusedLink(Refused):
    """A link that was refused because links are not followed."""

    __slots__ = ()


class RefusedError(DatasetError):
    """Images or list entries were refused.

    Args:
        root: The image folder.
        refused: They.
        remedy: As for every user error; it depends on how the user chose the images, see ``with_ways``.
    """

    can_skip = False

    def __init__(self, root: Path, refused: Sequence[Refused], remedy: str = '') -> None:
        super().__init__(self.describe(root, refused), remedy)
        self.root, self.refused = root, refused

    @staticmethod
    def describe(root: Path, refused: Sequence[Refused]) -> str:
        """Return the first half of the message."""
        return f'{root}: {name_refused(refused)}'

    def with_ways(self, follow: str, skip: str) -> RefusedError:
        """Return this error with a remedy.

        Args:
            follow: How to follow links, such as ``--follow-links``; named if links were refused.
            skip: How to go on without all of it, such as ``--skip-refused``; named if images are left.
        """
        ways = ['fix that']
        if any(isinstance(entry, RefusedLink) for entry in self.refused):
            ways.append(f'follow links with {follow}')
        if self.can_skip:
            ways.append(f'go on without them with {skip}')
        return type(self)(self.root, self.refused, ', or '.join(ways))


class AllRefusedError(RefusedError):
    """No image is left."""

    @staticmethod
    def describe(root: Path, refused: Sequence[Refused]) -> str:
        """Return the first half of the message."""
        first = f'{refused[0].name}: {refused[0].reason}'
        if len(refused) == 1:
            return first if str(root) == refused[0].name else f'{root}: {first}'
        return f'{root}: all {len(refused)} images or list entries were refused; the first is {first}'


class SomeRefusedError(RefusedError):
    """Images are left, but nobody said to go on with them alone."""

    can_skip = True


def name_refused(refused: Sequence[Refused], count: int = 3) -> str:
    """Say in one line how many images or list entries were refused, and name the first with their reasons.

    Args:
        refused: At least one.
        count: How many are named.
    """
    named = ', '.join(f'{entry.name} ({entry.reason})' for entry in refused[:count])
    more = f', and {len(refused) - count} more' if len(refused) > count else ''
    kind = 'image or list entry was' if len(refused) == 1 else 'images or list entries were'
    return f'{len(refused)} {kind} refused: {named}{more}'
