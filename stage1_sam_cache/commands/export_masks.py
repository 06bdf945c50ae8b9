"""The subcommand that writes the masks of a cache for other tools."""

from __future__ import annotations

import argparse
import os
import sys

from tqdm import tqdm

from stage1_sam_cache.cache.reader import MaskCache, entry_name, open_cache
from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.exchange import marker
from stage1_sam_cache.exchange.export import COCO_FILE, FORMATS, CocoWriter, PngWriter, Sa1bWriter, Writer
from stage1_sam_cache.exchange.records import pycocotools
from stage1_sam_cache.system import folder_lock, interruption
from stage1_sam_cache.system.atomic_file import remove_abandoned
from stage1_sam_cache.system.launched import require_one_process
from stage1_sam_cache.system.nearest import known


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the subcommand."""
    parser.add_argument(
        '--out', type=flag_values.named_path, required=True, help='folder to write; new, or to continue'
    )
    parser.add_argument(
        '--format',
        choices=FORMATS,
        required=True,
        help='coco: one instances.json; sa1b: one JSON each; png: a folder each, with one PNG per mask',
    )
    parser.add_argument('--id', nargs='+', metavar='ID', help='which panoramas (default: all)')
    parser.add_argument(
        '--merged',
        action='store_true',
        help='masks of all windows in one image per panorama, not joined: what two windows show is there twice',
    )


def export(args: argparse.Namespace) -> int:
    """Write the masks and return the exit status."""
    require_one_process('tools/inspect_cache.py export', os.environ)
    if args.format != 'png':
        pycocotools(f'--format {args.format}')
    cache = open_cache(args.cache)
    for image_id in args.id or ():
        if image_id not in cache:
            raise MaskCacheError(f'{cache.path}: {image_id} is not cached', known(image_id, cache))
    cli.make_folder(args.out, '--out')
    with folder_lock.hold(args.out):
        return _export(cache, args)


def _export(cache: MaskCache, args: argparse.Namespace) -> int:
    """Write the masks into a folder that no other process writes to."""
    what = {
        'fingerprint': cache.fingerprint.key,
        'format': args.format,
        'merged': args.merged,
        'panoramas': args.id,
        'generator': cache.fingerprint.settings['generator'],
    }
    marker.begin(args.out, what)
    for folder in [args.out, *(path for path in args.out.rglob('*') if path.is_dir())]:
        remove_abandoned(folder)
    writer: Writer
    if args.format == 'coco':
        writer = CocoWriter(args.out, args.merged, {'description': 'masks of a GoodSAM cache', **what})
    else:
        writer = (Sa1bWriter if args.format == 'sa1b' else PngWriter)(args.out, args.merged)
    files = [cache.path / entry_name(image_id) for image_id in args.id] if args.id else cache.files()
    written, failed = 0, 0
    for file in tqdm(files, unit='panorama', desc=f'exporting {cache.path.name}', disable=sys.stderr is None):
        interruption.check()
        try:
            written += writer.write(cache.read(file), file.stat().st_mtime)
        except MaskCacheError as problem:
            cli.report(f'failed: {problem}')
            failed += 1
        except FileNotFoundError:  # set aside by another process in the meantime
            cli.report(f'failed: {file}: is gone')
            failed += 1
    if failed:
        there = f'{written} panoramas written' if args.format != 'coco' else f'{COCO_FILE} not written'
        print(f'{args.out}: {there}, {failed} failed: fix them and run the same command again')
        return cli.FAILED
    writer.finish()
    marker.end(args.out, what)
    print(f'{args.out}: {written} panoramas written, {len(files) - written} already there')
    return 0
