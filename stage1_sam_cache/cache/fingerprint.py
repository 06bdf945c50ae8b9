"""What identifies a cache: every setting that can change a mask, in one hash.

Two runs with equal settings share a cache; two that differ anywhere get folders of their own, side by side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

FORMAT_VERSION = 1  # of the cache's files; raise it when an older reader would misread them
MASKS_VERSION = 1  # of the code that makes masks; raise it when the same settings give other masks


@dataclass(frozen=True)
class Fingerprint:
    """The settings of a cache as nested JSON values, and their hash.

    Args:
        settings: ``format``, ``version``, ``grid``, ``generator``, ``order`` and ``boundary``; JSON values,
            no NaN.
    """

    settings: Mapping[str, Any]

    @cached_property
    def canonical(self) -> str:
        """Canonical JSON: sorted keys, no spaces, ASCII."""
        return json.dumps(self.settings, sort_keys=True, separators=(',', ':'), allow_nan=False)

    @cached_property
    def key(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON; the name of the cache's folder."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)

    def differences(self, expected: Fingerprint | Mapping[str, Any]) -> list[str]:
        """One text for each expected setting that is another here, such as ``grid.stride is [400, 512], not ...``.

        Args:
            expected: A whole fingerprint, or only the settings that matter to the caller, nested the same way. In the
                latter, a list where this fingerprint has a single value names alternatives.
        """
        whole = isinstance(expected, Fingerprint)
        wanted = dict(_flatten(json.loads(expected.canonical) if isinstance(expected, Fingerprint) else expected))
        found = dict(_flatten(json.loads(self.canonical)))
        names = [*wanted, *(name for name in found if whole and name not in wanted)]
        return [
            f'{name} is {found[name]!r}, not {wanted.get(name, "absent")!r}'
            if name in found
            else f'{name} is no setting of this cache ({wanted[name]!r} expected)'
            for name in names
            if name not in found or name not in wanted or not _agree(found[name], wanted[name], alternatives=not whole)
        ]


def _flatten(settings: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f'{prefix}{name}.')
        else:
            yield prefix + name, value


def _agree(value: Any, expected: Any, alternatives: bool) -> bool:
    value, expected = _plain(value), _plain(expected)
    one_of = alternatives and isinstance(expected, list) and not isinstance(value, list)
    return value in expected if one_of else value == expected


def _plain(value: Any) -> Any:
    """A tuple that the caller gave equals the list that JSON gives back."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
