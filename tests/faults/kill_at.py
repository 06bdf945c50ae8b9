"""Runs a tool and kills it with SIGKILL at the N-th step of writing a file below a folder.

    python tests/faults/kill_at.py DIR N tools/train.py ...         # N = 0: only print the number of steps
    python tests/faults/kill_at.py DIR N:ENOSPC tools/train.py ...  # the step fails instead

Steps are: half of the bytes of a write, fsync, rename, link, removal. Log files do not count.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

_FOLDER = os.path.realpath(sys.argv[1])
_AT, _, _ERROR = sys.argv[2].partition(':')
_steps = 0


def step(before: Any = None) -> None:
    """Count a step; at the N-th, call ``before`` and end the process, or raise the error."""
    global _steps
    _steps += 1
    if _steps == int(_AT):
        if before is not None:
            before()
        if _ERROR:
            number = getattr(errno, _ERROR)
            raise OSError(number, os.strerror(number))
        os.kill(os.getpid(), signal.SIGKILL)


def watch(name: str) -> None:
    """Make a function of ``os`` a step where it touches the folder."""
    plain = getattr(os, name)

    def watched(target: Any, *args: Any, **options: Any) -> Any:
        if counts(f'/proc/self/fd/{target}' if isinstance(target, int) else target):
            step()
        return plain(target, *args, **options)

    setattr(os, name, watched)


def counts(target: Any) -> bool:
    path = os.path.realpath(os.fsdecode(target))
    name = Path(path).name
    in_folder = path.startswith(_FOLDER + os.sep)
    return path == _FOLDER or (in_folder and (name.startswith('.tmp-') or name.endswith(('.pth', 'last_checkpoint'))))


def open_watched(file: Any, mode: str = 'r', *args: Any, **options: Any) -> Any:
    opened = _plain_open(file, mode, *args, **options)
    if isinstance(file, int) or not set(mode) & set('wxa') or not counts(file):
        return opened
    plain = opened.write

    def write(content: Any) -> Any:
        def half() -> None:
            plain(content[: len(content) // 2])
            opened.flush()

        step(half)
        return plain(content)

    class Watched:
        """The file, whose writes are steps."""

        def __enter__(self) -> Any:
            opened.__enter__()
            return self

        def __exit__(self, *problem: Any) -> Any:
            return opened.__exit__(*problem)

        def __getattr__(self, name: str) -> Any:
            return write if name == 'write' else getattr(opened, name)

    return Watched()


_plain_open = io.open
io.open = builtins.open = open_watched  # type: ignore[assignment]
for each in ('fsync', 'rename', 'replace', 'link', 'unlink', 'remove'):
    watch(each)
sys.argv = sys.argv[3:]
sys.path[0] = str(Path(sys.argv[0]).parent)
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
finally:
    sys.stdout.write(f'steps {_steps}\n')
    sys.stdout.flush()
