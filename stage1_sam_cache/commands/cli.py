"""What all commands share: one-line errors, exit statuses, flags for images and for settings classes."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from stage1_sam_cache.commands.names import as_typed
from stage1_sam_cache.data.catalog import DATASETS, list_dataset
from stage1_sam_cache.data.listing import Listing, list_folder
from stage1_sam_cache.errors import GoodSAMError
from stage1_sam_cache.system import interruption

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

Settings = TypeVar('Settings')


class Parser(argparse.ArgumentParser):
    """A parser whose error is one line, without the list of all flags."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 2."""
        self.exit(BAD_INPUT, as_typed(f'{self.prog}: error: {message} (--help explains all flags)\n'))

    def format_help(self) -> str:
        """Return the help; commands in it have the names under which the user has them."""
        return as_typed(super().format_help())


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command's ``main`` and exit with its status; a user error becomes one line and status 2.

    Commands in the line have the names under which the user has them, see ``names``.
    """
    interruption.listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # file names may hold anything
    try:
        status = main()
        if sys.stdout is not None:  # None where it is closed, as in a daemon
            sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as problem:
        if interruption.requested():  # C code, or a bare except of a library, turned it into an error
            status = INTERRUPTED
        elif isinstance(problem, BrokenPipeError):  # the reader (head, less) went away
            status = FAILED
        elif isinstance(problem, (GoodSAMError, OSError)):
            report(f'error: {problem}')
            status = BAD_INPUT if isinstance(problem, GoodSAMError) else FAILED
        else:
            raise
    if status == INTERRUPTED:
        report('interrupted')
    for stream in (sys.stdout, sys.stderr):
        _flush_or_drop(stream)
    sys.exit(status)


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


def add_image_flags(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the flags that choose images: a data set of the catalogue, or any folder."""
    group = parser.add_argument_group('images')
    source = group.add_mutually_exclusive_group(required=required)
    source.add_argument('--dataset', choices=sorted(DATASETS), help='a data set of the catalogue')
    source.add_argument('--images', type=named_path, metavar='DIR', help='any folder of images, searched recursively')
    group.add_argument('--split', help='split of the data set (default: the unlabelled or training images)')
    group.add_argument(
        '--data-root', type=named_path, metavar='DIR', help='folder of the data set (default: data/<Name>)'
    )
    group.add_argument('--list', type=named_path, metavar='FILE', help='text file of image names to take, one per line')
    group.add_argument('--follow-links', action='store_true', help='take images behind links that leave the folder')


def add_trust_flag(parser: argparse._ActionsContainer) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='let checkpoints run code; only for files that you made'
    )


def list_images(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Listing:
    """List the images that the flags ask for.

    Raises:
        DatasetError: If there are none.
    """
    if args.dataset:
        return list_dataset(args.dataset, args.split, args.data_root, args.list, args.follow_links)
    if args.split or args.data_root:
        parser.error('--split and --data-root go with --dataset, not with --images')
    return list_folder(args.images, args.list, args.follow_links)


def add_settings_flags(parser: argparse.ArgumentParser, settings: type, title: str) -> None:
    """Add one flag per field of a settings dataclass, with the field's default and help."""
    group = parser.add_argument_group(title)
    for item in fields(settings):
        assert item.default is not MISSING
        many = isinstance(item.default, tuple)
        group.add_argument(
            '--' + item.name.replace('_', '-'),
            type=type(item.default[0] if isinstance(item.default, tuple) else item.default),
            nargs='+' if many else None,
            default=argparse.SUPPRESS,
            metavar='N',
            help=f'{item.metadata["help"]} (default: {item.default})',
        )


def given_settings(args: argparse.Namespace, settings: type) -> dict[str, Any]:
    """Return those fields of a settings dataclass that were given as flags."""
    given = {item.name: getattr(args, item.name) for item in fields(settings) if item.name in args}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def make_settings(parser: argparse.ArgumentParser, settings: type[Settings], values: dict[str, Any]) -> Settings:
    """Build a settings object; values that it refuses are a usage error."""
    try:
        return settings(**values)
    except ValueError as problem:
        parser.error(str(problem))


def named_path(text: str) -> Path:
    """Return the path; refuse an empty one, as from an unset variable, which would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError('the path is empty')
    return Path(text)


def pixel_pair(text: str) -> tuple[int, int]:
    """Return rows and columns of ``'400x512'``."""
    rows, times, columns = text.lower().partition('x')
    if not (times and rows.isdecimal() and columns.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text!r} is not ROWSxCOLUMNS, such as 400x512')
    return int(rows), int(columns)


def pixel_stride(text: str) -> int | tuple[int, int]:
    """Return the columns of ``'256'``, or rows and columns of ``'200x256'``."""
    return int(text) if text.isdecimal() else pixel_pair(text)
