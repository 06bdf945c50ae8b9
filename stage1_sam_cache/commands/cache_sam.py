"""Stage 1: runs SAM over every window of every panorama, once, and caches its masks.

    tools/cache_sam.py --dataset densepass                          # on one GPU
    torchrun --nproc-per-node 4 --no-python tools/cache_sam.py --dataset densepass
    sbatch --array=0-7 tools/slurm_cache.sh --dataset densepass     # any number of nodes
    tools/cache_sam.py --images my_panoramas --generator felzenszwalb   # no weights needed, not SAM
    tools/cache_sam.py --images my_panoramas --import masks --import-name sam2   # masks that another tool made

It can be killed at any moment and run again: it keeps what is committed and makes the rest.
"""

from __future__ import annotations

import argparse
import os
from typing import NamedTuple

from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.estimate import estimate
from stage1_sam_cache.build.progress import Summary
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.build.shards import Shard, shard_of_environment, worst_status
from stage1_sam_cache.cache.writer import CacheWriter
from stage1_sam_cache.commands import cli, shared_flags
from stage1_sam_cache.commands.cache_flags import (
    build_parser,
    cache_settings,
    check_flags,
    default_root,
)
from stage1_sam_cache.commands.image_checks import refuse_cropped
from stage1_sam_cache.commands.mask_source import make_source
from stage1_sam_cache.commands.training_advice import training_options, warnings_of
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.data.listing import Listing, Sample
from stage1_sam_cache.data.odd_panoramas import find_odd_panoramas
from stage1_sam_cache.data.refusals import Refused
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.exchange.import_settings import NAME
from stage1_sam_cache.exchange.imported_masks import ImportedMasks
from stage1_sam_cache.sam.mask_generator import MaskSource


def main(argv: list[str] | None = None) -> int:
    """Cache the masks and return the exit status."""
    parser = build_parser(__doc__)
    args = parser.parse_args(argv)
    settings = cache_settings(parser, args)
    check_flags(parser, args)
    shard = args.shard or shard_of_environment(os.environ)
    listing = shared_flags.list_images(parser, args)
    samples = listing.samples[: args.limit]
    own_samples = shard.of(samples)
    print(f'{len(samples)} panoramas in {listing.root}, {len(listing.refused)} refused')
    if shard.count > 1:
        print(f'shard {shard.index}/{shard.count} ({shard.source}): {len(own_samples)} panoramas', flush=True)
    # With wrapped windows all processes look at the whole list, so that they all end where one panorama is cropped.
    _check_metadata(samples if args.wrap else own_samples, args, shard)
    if shard.index == 0:
        _warn(own_samples, settings, args.max_pixels)
    generator = make_source(parser, args, listing)
    print(_made_by(generator))
    refused = listing.refused + (generator.folder.refused if isinstance(generator, ImportedMasks) else [])
    refusals = Refusals(refused if shard.index == 0 else [], args.skip_refused)  # of all shards, by the first
    if args.dry_run:
        status = _dry_run(own_samples, settings, generator, args)
        return worst_status(status or refusals.report(), os.environ)
    builder = CacheBuilder(args.out or default_root(args), settings, generator, args.max_pixels)
    _build(builder, own_samples, refusals, shard)
    status = _finish(builder, own_samples, listing, refusals)
    options = training_options(settings)
    if args.images and not status and options:
        print(f'to train     tools/train.py goodsam_b0_own.py ... {options}')
    return status


def _made_by(source: MaskSource) -> str:
    """Say what makes the masks, or made them."""
    if isinstance(source, ImportedMasks):
        return f'masks by {source.tool}, imported from {source.folder.path}'
    identity = source.identity
    known = {'sam': '', 'adapted_sam': ' (SAM with an adapter)', 'sam2': ' (SAM 2)'}
    stand_in = known.get(identity['name'], ' (not SAM)')
    masks_by = f'masks by {identity["name"]} {identity.get("model", "")}'.rstrip()
    return f'{masks_by}{stand_in} on {source.made_with["device"]}'


def _warn(samples: list[Sample], settings: CacheSettings, max_pixels: int) -> None:
    """Warn of what training will not be able to do with these images and windows."""
    paths, names = [sample.image for sample in samples], [sample.id for sample in samples]
    for warning in warnings_of(paths, names, settings, max_pixels):
        cli.report(f'warning: {warning}')


def _check_metadata(samples: list[Sample], args: argparse.Namespace, shard: Shard) -> None:
    """Warn of panoramas that are not level, and refuse wrapped windows over cropped ones.

    Raises:
        DatasetError: If windows would cross the seam of a panorama that has none.
    """
    if not args.wrap and shard.index:
        return
    odd = find_odd_panoramas([sample.image for sample in samples], args.max_pixels)
    if args.wrap:
        refuse_cropped(odd)
    if shard.index == 0 and odd.tilted:
        cli.report(f'warning: {odd.tilted}; tools/level_panoramas.py writes level copies')
    if shard.index == 0 and odd.unused:
        cli.report(f'warning: metadata not used: {odd.unused}')


