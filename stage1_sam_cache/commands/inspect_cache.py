"""Looks into mask caches: status, verify, repair, stats, quality, show, export.

tools/inspect_cache.py status cache/densepass
tools/inspect_cache.py verify cache/densepass [--full]
tools/inspect_cache.py quality cache/densepass cache/densepass_adapted
tools/inspect_cache.py show cache/real --images my_panoramas --id street_7 --out street_7.png
tools/inspect_cache.py show cache/densepass --dataset densepass --window 3 --beside cache/densepass_adapted
tools/inspect_cache.py export cache/real --out masks --format coco
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stage1_sam_cache.cache.picture import draw, draw_window
from stage1_sam_cache.cache.reader import (
    FINGERPRINT_FILE,
    MANIFEST_FILE,
    Check,
    MaskCache,
    cache_folders,
    entry_name,
    no_cache,
    open_cache,
)
from stage1_sam_cache.cache.writer import QUARANTINE, quarantine, restore_description
from stage1_sam_cache.commands import cache_quality, cli, export_masks, flag_values, shared_flags
from stage1_sam_cache.commands.names import as_typed
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.errors import DamagedFileError, MaskCacheError
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned
from stage1_sam_cache.system.nearest import known


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the subcommands and their flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, text in {
        'status': 'what caches a folder holds',
        'verify': 'check every byte of every file',
        'repair': 'set damaged files aside, so that tools/cache_sam.py makes them again',
        'stats': 'masks, areas, coverage and size over all panoramas',
        'quality': 'compare caches by figures that need no labels',
        'show': 'draw windows, masks and boundary maps of one panorama',
        'export': 'write masks for other tools: COCO, SA-1B or PNG',
    }.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == 'quality':
            cache_quality.add_flags(command)
            continue
        command.add_argument(
            'cache', type=flag_values.named_path, help="a folder of caches, or one fingerprint's folder"
        )
        if name == 'status':
            command.add_argument('--ids', action='store_true', help='also list the panoramas')
        if name == 'verify':
            command.add_argument('--full', action='store_true', help='also recompute all areas and boxes')
        if name == 'repair':
            command.add_argument('--drop', nargs='+', metavar='ID', default=[], help='also set these panoramas aside')
        if name == 'show':
            command.add_argument('--id', help='which panorama (default: the first)')
            command.add_argument('--out', type=_png, help='PNG to write (default: <id>_masks.png)')
            command.add_argument('--window', type=int, metavar='N', help='only this window, enlarged, and its masks')
            command.add_argument(
                '--beside',
                type=flag_values.named_path,
                nargs='+',
                metavar='CACHE',
                default=[],
                help='with --window: and its masks in these caches, side by side',
            )
            shared_flags.add_max_pixels_flag(command)
            shared_flags.add_image_flags(command, required=False)
        if name == 'export':
            export_masks.add_flags(command)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command == 'show':
        return _show(parser, args)
    if args.command == 'export':
        return export_masks.export(args)
    if args.command == 'quality':
        return cache_quality.compare(args)
    if args.command == 'repair':
        _restore_descriptions(args.cache)
    folders = cache_folders(args.cache)
    if not folders:
        raise no_cache(args.cache)
    command = {'status': _status, 'verify': _verify, 'repair': _repair, 'stats': _stats}[args.command]
    statuses = []
    for folder in folders:
        try:
            statuses.append(command(MaskCache(folder), args))
        except MaskCacheError as problem:
            cli.report(f'error: {problem}')
            statuses.append(cli.BAD_INPUT)
    return max(statuses)


def _png(text: str) -> Path:
    """Return the path of a PNG file to write, as argparse's ``type``."""
    path = flag_values.named_path(text)
    if path.suffix.lower() != '.png' or path.is_dir():
        raise argparse.ArgumentTypeError(f'{text!r} is not the name of a .png file')
    return path


def _restore_descriptions(root: Path) -> None:
    """Write lost descriptions of caches again, from what their files say."""
    for folder in [root, *root.glob('*/')] if root.is_dir() else []:
        if restore_description(folder):
            print(f'{folder}: restored {FINGERPRINT_FILE}')


def _status(cache: MaskCache, args: argparse.Namespace) -> int:
    """Print what a cache holds."""
    files = cache.files()
    sealed = len(cache.manifest())
    leftovers = [len(list(cache.path.glob(pattern))) for pattern in ('.claim-*', '.tmp-*', f'{QUARANTINE}/*.h5.*')]
    print(cache.path)
    print(f'  panoramas    {len(files)}, {sealed} of them sealed in the manifest')
    print(f'  size         {sum(file.stat().st_size for file in files) / 1e6:.1f} MB')
    print(f'  in work      {leftovers[0]} claimed, {leftovers[1]} temporary files, {leftovers[2]} in quarantine')
    for name, value in sorted(cache.fingerprint.settings.items()):
        print(f'  {name:<12} {value}')
    if 'adapter' in (cache.fingerprint.settings.get('generator') or {}):
        print(f'  adapter      {_adapter(cache.fingerprint.settings["generator"])}')
    for image_id in cache if args.ids else ():
        print(f'  panorama     {image_id}')
    return 0


def _adapter(generator: Mapping[str, Any]) -> str:
    """Say what an adapter was made from: base weights, prompts, and whether it knows labels of the images."""
    adapter = generator['adapter']
    prompts = adapter['prompts']
    images = f' of {prompts["dataset"]} {prompts["split"]}' if prompts['dataset'] else ''
    labels = 'labels of these images were used' if adapter['weak_labels'] else 'no labels were used'
    return (
        f'of {generator["model"]} {generator["weights_sha256"][:16]}; prompts from masks by {prompts["generator"]}'
        f'{images}, cache {prompts["cache"]}; {labels}'
    )


