"""What all command lines share: one-line errors, exit codes, flags for images and for settings classes."""

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

from stage1_sam_cache.data.catalog import DATASETS, list_dataset
from stage1_sam_cache.data.listing import Listing, list_folder
from stage1_sam_cache.errors import GoodSAMError
from stage1_sam_cache.system import interruption

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

Settings = TypeVar('Settings')


class Parser(argparse.ArgumentParser):
    """A parser whose error is one line, without the list of all flags."""

    def error(self, message: str) -> NoReturn:
        """Exits with status 2."""
        self.exit(BAD_INPUT, f'{self.prog}: error: {message} (--help explains all flags)\n')


def run_command(main: Callable[[], int]) -> None:
    """Runs a tool's ``main`` and exits with its status; a user's mistake becomes one line and status 2."""
    interruption.listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # file names may hold anything
    try:
        status = main()
        if sys.stdout is not None:  # closed, of a daemon for example
            sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as problem:
        if interruption.requested():  # C code, or a bare except of a library, made an error of it
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
        _let_go(stream)
    sys.exit(status)


def _let_go(stream: Any) -> None:
    """Keeps Python from complaining at exit, with a status of its own, of an output that can't be written."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def report(text: str) -> None:
    """Prints a text as one line to standard error, without what a terminal would obey."""
    line = ''.join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in ' '.join(text.splitlines()))
    if sys.stderr is not None:
        with suppress(OSError):  # the exit status has to do
            print(line, file=sys.stderr, flush=True)  # noqa: T201


def add_image_flags(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds the flags that say which images: a data set of the catalogue, or any folder."""
    group = parser.add_argument_group('images')
    source = group.add_mutually_exclusive_group(required=required)
    source.add_argument('--dataset', choices=sorted(DATASETS), help='a data set of the catalogue')
    source.add_argument('--images', type=named_path, metavar='DIR', help='any folder of images, searched recursively')
    group.add_argument('--split', help='split of the data set (default: the unlabelled or training images)')
    group.add_argument(
        '--data-root', type=named_path, metavar='DIR', help='folder of the data set (default: data/<Name>)'
    )
    group.add_argument('--list', type=named_path, metavar='FILE', help='text file of image names to take, one a line')
    group.add_argument('--follow-links', action='store_true', help='take images behind links that leave the folder')


def list_images(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Listing:
    """The images that the flags ask for.

    Raises:
        DatasetError: If there are none.
    """
    if args.dataset:
        return list_dataset(args.dataset, args.split, args.data_root, args.list, args.follow_links)
    if args.split or args.data_root:
        parser.error('--split and --data-root go with --dataset, not with --images')
    return list_folder(args.images, args.list, args.follow_links)


def add_settings_flags(parser: argparse.ArgumentParser, settings: type, title: str) -> None:
    """Adds one flag for each field of a settings dataclass, with the field's default and help."""
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
    """Those fields of a settings dataclass that were given as flags."""
    given = {item.name: getattr(args, item.name) for item in fields(settings) if item.name in args}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def make_settings(parser: argparse.ArgumentParser, settings: type[Settings], values: dict[str, Any]) -> Settings:
    """Builds a settings object; values that it refuses become a usage error."""
    try:
        return settings(**values)
    except ValueError as problem:
        parser.error(str(problem))


def named_path(text: str) -> Path:
    """A path that was given; an empty one, as of an unset variable, would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError('the path is empty')
    return Path(text)


def pixel_pair(text: str) -> tuple[int, int]:
    """``'400x512'`` as rows and columns."""
    rows, times, columns = text.lower().partition('x')
    if not (times and rows.isdecimal() and columns.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text!r} is not ROWSxCOLUMNS, such as 400x512')
    return int(rows), int(columns)


def pixel_stride(text: str) -> int | tuple[int, int]:
    """``'256'`` as columns, ``'200x256'`` as rows and columns."""
    return int(text) if text.isdecimal() else pixel_pair(text)
