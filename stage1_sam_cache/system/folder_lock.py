"""A folder that one process at a time writes to: a lock that ends with its process, however that ends.

The lock is one of the operating system's (POSIX record lock) on a small file in the folder. The file itself means
nothing: a copied folder is not locked, and a killed process leaves no obstacle. Processes that a holder forks, such as
a loader's workers, don't share the lock, so that none of them keeps it when the holder is killed.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stage1_sam_cache.errors import FolderInUseError, WriteError

LOCK_FILE = '.lock'
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN)
_TRIES = 20  # to make a folder that holders remove at their end; some places, as /proc, always answer "no such file"


@contextmanager
def hold(folder: str | Path) -> Iterator[None]:
    """Hold a folder while the block runs; it is made if it is missing, and removed at the end if it is still empty.

    It keeps other processes out, not other threads of this one. Where the file system has no locks, a warning says so
    and the block runs without one.

    Raises:
        FolderInUseError: If another process holds it.
        WriteError: If the folder or the file in it can't be made.
    """
    path = Path(folder) / LOCK_FILE
    made = [part for part in (path.parent, *path.parent.parents) if not part.exists()]
    descriptor = _take(path)
    try:
        yield
    finally:
        with suppress(OSError):  # removed while it is held, so that no other process can hold it too
            path.unlink()
            for part in made:
                part.rmdir()
        os.close(descriptor)


def _take(path: Path) -> int:
    """Open and lock the file; return its descriptor."""
    failed = 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as problem:
            failed += 1
            if isinstance(problem, FileNotFoundError) and failed < _TRIES:  # a holder has just removed the folder
                time.sleep(0.01)
                continue
            raise WriteError(
                f'cannot write in the folder {path.parent}: {problem.strerror or problem}', 'give another folder'
            ) from problem
        try:
            _lock(descriptor, path)
            with suppress(OSError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # a holder had removed the file before this process locked it


def _lock(descriptor: int, path: Path) -> None:
    """Take the lock, and write into the file who has it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno not in _HELD_BY_ANOTHER:
            logging.getLogger(__name__).warning(
                'warning: %s cannot be locked (%s): make sure that no other run writes there', path.parent, problem
            )
            return
        raise FolderInUseError(
            f'{path.parent} is in use by another run{_holder(descriptor)}',
            'wait until it has ended, or give another folder',
        ) from problem
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f'process {os.getpid()} on {socket.gethostname()}\n'.encode(), 0)


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 200, 0).decode(errors='replace').strip()
    return f' ({text})' if text else ''