def _checks(cache: MaskCache, full: bool) -> Iterator[Check]:
    """Check every file, with a progress bar."""
    desc, closed = f'checking {cache.path.name}', sys.stderr is None
    with tqdm(cache.verify(full), total=len(cache), unit='file', desc=desc, disable=closed) as checks:
        yield from checks


def _verify(cache: MaskCache, args: argparse.Namespace) -> int:
    """Check every file and report what is damaged."""
    checks = list(_checks(cache, args.full))
    problems = [check.problem for check in checks if check.problem]
    for problem in problems:
        cli.report(problem)
    print(f'{cache.path}: {len(checks) - len(problems)} panoramas sound, {len(problems)} not')
    return cli.FAILED if problems else 0


def _repair(cache: MaskCache, args: argparse.Namespace) -> int:
    """Move damaged and dropped files to quarantine."""
    removed = remove_abandoned(cache.path)
    reasons = {}
    try:
        checks = list(_checks(cache, full=True))
    except DamagedFileError as problem:  # the manifest itself
        reasons[MANIFEST_FILE] = str(problem)
        checks = [cache.check(file, full=True) for file in cache.files()]
    unread = 0
    for check in checks:
        # Checked again, because another process may have made the file again since.
        again = cache.check(cache.path / check.file, full=True) if check.damaged else check
        if check.damaged and again.damaged:
            reasons[check.file] = str(check.problem)
        elif check.problem:
            cli.report(str(again.problem or check.problem))
        unread += again.unread
    unknown = [image_id for image_id in args.drop if image_id not in cache]
    reasons |= {entry_name(image_id): 'set aside by hand' for image_id in args.drop if image_id not in unknown}
    for name, reason in reasons.items():
        print(as_typed(f'{name} -> {quarantine(cache.path / name, reason)}: {reason}'))
    print(f'{cache.path}: {len(reasons)} files set aside, {removed} abandoned temporaries removed')
    if reasons:
        print(as_typed('run tools/cache_sam.py again, with the same flags, to make what is missing'))
    for image_id in unknown:
        cli.report(f'error: {image_id}: is not in {cache.path}')
    return cli.FAILED if unknown or unread else 0


def _stats(cache: MaskCache, args: argparse.Namespace) -> int:
    """Print masks per window, areas, coverage rate and size."""
    counts, coverage, areas, sizes, edges = [], [], [], [], []
    for file in tqdm(cache.files(), unit='file', desc=f'reading {cache.path.name}', disable=sys.stderr is None):
        panorama = cache.read(file)
        sizes.append(file.stat().st_size)
        counts += [len(masks) for masks in panorama.windows]
        coverage += panorama.coverage
        areas += [masks.area for masks in panorama.windows]
        edges += [seam.boundary.mean() for seam in panorama.overlaps]
    print(cache.path)
    if not sizes:
        print('  empty')
        return 0
    area = np.concatenate(areas)
    print(f'  panoramas          {len(sizes)} of {len(counts)} windows and {len(edges)} overlaps in all')
    print(f'  masks per window   mean {np.mean(counts):.1f}, from {min(counts)} to {max(counts)}')
    print(f'  coverage rate      mean {np.mean(coverage):.1%}, least {min(coverage):.1%} of the pixels')
    if len(area):
        parts = np.array([np.mean(area < 100), np.mean((area >= 100) & (area <= 1000)), np.mean(area > 1000)])
        print(f'  mask area          median {np.median(area):.0f} pixels')
        print(f'  small, medium, large (CTCF: under 100, to 1000, over)   {", ".join(f"{p:.1%}" for p in parts)}')
    if edges:
        print(f'  boundary pixels    {np.mean(edges):.1%} of the overlaps')
    print(f'  size               {sum(sizes) / len(counts):.0f} bytes per window, {sum(sizes) / 1e6:.1f} MB in all')
    return 0


def _show(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Draw one panorama of a cache."""
    if args.beside and args.window is None:
        parser.error('--beside goes with --window')
    caches = [open_cache(folder) for folder in (args.cache, *args.beside)]
    image_id: str = args.id or next(iter(caches[0]), '')
    for cache in caches:
        if image_id not in cache:
            raise MaskCacheError(f'{cache.path}: {image_id or "no panorama"} is not cached', known(image_id, cache))
    panoramas = [cache[image_id] for cache in caches]
    pixels = None
    if args.images or args.dataset:
        listing = shared_flags.list_images(parser, args)
        sample = next((sample for sample in listing.samples if sample.id == image_id), None)
        if sample is None:
            shared_flags.report_refused(listing.refused, skip=True)
            raise MaskCacheError(f'{image_id}: the masks are cached, but there is no image of that name')
        image = read_rgb(sample.image, args.max_pixels, '--max-pixels')
        if any(image.sha256 != panorama.image_sha256 for panorama in panoramas):
            cli.report(f'warning: {sample.image} is not the file that the masks were made from')
        pixels = image.pixels
    elif args.split or args.data_root or args.list:
        parser.error('--split, --data-root and --list go with --dataset or --images')
    out = args.out or Path(entry_name(image_id).rpartition('-')[0] + '_masks.png')
    drawn = io.BytesIO()
    picture = draw(panoramas[0], pixels) if args.window is None else draw_window(panoramas, args.window, pixels)
    picture.save(drawn, 'PNG')
    commit(out, drawn.getvalue(), replace=True)
    print(out)
    return 0
