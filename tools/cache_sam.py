#!/usr/bin/env python3
"""Stage 1: runs SAM over every window of every panorama, once, and caches its masks.

    tools/cache_sam.py --dataset densepass                          # on one GPU
    torchrun --nproc-per-node 4 tools/cache_sam.py --dataset densepass
    sbatch --array=0-7 tools/slurm_cache.sh --dataset densepass     # any number of nodes
    tools/cache_sam.py --images my_panoramas --generator felzenszwalb   # no weights needed, not SAM

It can be killed at any moment and run again: what is committed stays, and the rest follows.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

try:
    from stage1_sam_cache.build.builder import CacheBuilder
    from stage1_sam_cache.build.estimate import estimate
    from stage1_sam_cache.build.progress import Summary
    from stage1_sam_cache.build.settings import OVERLAP_SOURCES, CacheSettings
    from stage1_sam_cache.commands import cli
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')
from stage1_sam_cache.build.shards import Shard, parse_shard, shard_of_environment, worst_status
from stage1_sam_cache.cache.writer import CacheWriter
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.images import MAX_PIXELS, read_rgb
from stage1_sam_cache.data.listing import Sample
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.masks.boundary_map import RULES
from stage1_sam_cache.masks.instance_masks import ORDERS
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator, FelzenszwalbSettings
from stage1_sam_cache.sam.mask_generator import MaskGenerator
from stage1_sam_cache.sam.settings import LEVELS, TOY_SETTINGS, SamSettings
from stage1_sam_cache.system.devices import choose_device
from stage1_sam_cache.system.memory import keep_freed_memory

NOTES = """
windows: along each axis a window starts every stride pixels and the last one is moved back to end at the border. A
panorama higher than a window gets further rows of windows by the same rule, without overlap unless --stride gives rows
too: 692 rows and windows of 400 make rows of windows at 0 and 292. A panorama smaller than a window is padded at the
bottom and the right; the padding is never shown to the generator and belongs to no mask.

images: PNG, JPEG, TIFF, BMP, WebP. Greyscale and palette images become RGB, alpha is dropped, EXIF orientation is
applied. Refused, and reported at the end while the others go on: 16-bit and floating-point images, CMYK, damaged or
truncated files, images over --max-pixels, two files of one name (a.png and a.jpg).

