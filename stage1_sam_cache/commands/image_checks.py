"""Whether the images that flags choose may be cached, and windows may cross their seam."""

from __future__ import annotations

import argparse

from stage1_sam_cache.commands import cli
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.odd_panoramas import OddPanoramas
from stage1_sam_cache.errors import DatasetError


def check_images(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Warn of evaluation images, and refuse wrap-around where the borders do not join."""
    if not args.dataset:
        return
    dataset = DATASETS[args.dataset]
    split = dataset.splits.get(args.split or dataset.default_split)
    if split is None:
        return  # the listing names the splits
    if split.evaluation:
        cli.report(
            f'warning: {args.dataset} {args.split} holds the labelled evaluation images; a model trained on these '
            'masks must not be scored on them'
        )
    if args.wrap and (split.pinhole or not dataset.closed):
        parser.error(f'--wrap: images of {args.dataset} do not show 360 degrees, their borders do not join')


def refuse_cropped(odd: OddPanoramas) -> None:
    """Refuse panoramas without a seam, for windows across it.

    Raises:
        DatasetError: If there are any.
    """
    if odd.cropped:
        raise DatasetError(odd.cropped, 'leave --wrap away, or choose the other images with --list')
