"""Caches connected components of label PNGs as masks, which place the prompts when SAM is adapted (docs/wesam.md).

    tools/cache_components.py --dataset toypass --labels predictions/labels --window 200x256 --stride 128 --out cache/c
    tools/cache_components.py --images my_panoramas --labels labels --things-only --keep cache/sam --out cache/things

The labels are class ids as tools/predict.py writes them with a teacher assistant, one PNG per image, 255 where there is
none. Every connected region of one class in a window is a mask; touching things of one class are one mask.

Things first: in each window the cache stores the components of things (classes that can be counted: people and
vehicles) before those of stuff, both from large to small. Components do not overlap, so their painting order changes
nothing. --things-only drops stuff.

It can be killed at any moment and run again. No training config takes such a cache for masks of SAM.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from stage1_sam_cache.commands import cli, flag_values, shared_flags
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.system.launched import require_one_process

if TYPE_CHECKING:
    from stage1_sam_cache.build.builder import CacheBuilder
    from stage1_sam_cache.build.settings import CacheSettings
    from stage1_sam_cache.cache.reader import MaskCache
    from stage1_sam_cache.data.listing import Sample
    from stage1_sam_cache.data.refusals import Refused

KEEP_IOU = 0.5


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared_flags.add_image_flags(parser)
    shared_flags.add_max_pixels_flag(parser)
    parser.add_argument(
        '--labels',
        type=flag_values.named_path,
        required=True,
        metavar='FOLDER',
        help="PNGs of class ids, named as the images' ids",
    )
    parser.add_argument('--out', type=flag_values.named_path, required=True, help='folder of the cache')
    shared_flags.add_window_flags(parser.add_argument_group('windows'))
    group = parser.add_argument_group('components')
    group.add_argument(
        '--label-space',
        choices=sorted(LABEL_SPACES),
        default='cityscapes19',
        help='classes of the labels (default: %(default)s)',
    )
    group.add_argument(
        '--min-area',
        type=flag_values.positive,
        default=100,
        metavar='N',
        help='drop smaller components of a window, in pixels (default: %(default)s)',
    )
    group.add_argument('--things-only', action='store_true', help='drop components of stuff, such as road and sky')
    group.add_argument(
        '--keep',
        type=flag_values.named_path,
        metavar='CACHE',
        help='keep a component only if a mask of this cache, of the same images and windows, is similar',
    )
    group.add_argument(
        '--keep-iou', type=float, metavar='IOU', help=f'least IoU with the best of these masks (default: {KEEP_IOU})'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Cache what is missing, seal the cache if nothing failed, and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/cache_components.py', os.environ)
    if args.keep_iou is not None and not (args.keep and 0 < args.keep_iou <= 1):
        parser.error('--keep-iou is a number above 0, at most 1, and goes with --keep')
    from stage1_sam_cache.build.builder import CacheBuilder
    from stage1_sam_cache.build.settings import CacheSettings
    from stage1_sam_cache.commands.image_checks import check_images, refuse_cropped
    from stage1_sam_cache.data.odd_panoramas import find_odd_panoramas
    from stage1_sam_cache.exchange.label_components import ComponentSettings, KeepRule, LabelComponents
    from stage1_sam_cache.exchange.label_files import find_label_files

    # Without scores, this painting order is the order in which components are given: things first.
    values = {'window': args.window, 'stride': args.stride, 'wrap': args.wrap, 'order': 'score'}
    settings = shared_flags.make_settings(parser, CacheSettings, values)
    check_images(parser, args)
    listing = shared_flags.list_images(parser, args)
    if args.wrap:
        refuse_cropped(
            find_odd_panoramas([sample.image for sample in listing.samples], args.max_pixels, '--max-pixels')
        )
    cache, unconfirmed = _confirming(args, settings, listing.samples)
    without = {entry.name for entry in unconfirmed}
    samples = [sample for sample in listing.samples if sample.id not in without]
    labels = find_label_files(args.labels, [sample.id for sample in samples])
    refused = [*listing.refused, *unconfirmed, *labels.missing]
    samples = [sample for sample in samples if sample.id in labels.files]
    print(f'{len(samples)} panoramas in {listing.root}, {len(refused)} refused', flush=True)
    keep = KeepRule(cache, args.keep_iou or KEEP_IOU, {s.id: s.image for s in samples}) if cache else None
    source = LabelComponents(labels, ComponentSettings(args.label_space, args.min_area, args.things_only), keep)
    return _build(CacheBuilder(args.out, settings, source, args.max_pixels), samples, refused, args.skip_refused)


def _confirming(
    args: argparse.Namespace, settings: CacheSettings, samples: list[Sample]
) -> tuple[MaskCache | None, list[Refused]]:
    """Return the cache whose masks confirm components, and the images that it does not have."""
    from stage1_sam_cache.cache.reader import open_cache
    from stage1_sam_cache.data.refusals import Refused
    from stage1_sam_cache.errors import MaskCacheError

    if not args.keep:
        return None, []
    cache = open_cache(args.keep, {'grid': settings.to_json()})
    missing = cache.missing(sample.id for sample in samples)
    if len(missing) == len(samples):
        raise MaskCacheError(
            f'{cache.path}: has masks of none of {len(samples)} images, such as {missing[0]}',
            'give the cache of these images with --keep',
        )
    return cache, [Refused(name, f'{cache.path} has no masks of this image') for name in missing]


def _build(builder: CacheBuilder, samples: list[Sample], refused: list[Refused], skip_refused: bool) -> int:
    """Cache the components, print what was done, and return the exit status."""
    try:
        builder.run(samples, label='caching components')
    except BaseException:
        cli.report('stopped early: run the same command again to continue from here')
        raise
    done, failed = builder.summary, builder.summary.failed
    print(f'panoramas    {done.done} done, {done.already_there} already there, {len(failed)} failed')
    if done.done:
        per_window = f'{done.masks / done.windows:.1f} per window'
        print(f'components   {per_window}, coverage {done.coverage / done.windows:.1%} of the pixels')
    if done.done and not done.masks:
        cli.report('warning: not a single component was kept; are --min-area and --keep-iou right?')
    for name, reason in failed:
        cli.report(f'failed: {name}: {reason.removeprefix(f"{name}: ")}')
    status = shared_flags.report_refused(refused, skip_refused)
    if failed:
        status = cli.FAILED
    sealed = 'not sealed, images failed or were refused:' if status else f'all {builder.writer.seal()} panoramas are'
    print(f'{sealed} in {builder.writer.path}')
    return status
