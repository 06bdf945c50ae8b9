"""The flags of the command that caches masks, and what they ask for: parser, checks, mask generator."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from stage1_sam_cache.build.settings import OVERLAP_SOURCES, CacheSettings
from stage1_sam_cache.commands import cli, flag_values, shared_flags
from stage1_sam_cache.commands.image_checks import check_images
from stage1_sam_cache.commands.sam_flags import add_sam_flags
from stage1_sam_cache.commands.shard_flag import add_shard_flag
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.exchange.import_settings import ImportSettings
from stage1_sam_cache.masks.boundary_map import RULES
from stage1_sam_cache.masks.instance_masks import ORDERS
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbSettings
from stage1_sam_cache.sam.settings import LEVELS, Sam2Options, SamSettings

NOTES = """
windows: along each axis a window starts every stride pixels and the last one is moved back to end at the border. A
panorama higher than a window gets further rows of windows by the same rule, without overlap unless --stride gives rows
too: 692 rows and windows of 400 make rows of windows at 0 and 292. A panorama smaller than a window is padded at the
bottom and the right; the padding is never shown to the generator and belongs to no mask.

images: PNG, JPEG, TIFF, BMP, WebP, GIF, and JPEG 2000 and AVIF if Pillow can. Greyscale and palette images become RGB,
alpha is dropped, EXIF orientation is applied. Refused, and reported at the end while the others go on: images of 10 or
more bits, floating point, CMYK, animated GIF and AVIF, damaged or truncated files, images over --max-pixels, two files
of one name (a.png and a.jpg), links that leave the folder, other formats (HEIC, raw, ...) unless the same picture is
there in one of these. The cache is sealed when nothing was refused or failed; --skip-refused accepts what was refused
before reading.

imported masks: SA-1B JSON, COCO instances or PNG, per image or per window; docs/exchange.md says how files are named.
Masks that can't be used, images without masks and masks without image are reported at the end.

exit status: 0 all cached, 1 some images failed, 2 bad input or nowhere to write, 130 interrupted
"""

_DEFAULTS = CacheSettings()


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(
        description=description,
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared_flags.add_image_flags(parser)
    shared_flags.add_max_pixels_flag(parser)
    parser.add_argument(
        '--out', type=flag_values.named_path, help='folder of the cache (default: cache/<data set or folder>)'
    )
    _add_window_flags(parser)
    _add_generator_flags(parser)
    shared_flags.add_settings_flags(parser, SamSettings, 'settings of --generator sam')
    shared_flags.add_settings_flags(parser, Sam2Options, 'further settings of SAM 2')
    shared_flags.add_settings_flags(parser, FelzenszwalbSettings, 'settings of --generator felzenszwalb')
    shared_flags.add_settings_flags(parser, ImportSettings, 'settings of --import')
    run = parser.add_argument_group('run')
    add_shard_flag(run)
    run.add_argument('--limit', type=int, metavar='N', help='only the first N images of the whole list')
    run.add_argument('--dry-run', action='store_true', help='time two windows, estimate hours and disk, cache nothing')
    return parser


def _add_window_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of windows, overlaps and their boundary maps."""
    windows = parser.add_argument_group('windows and overlaps')
    shared_flags.add_window_flags(windows)
    windows.add_argument(
        '--overlap-source',
        choices=OVERLAP_SOURCES,
        default=_DEFAULTS.overlap_source,
        help='boundary maps from masks of the cropped overlap, or cut from a window (half the work)',
    )
    windows.add_argument(
        '--boundary', choices=RULES, default=_DEFAULTS.boundary, help='edges of the id map, or of every mask'
    )
    windows.add_argument(
        '--boundary-thickness',
        type=int,
        choices=(1, 2),
        default=_DEFAULTS.boundary_thickness,
        help="of 'labels', in pixels",
    )
    windows.add_argument('--order', choices=ORDERS, default=_DEFAULTS.order, help='painting order of overlapping masks')


def _add_generator_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose the mask generator, its weights and its device."""
    generator = parser.add_argument_group('mask generator')
    source = generator.add_mutually_exclusive_group()
    source.add_argument(
        '--generator',
        choices=('sam', 'felzenszwalb'),
        default='sam',
        help='felzenszwalb needs no weights; it is not SAM',
    )
    source.add_argument(
        '--import',
        dest='imported',
        type=flag_values.named_path,
        metavar='FOLDER',
        help='no generator: masks that another tool made, from a folder or a COCO file',
    )
    generator.add_argument(
        '--import-name', type=_tool_name, metavar='TOOL', help='what made them, such as sam2; part of the identity'
    )
    add_sam_flags(generator, sam2=True)
    generator.add_argument(
        '--adapter',
        type=flag_values.named_path,
        metavar='FILE',
        help='adapt SAM with this file (docs/wesam.md); its masks never pass for those of SAM',
    )
    generator.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: auto, a GPU where there is one)')
    generator.add_argument(
        '--level',
        choices=LEVELS,
        help='stock: segment_anything unchanged; exact (default): identical masks with less work; fp32-fast: identical '
        'up to rounding; bf16, fp16: close to them; SAM 2 has stock alone',
    )
    generator.add_argument(
        '--encoder-batch', type=int, metavar='N', help='windows that go through the encoder at once (default: 1)'
    )
    generator.add_argument(
        '--compile', action='store_true', help='compile encoder and decoder, from fp32-fast on; needs a C++ compiler'
    )


def cache_settings(parser: argparse.ArgumentParser, args: argparse.Namespace) -> CacheSettings:
    """Return the settings of windows and boundary maps; values that they refuse are a usage error."""
    return shared_flags.make_settings(
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


def _tool_name(text: str) -> str:
    """Return the name of a tool, as argparse's ``type``."""
    if not re.fullmatch(r'[\w.+-]{1,64}', text):
        raise argparse.ArgumentTypeError(f'{text!r} is no name of letters, digits and . _ + -')
    return text


def check_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse flags that make no sense, and check the images as ``check_images`` does."""
    if args.limit is not None and args.limit < 1:
        parser.error('--limit has to be at least 1')
    check_images(parser, args)


def default_root(args: argparse.Namespace) -> Path:
    """Return the folder for a cache; each split has its own, so that evaluation images are never trained on."""
    if not args.dataset:
        return Path('cache') / args.images.resolve().name
    default = args.split in (None, DATASETS[args.dataset].default_split)
    return Path('cache') / (args.dataset if default else f'{args.dataset}_{args.split}')
