"""What all commands share: one-line errors, exit statuses, flags for images and for settings classes."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from stage1_sam_cache.commands import flag_values
from stage1_sam_cache.commands.installation import how_to_install
from stage1_sam_cache.commands.names import as_typed
from stage1_sam_cache.data.catalog import DATASETS, list_dataset
from stage1_sam_cache.data.images import MAX_PIXELS
from stage1_sam_cache.data.listing import Listing, list_folder
from stage1_sam_cache.data.refusals import Refused, RefusedError, RefusedLink
from stage1_sam_cache.errors import GoodSAMError
from stage1_sam_cache.system import interruption, resources
from stage1_sam_cache.system.weight_sources import FOLDER as WEIGHTS_DIR

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, interruption.INTERRUPTED

Settings = TypeVar('Settings')


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


def add_image_flags(parser: argparse.ArgumentParser, required: bool = True, several: str = '') -> None:
    """Add the flags that choose images: a data set of the catalogue, or any folder.

    Args:
        parser: Of the command.
        required: Whether one of both has to be given.
        several: Help of ``--images`` where it takes any number of paths, not one folder.
    """
    group = parser.add_argument_group('images')
    source = group.add_mutually_exclusive_group(required=required)
    source.add_argument('--dataset', choices=sorted(DATASETS), help='a data set of the catalogue')
    if several:
        source.add_argument('--images', type=flag_values.named_path, metavar='PATH', nargs='+', help=several)
    else:
        source.add_argument(
            '--images', type=flag_values.named_path, metavar='DIR', help='any folder of images, searched recursively'
        )
    group.add_argument('--split', help='split of the data set (default: the unlabelled or training images)')
    group.add_argument(
        '--data-root', type=flag_values.named_path, metavar='DIR', help='folder of the data set (default: data/<Name>)'
    )
    group.add_argument(
        '--list', type=flag_values.named_path, metavar='FILE', help='text file of image names to take, one per line'
    )
    add_refusal_flags(group)


def add_refusal_flags(parser: Any) -> None:
    """Add the flags that say what to do with images that are refused, to a parser or a group of one."""
    parser.add_argument('--follow-links', action='store_true', help='take images behind links that leave the folder')
    parser.add_argument(
        '--skip-refused',
        action='store_true',
        help='go on, with status 0, without images that are refused: links, two files of one name, other formats',
    )


def add_max_pixels_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-pixels``, which the refusal of a large image names."""
    parser.add_argument(
        '--max-pixels',
        type=flag_values.positive,
        default=MAX_PIXELS,
        metavar='N',
        help='refuse larger images (default: %(default)s)',
    )


@contextmanager
def remedies_by_flags() -> Iterator[None]:
    """Let errors about refused images name the flags of ``add_refusal_flags``."""
    try:
        yield
    except RefusedError as problem:
        raise problem.with_ways('--follow-links', '--skip-refused') from None


def add_trust_flag(parser: argparse._ActionsContainer) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='let checkpoints run code; only for files that you made'
    )


class _WeightsDir(argparse.Action):
    """Keeps the folder in the environment, where whatever looks for weights finds it, in other processes too."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Refuse a folder that does not exist."""
        if not Path(values).expanduser().is_dir():
            parser.error(f'{option_string}: there is no folder {values}')
        os.environ[WEIGHTS_DIR] = values
        setattr(namespace, self.dest, values)


def add_weights_flag(parser: argparse._ActionsContainer, *names: str) -> None:
    """Add ``--weights-dir``, under further names too."""
    parser.add_argument(
        '--weights-dir',
        *names,
        metavar='DIR',
        action=_WeightsDir,
        help='where published weights are looked for first, under the names they are published with (default: '
        f'${WEIGHTS_DIR})',
    )


def list_images(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Listing:
    """List the images that the flags ask for.

    Raises:
        DatasetError: If there are none.
    """
    if not args.dataset and (args.split or args.data_root):
        parser.error('--split and --data-root go with --dataset, not with --images')
    with remedies_by_flags():
        if args.dataset:
            return list_dataset(args.dataset, args.split, args.data_root, args.list, args.follow_links)
        return list_folder(args.images, args.list, args.follow_links)


def report_refused(refused: Sequence[Refused], skip: bool, word: str = 'refused', count: int = 3) -> int:
    """Report each image that was refused; of many with one reason the first few, and how many more there are.

    Args:
        refused: As ``list_images`` found them.
        skip: Whether the user said to go on without them (``--skip-refused``).
        word: First word of each line.
        count: How many of one reason are named.

    Returns:
        The exit status that they ask for: ``FAILED`` if there are any and ``skip`` is false, else 0.
    """
    by_reason: dict[str, list[Refused]] = {}
    for entry in refused:
        by_reason.setdefault(entry.reason, []).append(entry)
    for reason, entries in by_reason.items():
        follow = '; take it with --follow-links' if isinstance(entries[0], RefusedLink) else ''
        for entry in entries[:count]:
            report(f'{word}: {entry.name}: {reason}{follow}')
        if len(entries) > count:
            report(f'{word}: {len(entries) - count} more: {reason}{follow}')
    if refused and not skip:
        report(f'{len(refused)} refused; --skip-refused goes on without them, with status 0')
    return FAILED if refused and not skip else 0


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
