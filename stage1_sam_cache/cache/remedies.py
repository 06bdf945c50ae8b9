"""What errors about caches tell the user to do, as commands that can be typed as they stand."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


def make_it(root: str | Path) -> str:
    """Return how to make a cache that is not there, where its images are not known."""
    return f'make one with tools/cache_sam.py --images DIR --out {shlex.quote(str(root))}, or with --dataset NAME'


def nothing_here(root: Path, deeper: Sequence[Path]) -> tuple[str, str]:
    """Return problem and remedy of a folder without a cache.

    Args:
        root: The folder.
        deeper: Folders of caches in its folders, each as it would be named.
    """
    if not deeper:
        return f'{root}: no mask cache here', make_it(root)
    names = ', '.join(map(str, deeper[:5])) + (f', and {len(deeper) - 5} more' if len(deeper) > 5 else '')
    return f'{root}: no mask cache here, but in {names}', 'name one of these folders' if deeper[1:] else 'name that one'


def set_aside(cache: str | Path, *image_ids: str) -> str:
    """Return the command that moves what is damaged to quarantine, and sound files of these panoramas."""
    words = ['tools/inspect_cache.py', 'repair', str(cache), *(['--drop', *image_ids] if image_ids else [])]
    return shlex.join(words)


def make_again(cache: str | Path, *image_ids: str, command: str = '') -> str:
    """Return how to replace files of a cache.

    Args:
        cache: Its folder.
        image_ids: Panoramas whose files are sound but have to be replaced.
        command: The command that fills the cache; empty if it is not known.
    """
    again = command or 'tools/cache_sam.py as before'
    return f'run {set_aside(cache, *image_ids)}, then {again}'
