"""What identifies a cache: every setting that can change a mask, in one hash.

Runs with equal settings share a cache; runs with different settings get separate folders, side by side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

FORMAT_VERSION = 1  # of the files; increase it when an older reader would misread them
MASKS_VERSION = 1  # of the code that makes masks; increase it when equal settings give other masks


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
        """Return one text per setting that is not as expected, such as ``grid.stride is [400, 512], not ...``.

        Args:
            expected: A complete fingerprint, or only the settings that matter to the caller, nested the same way. Among
                these, a list where this fingerprint has a single value names alternatives.
        """
        complete = isinstance(expected, Fingerprint)
        theirs = dict(_flatten(json.loads(expected.canonical) if isinstance(expected, Fingerprint) else expected))
        own = dict(_flatten(json.loads(self.canonical)))
        names = [*theirs, *(name for name in own if complete and name not in theirs)]
        return [
            f'{name} is {own[name]!r}, not {theirs.get(name, "absent")!r}'
            if name in own
            else f'{name} is no setting of this cache ({theirs[name]!r} expected)'
            for name in names
            if name not in own or name not in theirs or not _agree(own[name], theirs[name], alternatives=not complete)
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
    """Turn tuples into lists, as JSON does."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