class Refusals(NamedTuple):
    """What the listing refused, and whether the user said to go on without it."""

    refused: list[Refused]
    skip: bool

    def report(self) -> int:
        """Report them and return the exit status that they ask for."""
        return shared_flags.report_refused(self.refused, self.skip, 'skipped' if self.skip else 'failed', count=10)


def _build(builder: CacheBuilder, samples: list[Sample], refusals: Refusals, shard: Shard) -> None:
    """Cache the samples of one shard and print the summary, also when it is interrupted."""
    try:
        label = f'caching masks {shard.index}/{shard.count}' if shard.count > 1 else 'caching masks'
        builder.run(samples, label=label)
    except BaseException:
        _print_summary(builder.summary, builder.writer, refusals)
        cli.report('stopped early: run the same command again to continue from here')
        raise
    _print_summary(builder.summary, builder.writer, refusals)


def _finish(builder: CacheBuilder, samples: list[Sample], listing: Listing, refusals: Refusals) -> int:
    """Check that all samples are there, seal the cache if it is complete, and return the exit status."""
    writer = builder.writer
    failed = {name for name, _ in builder.summary.failed}
    lost = [name for name in writer.cache.missing(sample.id for sample in samples) if name not in failed]
    if lost:
        reason = f'{len(lost)} panoramas that were cached are gone, such as {lost[0]}'
        cli.report(f'error: {writer.path}: {reason}; was the folder replaced? run the same command again')
    incomplete = failed or (refusals.refused and not refusals.skip)
    status = worst_status(cli.BAD_INPUT if lost else cli.FAILED if incomplete else 0, os.environ)
    missing = len(writer.cache.missing(sample.id for sample in listing.samples))
    if missing or status:
        print(f'not sealed   {missing} of {len(listing.samples)} panoramas are not cached, or some failed')
    elif os.environ.get('RANK', '0') == '0':
        print(f'sealed       all {writer.seal()} panoramas are in the manifest')
    return status


def _dry_run(samples: list[Sample], settings: CacheSettings, generator: MaskSource, args: argparse.Namespace) -> int:
    """Time two windows of the first usable image, print the estimate for all, and return the exit status."""
    if not samples:
        print('no panoramas for this shard')
        return 0
    for sample in samples:
        try:
            image = read_rgb(sample.image, args.max_pixels, '--max-pixels')
            cost = estimate(image, settings, generator, image_id=sample.id)
        except ImageError as problem:
            cli.report(f'skipped: {sample.id}: {problem}')
            continue
        hours = cost.seconds_per_crop * cost.crops * len(samples) / 3600
        size = cost.bytes_per_panorama * len(samples) / 1e6
        print(f'two windows of {sample.id}: {cost.seconds_per_crop:.2f} s each, on {generator.made_with["device"]}')
        print(f'{len(samples)} panoramas of {cost.crops} crops: about {hours:.2f} hours, {size:.1f} MB of disk')
        print('nothing was cached')
        return 0
    cli.report('error: none of the images can be used')
    return cli.BAD_INPUT


def _print_summary(summary: Summary, writer: CacheWriter, refusals: Refusals) -> None:
    """Print what was cached, and report what failed or was refused."""
    refused = len(refusals.refused)
    failed = len(summary.failed) + (0 if refusals.skip else refused)
    skipped = f', {refused} refused and skipped' if refusals.skip and refused else ''
    print(f'panoramas    {summary.done} done, {summary.already_there} already there, {failed} failed{skipped}')
    if summary.done:
        print(
            f'masks        {summary.masks / summary.windows:.1f} per window, '
            f'coverage {summary.coverage / summary.windows:.1%} of the pixels'
        )
        print(f'size         {summary.bytes / summary.windows:.0f} bytes per window, {summary.bytes} in all')
        print(f'rate         {summary.crops / summary.seconds:.2f} windows/s ({summary.crops} windows and overlaps)')
    if summary.done and not summary.masks:
        imported = writer.cache.fingerprint.settings['generator']['name'] == NAME
        asked = 'have the imported files any?' if imported else 'are the thresholds right?'
        cli.report(f'warning: not a single mask was found; {asked}')
    print(f'fingerprint  {writer.cache.fingerprint.key}')
    print(f'cache        {writer.path}', flush=True)
    for name, reason in summary.failed:
        cli.report(f'failed: {name}: {reason.removeprefix(f"{name}: ")}')
    refusals.report()
