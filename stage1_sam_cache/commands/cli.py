"""How all commands run and end: one-line errors, exit statuses, places to write that are tried first."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from stage1_sam_cache.commands.installation import how_to_install
from stage1_sam_cache.commands.names import as_typed
from stage1_sam_cache.errors import GoodSAMError
from stage1_sam_cache.system import interruption, resources

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, interruption.INTERRUPTED


class Parser(argparse.ArgumentParser):
    """A parser whose error is one line, without the list of all flags."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 2."""
        self.exit(BAD_INPUT, as_typed(f'{self.prog}: error: {message} (--help explains all flags)\n'))

    def format_help(self) -> str:
        """Return the help; commands in it have the names under which the user has them."""
        return as_typed(super().format_help())

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse itself would hide that it can't be written."""
        print(self.format_help(), end='', file=file or sys.stdout)


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command's ``main`` and exit with its status; a user error becomes one line and status 2.

    Commands in the line have the names under which the user has them, see ``names``.
    """
    interruption.listen()
    logging.Handler.handleError = _say_once()  # type: ignore[assignment, method-assign]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # file names may hold anything
    saved = ''
    try:
        status = _status_of(main)
    except KeyboardInterrupt as end:
        status, saved = INTERRUPTED, str(end)
    except Exception as problem:
        if interruption.requested():  # C code, or a bare except of a library, turned it into an error
            status = INTERRUPTED
        elif isinstance(problem, BrokenPipeError):  # the reader (head, less) went away
            status = FAILED
        elif isinstance(problem, GoodSAMError):
            report(f'error: {problem}')
            status = BAD_INPUT
        elif explained := resources.explain(problem):
            report(f'error: {explained}')
            status = FAILED
        elif isinstance(problem, OSError):
            full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
            report(f'error: {problem}{"; free some space where the command writes, or give another folder" * full}')
            status = FAILED
        elif isinstance(problem, ModuleNotFoundError):
            report(f'error: {problem}; {how_to_install()}')
            status = FAILED
        else:
            raise
    if status == INTERRUPTED:
        report(f'interrupted: {saved}' if saved else 'interrupted')
    for stream in (sys.stdout, sys.stderr):
        _flush_or_drop(stream)
    sys.exit(status)


def _say_once() -> Callable[[logging.Handler, logging.LogRecord], None]:
    """What handlers of logs do where a line can't be written; ``logging`` prints a traceback for each line."""
    said = set[str]()

    def say(handler: logging.Handler, record: logging.LogRecord) -> None:
        place = getattr(handler, 'baseFilename', None) or 'the log on the screen'
        if place not in said:
            said.add(place)
            report(f'warning: {place} cannot be written ({sys.exc_info()[1]}), and lines of it are lost')

    return say


def _status_of(main: Callable[[], int]) -> int:
    """Run ``main``, or the part of it up to ``--help`` or a usage error, and write out what it printed."""
    try:
        status = main()
    except SystemExit as end:  # of the parser
        if isinstance(end.code, str):
            raise
        status = end.code or 0
    if sys.stdout is not None:  # None where it is closed, as in a daemon
        sys.stdout.flush()
    return status


def _flush_or_drop(stream: Any) -> None:
    """Flush a stream, or drop what can't be written; Python would report it at exit, with another exit status."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def report(text: str) -> None:
    """Print a message as one line to standard error, with control characters escaped.

    Args:
        text: The message; ``tools/<name>.py`` in it becomes the name under which the user has that command.
    """
    text = as_typed(text)
    line = ''.join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in ' '.join(text.splitlines()))
    if sys.stderr is not None:
        with suppress(OSError):  # the exit status is left
            print(line, file=sys.stderr, flush=True)


def make_parent(path: Path, flag: str) -> None:
    """Make the folder of a file that will be written; tried before anything is computed.

    Args:
        path: The file.
        flag: Which names it.

    Raises:
        GoodSAMError: If the folder can't be made, or if the path is a folder itself.
    """
    if path.is_dir():
        raise GoodSAMError(f'{path} is a folder', f'give a file with {flag}')
    make_folder(path.parent, flag)


def make_folder(path: Path, flag: str) -> None:
    """Make a folder in which files will be written; tried before anything is computed.

    Args:
        path: The folder.
        flag: Which names it, or a file in it.

    Raises:
        GoodSAMError: If it can't be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise GoodSAMError(f'cannot make the folder {path}: {problem.strerror}', f'give another {flag}') from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise GoodSAMError(f'the folder {path} cannot be written to', f'give another {flag}')
