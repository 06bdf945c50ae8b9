"""Flags of ``predict.py`` for panoramas that are not level, for views of panoramas, and for masks of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stage1_sam_cache.build.shards import Shard
from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.data.odd_panoramas import find_odd_panoramas
from stage2_distill.deployment.photogrammetry_masks import NAMES, class_ids
from stage2_distill.deployment.sources import Source
from stage2_distill.deployment.views import LARGEST_VIEW, View, cube_views, perspective_views, require_library

if TYPE_CHECKING:
    from stage2_distill.deployment.derived_files import DerivedFiles
    from stage2_distill.deployment.outputs import Predictions

_YAWS, _PITCHES, _FOV = [0.0, 60.0, 120.0, 180.0, 240.0, 300.0], [0.0], 90.0
_OF_VIEWS = ('view_fov', 'view_yaw', 'view_pitch')


def add_view_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    views = parser.add_argument_group('views and masks, for photogrammetry')
    views.add_argument(
        '--views',
        choices=('cube', 'perspective'),
        help='also write image and labels as six cube faces, or as perspective views',
    )
    views.add_argument(
        '--view-size',
        type=flag_values.positive,
        metavar='N',
        help='rows and columns of a view (default: a quarter of the panorama at 90 degrees)',
    )
    views.add_argument('--view-fov', type=float, metavar='DEGREES', help=f'of perspective views (default: {_FOV:g})')
    views.add_argument(
        '--view-yaw',
        type=float,
        nargs='+',
        metavar='DEGREES',
        help='where perspective views look, to the right of the middle (default: every 60)',
    )
    views.add_argument(
        '--view-pitch', type=float, nargs='+', metavar='DEGREES', help='and above the horizon (default: 0)'
    )
    views.add_argument(
        '--mask-classes',
        nargs='+',
        metavar='CLASS',
        help='also write masks of panoramas and views, black where one of these classes is: person car "traffic light"',
    )
    views.add_argument(
        '--mask-names',
        choices=NAMES,
        default='colmap',
        help='of street.jpg: street.jpg.png for colmap, street_mask.png for metashape (default: %(default)s)',
    )


def chosen_views(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[View]:
    """Return the views that the flags ask for; flags that make no sense are a usage error.

    Raises:
        ConfigError: If py360convert is missing.
    """
    given = [f'--{name.replace("_", "-")}' for name in _OF_VIEWS if getattr(args, name) is not None]
    if args.views != 'perspective' and given:
        parser.error(f'{given[0]} goes with --views perspective')
    if args.views is None:
        if args.view_size:
            parser.error('--view-size goes with --views')
        return []
    if args.view_size and args.view_size > LARGEST_VIEW:
        parser.error(f'--view-size goes up to {LARGEST_VIEW}')
    fov = _FOV if args.view_fov is None else args.view_fov
    if not 1 <= fov <= 170:
        parser.error('--view-fov goes from 1 to 170 degrees')
    if any(not abs(pitch) <= 90 for pitch in args.view_pitch or ()):
        parser.error('--view-pitch goes from -90 to 90 degrees')
    if any(not abs(yaw) <= 360 for yaw in args.view_yaw or ()):
        parser.error('--view-yaw goes from -360 to 360 degrees')
    require_library()
    if args.views == 'cube':
        return cube_views(args.view_size)
    return perspective_views(args.view_yaw or _YAWS, args.view_pitch or _PITCHES, fov, args.view_size)


def derived_files(
    args: argparse.Namespace, views: Sequence[View], predictions: Predictions, classes: Sequence[str]
) -> DerivedFiles | None:
    """Return the files that the flags ask for beside the labels; None if there are none.

    Raises:
        ConfigError: If a class of ``--mask-classes`` is none of the student's.
    """
    from stage2_distill.deployment.derived_files import DerivedFiles

    ignored = class_ids(args.mask_classes, classes) if args.mask_classes else None
    if not views and ignored is None:
        return None
    return DerivedFiles(predictions, views, ignored, args.mask_names, args.level)


def report_odd_panoramas(images: Sequence[Source], args: argparse.Namespace, shard: Shard) -> None:
    """Say which of this shard's panoramas are cropped or not level, and what that means for them."""
    odd = find_odd_panoramas([source.path for source in shard.of(images)], args.max_pixels)
    if args.wrap and odd.cropped:
        cli.report(f'note: {odd.cropped}; --wrap is not used there')
    if odd.tilted and not args.level:
        cli.report(f'note: {odd.tilted}; --level levels such panoramas before the student sees them')
    if odd.unused:
        cli.report(f'warning: metadata not used: {odd.unused}')
