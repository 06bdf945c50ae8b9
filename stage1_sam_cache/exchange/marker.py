"""The hidden file that says what an export holds and whether it is complete."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from stage1_sam_cache.errors import WriteError
from stage1_sam_cache.system.atomic_file import commit

MARKER = '.export.json'


def unfinished(folder: Path) -> bool:
    """Whether a folder is an export that was stopped early."""
    return (_read(folder) or {}).get('complete') is False


def begin(folder: Path, what: dict[str, Any]) -> None:
    """Mark a folder as an export that is not complete; the same export may go on in its folder.

    Args:
        folder: It exists.
        what: What is exported, as JSON values.

    Raises:
        WriteError: If the folder holds anything else that is not hidden.
    """
    there = _read(folder)
    if there is None and any(not file.name.startswith('.') for file in folder.iterdir()):
        raise WriteError(f'{folder} is not empty and no export', 'give a new folder')
    if there is not None and {**there, 'complete': None} != {**what, 'complete': None}:
        raise WriteError(f'{folder} holds another export', 'give another folder')
    _write(folder, {**what, 'complete': False})


def end(folder: Path, what: dict[str, Any]) -> None:
    """Mark an export as complete."""
    _write(folder, {**what, 'complete': True})


def _read(folder: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        values = json.loads((folder / MARKER).read_bytes())
        return values if isinstance(values, dict) else None
    return None


def _write(folder: Path, values: dict[str, Any]) -> None:
    commit(folder / MARKER, (json.dumps(values, indent=1) + '\n').encode(), replace=True)
