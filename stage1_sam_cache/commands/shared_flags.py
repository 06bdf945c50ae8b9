"""Flags that several command lines have, with one name, meaning and help each, and what they ask for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.data.catalog import DATASETS, list_dataset
from stage1_sam_cache.data.images import MAX_PIXELS
from stage1_sam_cache.data.listing import Listing, list_folder
from stage1_sam_cache.data.refusals import Refused, RefusedError, RefusedLink
from stage1_sam_cache.geometry.windows import DEFAULT_WINDOWS, WindowSettings
from stage1_sam_cache.system.weight_sources import FOLDER as WEIGHTS_DIR

Settings = TypeVar('Settings')


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


def add_window_flags(parser: argparse._ActionsContainer, default: WindowSettings = DEFAULT_WINDOWS) -> None:
    """Add ``--window``, ``--stride`` and ``--wrap``, to a parser or a group of one."""
    (height, width), (_, columns) = default.window, default.strides
    parser.add_argument(
        '--window',
        type=flag_values.pixel_pair,
        default=(height, width),
        metavar='HxW',
        help=f'default: {height}x{width}',
    )
    parser.add_argument(
        '--stride',
        type=flag_values.pixel_stride,
        default=columns,
        metavar='N',
        help=f'columns, or ROWSxCOLUMNS (default: {columns})',
    )
    parser.add_argument('--wrap', action='store_true', help='add the windows across the 0/360 degree seam')


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
        The exit status that they ask for: ``cli.FAILED`` if there are any and ``skip`` is false, else 0.
    """
    by_reason: dict[str, list[Refused]] = {}
    for entry in refused:
        by_reason.setdefault(entry.reason, []).append(entry)
    for reason, entries in by_reason.items():
        follow = '; take it with --follow-links' if isinstance(entries[0], RefusedLink) else ''
        for entry in entries[:count]:
            cli.report(f'{word}: {entry.name}: {reason}{follow}')
        if len(entries) > count:
            cli.report(f'{word}: {len(entries) - count} more: {reason}{follow}')
    if refused and not skip:
        cli.report(f'{len(refused)} refused; --skip-refused goes on without them, with status 0')
    return cli.FAILED if refused and not skip else 0


def add_settings_flags(parser: argparse.ArgumentParser, settings: type, title: str) -> None:
    """Add one flag per field of a settings dataclass, with the field's default and help.

    A field's metadata may name the ``type`` that reads its flag; else it is that of the default. Fields that are true
    or false get a pair of flags, ``--x`` and ``--no-x``.
    """
    group = parser.add_argument_group(title)
    for item in fields(settings):
        assert item.default is not MISSING
        default: Any = item.default
        many = isinstance(default, tuple)
        shown = ' '.join(map(str, default)) if many and isinstance(default[0], str) else default
        options: dict[str, Any] = {
            'type': item.metadata.get('type', type(default[0] if many else default)),
            'nargs': '+' if many else None,
            'metavar': 'NAME' if isinstance(default, str) else 'N',
        }
        if isinstance(default, bool):
            options = {'action': argparse.BooleanOptionalAction}
        group.add_argument(
            '--' + item.name.replace('_', '-'),
            default=argparse.SUPPRESS,
            help=f'{item.metadata["help"]} (default: {shown})',
            **options,
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
