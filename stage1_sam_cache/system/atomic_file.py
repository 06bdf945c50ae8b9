"""Atomic files: complete or absent, whatever happens to the writer."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from stage1_sam_cache.errors import WriteError
from stage1_sam_cache.system.digests import sha256_of

_PREFIX = '.tmp-'
_FOREIGN_LIFE_S = 24 * 3600  # a temporary of another host may belong to a running writer for this long


def commit(path: Path, data: bytes, replace: bool = False) -> bool:
    """Write a file atomically: it appears under its name complete, checked and on disk, or not at all.

    The bytes go to a temporary file beside it, are synced and read back, and only then get the name. Several writers
    may commit the same name: without ``replace`` the first one stays.

    Args:
        path: Final name, in an existing folder.
        data: The complete content.
        replace: Replace an existing file.

    Returns:
        False if a file of that name exists and ``replace`` is False.

    Raises:
        WriteError: If the disk is full or any step fails; the temporary is removed and ``path`` is as before.
    """
    return _commit(path, lambda file: file.write(data), lambda written: written.read_bytes() == data, replace)


def commit_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file atomically as ``commit`` does, replacing an existing one, with one piece at a time in memory.

    Args:
        path: As for ``commit``.
        pieces: The content; what it raises passes through, but for an ``OSError``.

    Raises:
        WriteError: As ``commit``.
    """
    written = hashlib.sha256()

    def write(file: BinaryIO) -> None:
        for piece in pieces:
            written.update(piece)
            file.write(piece)

    _commit(path, write, lambda file: sha256_of(file) == written.hexdigest(), replace=True)


def commit_link(path: Path, target: Path) -> None:
    """Make a link to a file, replacing what has its name.

    Raises:
        OSError: If a step fails.
    """
    temporary = _temporary(path)
    temporary.symlink_to(target)
    temporary.replace(path)


def make_folder(folder: Path, remedy: str) -> None:
    """Make a folder and those above it, as far as they are missing.

    Args:
        folder: Where files will be written.
        remedy: What to do where that is not possible.

    Raises:
        WriteError: If it is not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise WriteError(f'cannot make the folder {folder}: {problem.strerror or problem}', remedy) from problem


def _temporary(path: Path) -> Path:
    return path.parent / f'{_PREFIX}{_machine()}-{os.getpid()}-{uuid.uuid4().hex}'


def _commit(path: Path, write: Callable[[BinaryIO], object], is_whole: Callable[[Path], bool], replace: bool) -> bool:
    """Write a temporary file, check it, and give it its name."""
    temporary = _temporary(path)
    try:
        with temporary.open('xb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if not is_whole(temporary):
            raise OSError('what was written reads back differently')
        created = _take_name(temporary, path, replace)
        _sync_folder(path.parent)
    except OSError as problem:
        raise WriteError(
            f'cannot write {path}: {problem.strerror or problem}',
            'what was finished before is safe: fix the cause and run the same command again',
        ) from problem
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return created


def _take_name(temporary: Path, path: Path, replace: bool) -> bool:
    if not replace:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            # Some file systems have no hard links. A rename is atomic too, but the last writer wins, not the first.
            if path.exists():
                return False
        else:
            return True
    temporary.replace(path)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_abandoned(folder: Path) -> int:
    """Remove temporaries whose writer is dead; return how many."""
    removed = 0
    for temporary in folder.glob(_PREFIX + '*'):
        machine, _, process = temporary.name.removeprefix(_PREFIX).rpartition('-')[0].rpartition('-')
        with contextlib.suppress(OSError):
            if machine == _machine() and process.isdigit():
                abandoned = not _is_alive(int(process))
            else:
                abandoned = time.time() - temporary.lstat().st_mtime > _FOREIGN_LIFE_S
            if abandoned:
                temporary.unlink()
                removed += 1
    return removed


def _machine() -> str:
    """Return a name of where process ids are unique: one boot of a host, or one of its containers."""
    known = [socket.gethostname()]
    with contextlib.suppress(OSError):  # Linux only
        known.append(Path('/proc/sys/kernel/random/boot_id').read_text())
        known.append(str(Path('/proc/self/ns/pid').stat().st_ino))
    return hashlib.sha256(' '.join(known).encode()).hexdigest()[:12]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # Linux only: a zombie is dead too
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    return True
