"""Flags of ``predict.py`` that say which files are written, and the files of other tools at the end of a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stage1_sam_cache.commands import cli
from stage2_distill.exchange.formats import FORMATS

if TYPE_CHECKING:
    from stage2_distill.exchange.prediction_files import PredictionFiles

PNG = 'png'
_LOCAL_FILES = '/data/local-files/?d='  # of Label Studio, for images that lie on its own machine


def add_format_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which files are written."""
    group = parser.add_argument_group('files', 'labels/ is always written: runs continue from it')
    group.add_argument(
        '--format',
        nargs='+',
        choices=(PNG, *FORMATS),
        default=[PNG],
        help='png: overlays beside the labels; coco, cvat, labelstudio: one file of all images for these tools '
        '(default: png)',
    )
    group.add_argument(
        '--confidence', action='store_true', help='also write the probability of each label, as PNG: 255 is 1'
    )
    group.add_argument(
        '--image-url',
        default=_LOCAL_FILES,
        metavar='URL',
        help="where Label Studio finds the images: stands before each image's path (default: %(default)s)",
    )


def put_together(others: PredictionFiles, note: dict[str, Any]) -> bool:
    """Write the files of other tools, of all images that lie in the folder by now, whichever process labelled them.

    Returns:
        Whether no image is missing in them.
    """
    if not others.formats:
        return True
    from tqdm import tqdm

    def each(ids: Sequence[str], title: str) -> Iterator[str]:
        yield from tqdm(ids, desc=title, unit='image', disable=sys.stderr is None, leave=False)

    there, foreign, failed = others.put_together(note, each)
    left_out = f'; {foreign} label files of another student or mode are not in them' if foreign else ''
    print(f'{there} images in {", ".join(map(str, others.files))}{left_out}', flush=True)
    for name, reason in failed.items():
        cli.report(f'failed: {name}: {reason}')
    return not failed


def report_old_files(others: PredictionFiles) -> None:
    """Say which files of other tools an earlier run made, of labels that are others now."""
    for name, kind in FORMATS.items():
        if name not in others.formats and (others.root / kind.file).exists():
            cli.report(f'warning: {others.root / kind.file} is of an earlier run; --format {name} makes it anew')
