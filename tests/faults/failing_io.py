"""Runs a tool while its disk fails: the N-th system call of a kind that touches a folder gets an error.

    python tests/faults/failing_io.py --under DIR --kind write --at 3 --errno ENOSPC -- tools/cache_sam.py --images ...
    python tests/faults/failing_io.py --under DIR --count-only -- tools/cache_sam.py --images ...

The tool runs in this process, unchanged. The last line on standard output says, as JSON, how many calls of each kind it
made and how many calls failed.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import io
import json
import os
import pathlib
import runpy
import subprocess
import sys
import threading
from collections import Counter
from typing import Any

# A read is the opening of a file for reading too; an open is one for writing.
KINDS = ('write', 'fsync', 'link', 'rename', 'mkdir', 'open', 'unlink', 'read', 'stat', 'list')
_LOOKS = ('read', 'stat', 'list')
# What still works when a disk has failed for good.
SPARED = {
    'ENOSPC': (*_LOOKS, 'unlink'),
    'EDQUOT': (*_LOOKS, 'unlink'),
    'EROFS': _LOOKS,
    'EIO': (),
    'ESTALE': (),
}


class FailingDisk:
    """Counts calls by kind and decides which calls fail."""

    def __init__(self, args: argparse.Namespace) -> None:
        spelled = (os.path.abspath, os.path.realpath)
        self._folders = {spell(folder) for folder in args.under for spell in spelled}
        self._command = args.do
        self._kind, self._at, self._name, self._for_good = args.kind, args.at, args.errno, args.from_then_on
        self._lock = threading.Lock()
        self.calls = Counter(dict.fromkeys(KINDS, 0))
        self.failed = 0

    def holds(self, target: Any) -> bool:
        """Tell whether a path or an open file lies below one of the folders."""
        if isinstance(target, int):
            try:
                path = _readlink(f'/proc/self/fd/{target}')
            except OSError:
                return False
        else:
            path = os.path.abspath(os.fsdecode(target))  # noqa: PTH100 - must not touch the disk
        return any(path == folder or path.startswith(folder + os.sep) for folder in self._folders)

    def fails(self, kind: str) -> bool:
        """Count a call; tell whether it has to fail."""
        with self._lock:
            self.calls[kind] += 1
            struck = kind == self._kind and self.calls[kind] == self._at
            struck |= self._for_good and self.failed > 0 and kind not in SPARED[self._name]
            self.failed += struck
        if struck and self._command:
            subprocess.run(self._command, shell=True, check=False)
            return False
        return struck

    def error(self, *paths: Any) -> OSError:
        number = getattr(errno, self._name)
        return OSError(number, os.strerror(number), *map(os.fspath, paths))

    def wrap(self, name: str, kind: str, paths: int = 1) -> None:
        """Replace ``os.<name>``, whose first arguments are paths, by a function that may fail."""
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            touched = [path for path in args[:paths] if path is not None]
            if any(map(self.holds, touched)) and self.fails(kind):
                raise self.error(*([] if isinstance(touched[0], int) else touched[:1]))
            if kind != 'fsync':  # it is slow, and no power failure is tested
                return real(*args, **options)
            return None

        _put(os, name, call)


_readlink = os.readlink


def _put(module: Any, name: str, function: Any) -> None:
    keeper = getattr(pathlib, '_NormalAccessor', None)  # Python 3.10's pathlib holds the functions themselves
    if keeper is not None and getattr(keeper, name, None) is getattr(module, name):
        setattr(keeper, name, staticmethod(function))
    setattr(module, name, function)


def _install(disk: FailingDisk, short_write: bool) -> None:
    real_open, real_os_open = io.open, os.open

    class File(io.FileIO):
        """An unbuffered file of the folder."""

        def write(self, data: Any) -> int:
            if disk.fails('write'):
                if short_write:
                    super().write(memoryview(data)[: len(data) // 2])
                raise disk.error()
            return super().write(data)

        def readinto(self, buffer: Any) -> int | None:
            if disk.fails('read'):
                raise disk.error()
            return super().readinto(buffer)

        def readall(self) -> bytes:
            if disk.fails('read'):
                raise disk.error()
            return super().readall()

        def read(self, size: int | None = -1) -> Any:
            if disk.fails('read'):
                raise disk.error()
            return super().read(-1 if size is None else size)

    def open_file(
        file: Any,
        mode: str = 'r',
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if isinstance(file, int) or not disk.holds(file):
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        writes = any(letter in mode for letter in 'wax+')
        if disk.fails('open' if writes else 'read'):
            raise disk.error(file)
        raw = File(file, mode.replace('b', '').replace('t', ''), opener=opener)
        if buffering == 0:
            return raw
        kind = io.BufferedRandom if '+' in mode else io.BufferedWriter if writes else io.BufferedReader
        buffered = kind(raw)
        if 'b' in mode:
            return buffered
        text = io.TextIOWrapper(buffered, io.text_encoding(encoding), errors, newline, buffering == 1)
        text.mode = mode
        return text

    def os_open(path: Any, flags: int, *args: Any, **options: Any) -> int:
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if disk.holds(path) and disk.fails('open' if writes else 'read'):
            raise disk.error(path)
        return real_os_open(path, flags, *args, **options)

    for name, kind in {'mkdir': 'mkdir', 'unlink': 'unlink', 'remove': 'unlink', 'rmdir': 'unlink'}.items():
        disk.wrap(name, kind)
    for name, kind in {'stat': 'stat', 'lstat': 'stat', 'scandir': 'list', 'listdir': 'list', 'fsync': 'fsync'}.items():
        disk.wrap(name, kind)
    for name, kind in {'link': 'link', 'rename': 'rename', 'replace': 'rename'}.items():
        disk.wrap(name, kind, paths=2)
    _put(io, 'open', open_file)
    builtins.open = open_file
    _put(os, 'open', os_open)


def main(argv: list[str]) -> None:
    """Run the tool and print the calls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--under', required=True, action='append', metavar='DIR', help='only calls that touch it count')
    parser.add_argument('--kind', choices=KINDS)
    parser.add_argument('--at', type=int, metavar='N', help='which call of the kind fails, from 1')
    parser.add_argument('--errno', choices=SPARED, default='EIO')
    parser.add_argument(
        '--from-then-on', action='store_true', help='also fail all later calls that such a disk would fail'
    )
    parser.add_argument('--short-write', action='store_true', help='half of the bytes are written before the error')
    parser.add_argument('--do', metavar='COMMAND', help='run this shell command before the call instead of failing it')
    parser.add_argument('--count-only', action='store_true', help='nothing fails')
    parser.add_argument('command', nargs='+', help='a Python file and its flags, after --')
    args = parser.parse_args(argv)
    if args.count_only:
        args.kind = None
    elif not (args.kind and args.at):
        parser.error('--kind and --at, or --count-only')
    disk = FailingDisk(args)
    _install(disk, args.short_write)
    sys.argv = args.command
    sys.path[0] = str(pathlib.Path(args.command[0]).absolute().parent)
    try:
        runpy.run_path(args.command[0], run_name='__main__')
    finally:
        sys.stdout.write(json.dumps({**disk.calls, 'failed': disk.failed}) + '\n')


if __name__ == '__main__':
    main(sys.argv[1:])