exit status: 0 all cached, 1 some images failed, 2 bad input or nowhere to write, 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """All flags."""
    parser = cli.Parser(
        description='\n'.join((__doc__ or '').splitlines()),
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_image_flags(parser)
    parser.add_argument(
        '--max-pixels', type=int, default=MAX_PIXELS, help='refuse larger images (default: %(default)s)'
    )
    parser.add_argument('--out', type=cli.named_path, help='folder of the cache (default: cache/<data set or folder>)')

    windows = parser.add_argument_group('windows and overlaps')
    windows.add_argument('--window', type=cli.pixel_pair, default=(400, 512), metavar='HxW', help='default: 400x512')
    windows.add_argument(
        '--stride', type=cli.pixel_stride, default=256, metavar='N', help='columns, or ROWSxCOLUMNS (default: 256)'
    )
    windows.add_argument('--wrap', action='store_true', help='add the windows across the 0/360 degree seam')
    windows.add_argument(
        '--overlap-source',
        choices=OVERLAP_SOURCES,
        default='crop',
        help='boundary maps from masks of the overlap by itself, or cut from a window (half the work)',
    )
    windows.add_argument('--boundary', choices=RULES, default='labels', help='edges of the id map, or of every mask')
    windows.add_argument('--boundary-thickness', type=int, choices=(1, 2), default=2, help="of 'labels', in pixels")
    windows.add_argument('--order', choices=ORDERS, default='area_desc', help='painting order of overlapping masks')

    generator = parser.add_argument_group('mask generator')
    generator.add_argument(
        '--generator',
        choices=('sam', 'felzenszwalb'),
        default='sam',
        help='felzenszwalb needs no weights; it is not SAM',
    )
    generator.add_argument(
        '--sam',
        metavar='MODEL',
        help='vit_h (default), vit_l, vit_b; toy: a small one for ToyPASS, see tools/train_toy_sam.py',
    )
    generator.add_argument('--checkpoint', type=Path, help="SAM weights of your own, instead of the published ones'")
    generator.add_argument(
        '--checkpoint-dir', type=Path, default=Path('checkpoints'), help='where weights are kept (default: checkpoints)'
    )
    generator.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: auto, a GPU where there is one)')
    generator.add_argument(
        '--level',
        choices=LEVELS,
        help='stock: segment_anything as it is; exact (default): the same masks with less work; fp32-fast: up to '
        'rounding; bf16, fp16: near them',
    )
    generator.add_argument(
        '--encoder-batch', type=int, metavar='N', help='windows that go through the encoder at once (default: 1)'
    )
    generator.add_argument('--compile', action='store_true', help='compile the encoder, from fp32-fast on')
    cli.add_settings_flags(parser, SamSettings, 'settings of --generator sam')
    cli.add_settings_flags(parser, FelzenszwalbSettings, 'settings of --generator felzenszwalb')

    run = parser.add_argument_group('run')
    run.add_argument(
        '--shard', type=_shard, metavar='i/n', help='only part i of n, from 0 (default: from torchrun, SLURM)'
    )
    run.add_argument('--limit', type=int, metavar='N', help='only the first N images of the whole list')
    run.add_argument('--dry-run', action='store_true', help='time two windows, foretell hours and disk, cache nothing')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Caches the masks; returns the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        parser.error('--limit has to be at least 1')
    settings = cli.make_settings(
        parser,
        CacheSettings,
        {
            'window': args.window,
            'stride': args.stride,
            'wrap': args.wrap,
            'order': args.order,
            'overlap_source': args.overlap_source,
            'boundary': args.boundary,
            'boundary_thickness': args.boundary_thickness,
        },
    )
    _check_dataset(parser, args)
    shard = args.shard or shard_of_environment(os.environ)
    listing = cli.list_images(parser, args)
    wanted = listing.samples[: args.limit]
    mine = shard.of(wanted)
    print(f'{len(wanted)} panoramas in {listing.root}, {len(listing.refused)} refused')
    if shard.count > 1:
        print(f'shard {shard.index}/{shard.count} ({shard.source}): {len(mine)} panoramas', flush=True)
    generator = _make_generator(parser, args)
    named = generator.identity
    stand_in = '' if named['name'] == 'sam' else ' (not SAM)'
    print(
        f'masks by {named["name"]} {named.get("model", "")}'.rstrip() + f'{stand_in} on {generator.made_with["device"]}'
    )
    if args.dry_run:
        return worst_status(_dry_run(mine, settings, generator, args), os.environ)

    root = args.out or _default_root(args)
    builder = CacheBuilder(root, settings, generator, args.max_pixels)
    writer = builder.writer
    # What the listing refused is reported by the first shard alone.
    builder.summary.failed += listing.refused if shard.index == 0 else []
    try:
        label = f'caching masks {shard.index}/{shard.count}' if shard.count > 1 else 'caching masks'
        builder.run(mine, label=label)
    except BaseException:
        _print_summary(builder.summary, writer)
        cli.report('stopped early: run the same command again to go on from here')
        raise
    _print_summary(builder.summary, writer)
    failed = {name for name, _ in builder.summary.failed}
    lost = [name for name in writer.cache.missing(sample.id for sample in mine) if name not in failed]
    if lost:
        reason = f'{len(lost)} panoramas that were cached are gone, {lost[0]} for one'
        cli.report(f'error: {writer.path}: {reason}; was the folder replaced? run the same command again')
    status = worst_status(cli.BAD_INPUT if lost else cli.FAILED if failed else 0, os.environ)
    missing = len(writer.cache.missing(sample.id for sample in listing.samples))
    if missing or status:
        print(f'not sealed   {missing} of {len(listing.samples)} panoramas are not cached, or some failed')
    elif os.environ.get('RANK', '0') == '0':
        print(f'sealed       all {writer.seal()} panoramas are in the manifest')
    return status


def _default_root(args: argparse.Namespace) -> Path:
    """Splits are kept apart: evaluation images must not get among those to train on."""
    if not args.dataset:
        return Path('cache') / args.images.resolve().name
    default = args.split in (None, DATASETS[args.dataset].default_split)
    return Path('cache') / (args.dataset if default else f'{args.dataset}_{args.split}')


def _shard(text: str) -> Shard:
    try:
        return parse_shard(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def _check_dataset(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Warns of evaluation images, refuses wrap-around where the borders don't join."""
    if not args.dataset:
        return
    dataset = DATASETS[args.dataset]
    split = dataset.splits.get(args.split or dataset.default_split)
    if split is None:
        return  # listing names the splits there are
    if split.evaluation:
        cli.report(
            f'warning: {args.dataset} {args.split} holds the labelled evaluation images; a model trained on these '
            'masks must not be scored on them'
        )
    if args.wrap and (split.pinhole or not dataset.closed):
        parser.error(f'--wrap: images of {args.dataset} do not show 360 degrees, their borders do not join')


def _make_generator(parser: argparse.ArgumentParser, args: argparse.Namespace) -> MaskGenerator:
    sam_values = cli.given_settings(args, SamSettings)
    plain_values = cli.given_settings(args, FelzenszwalbSettings)
    if args.generator == 'felzenszwalb':
        named = ('sam', 'checkpoint', 'device', 'level', 'encoder_batch', 'compile')
        sam_only = [name for name in named if getattr(args, name)] + list(sam_values)
        if sam_only:
            parser.error(f'--{sam_only[0].replace("_", "-")} is for --generator sam')
        if args.order == 'score':
            parser.error('--order score needs the scores of --generator sam')
        return FelzenszwalbMaskGenerator(cli.make_settings(parser, FelzenszwalbSettings, plain_values))
    if plain_values:
        parser.error(f'--{next(iter(plain_values)).replace("_", "-")} is for --generator felzenszwalb')
    model, level = args.sam or 'vit_h', args.level or 'exact'
    if level in ('stock', 'exact') and (args.encoder_batch or args.compile):
        parser.error(
            f'--encoder-batch and --compile change rounding; they need --level fp32-fast, bf16 or fp16, not {level}'
        )
    if args.encoder_batch is not None and args.encoder_batch < 1:
        parser.error('--encoder-batch has to be at least 1')
    defaults = asdict(TOY_SETTINGS if model == 'toy' else SamSettings())
    settings = cli.make_settings(parser, SamSettings, {**defaults, **sam_values})
    # Only now, because importing PyTorch takes seconds.
    from stage1_sam_cache.sam.fast_generation import points_that_fit
    from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
    from stage1_sam_cache.sam.weights import find_weights, load_sam

    device = choose_device(args.device or 'auto', os.environ)
    if device.type == 'cpu':
        keep_freed_memory()
    if level not in ('stock', 'exact') and 'points_per_batch' not in sam_values:
        settings = replace(settings, points_per_batch=points_that_fit(device, level))
    path = find_weights(model, args.checkpoint_dir, args.checkpoint)
    sam, digest = load_sam(model, path, official=args.checkpoint is None)
    return SamMaskGenerator(sam, model, digest, settings, device, level, args.encoder_batch or 1, args.compile)


def _dry_run(samples: list[Sample], settings: CacheSettings, generator: MaskGenerator, args: argparse.Namespace) -> int:
    if not samples:
        print('no panoramas for this shard')
        return 0
    for sample in samples:
        try:
            found = estimate(read_rgb(sample.image, args.max_pixels), settings, generator)
        except ImageError as problem:
            cli.report(f'passed over: {sample.id}: {problem}')
            continue
        hours = found.seconds_per_crop * found.crops * len(samples) / 3600
        size = found.bytes_per_panorama * len(samples) / 1e6
        print(f'two windows of {sample.id}: {found.seconds_per_crop:.2f} s each, on {generator.made_with["device"]}')
        print(f'{len(samples)} panoramas of {found.crops} crops: about {hours:.2f} hours, {size:.1f} MB of disk')
        print('nothing was cached')
        return 0
    cli.report('error: none of the images can be used')
    return cli.BAD_INPUT


def _print_summary(summary: Summary, writer: CacheWriter) -> None:
    failed = len(summary.failed)
    print(f'panoramas    {summary.done} done, {summary.already_there} already there, {failed} failed')
    if summary.done:
        print(
            f'masks        {summary.masks / summary.windows:.1f} per window, '
            f'coverage {summary.coverage / summary.windows:.1%} of the pixels'
        )
        print(f'size         {summary.bytes / summary.windows:.0f} bytes per window, {summary.bytes} in all')
        print(f'rate         {summary.crops / summary.seconds:.2f} windows/s ({summary.crops} windows and overlaps)')
    if summary.done and not summary.masks:
        cli.report('warning: not a single mask was found; are the thresholds right?')
    print(f'fingerprint  {writer.cache.fingerprint.key}')
    print(f'cache        {writer.path}', flush=True)
    for name, reason in summary.failed:
        cli.report(f'failed: {name}: {reason}')


if __name__ == '__main__':
    cli.run_command(main)
