"""The subcommand that compares caches by what can be said without labels."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.cache.quality import CacheQuality, measure
from stage1_sam_cache.cache.reader import MaskCache, cache_folders, no_cache
from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.masks.overlap_agreement import MIN_AREA
from stage1_sam_cache.system.atomic_file import commit

_CAUTION = (
    f'overlap agreement: mean best IoU, both ways, of the masks of at least {MIN_AREA} pixels in an overlap with those '
    'of the other window; alone it proves nothing, because a few huge masks agree perfectly'
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument(
        'caches',
        type=flag_values.named_path,
        nargs='+',
        metavar='CACHE',
        help="a folder of caches, or one fingerprint's folder",
    )
    parser.add_argument('--limit', type=flag_values.positive, metavar='N', help='only the first N panoramas of each')
    parser.add_argument('--json', type=flag_values.named_path, metavar='FILE', help='also write the figures to a file')


def compare(args: argparse.Namespace) -> int:
    """Print a table with a row per cache and return the exit status; damaged caches are reported, not in the table."""
    if args.json:
        cli.make_parent(args.json, '--json')
    folders = [_caches_in(root) for root in args.caches]
    rows, status = [], 0
    for folder in dict.fromkeys(folder for group in folders for folder in group):
        try:
            cache = MaskCache(folder)
            rows.append((cache, measure(_panoramas(cache, args.limit))))
        except MaskCacheError as problem:
            cli.report(f'error: {problem}')
            status = cli.BAD_INPUT
    if rows:
        print(_table(rows))
    if args.json:
        figures = [{'cache': str(cache.path), **_generator(cache), **_plain(row)} for cache, row in rows]
        commit(args.json, json.dumps(figures, indent=1).encode(), replace=True)
    return status


def _caches_in(root: Path) -> list[Path]:
    folders = cache_folders(root)
    if not folders:
        raise no_cache(root)
    return folders


def _panoramas(cache: MaskCache, limit: int | None) -> Iterator[PanoramaMasks]:
    """Read panoramas, with a progress bar."""
    desc, closed = f'measuring {cache.path.name}', sys.stderr is None
    for file in tqdm(cache.files()[:limit], unit='panorama', desc=desc, disable=closed):
        yield cache.read(file)


def _generator(cache: MaskCache) -> dict[str, Any]:
    """What made the masks: name and model, and the adapter's digest."""
    generator: Mapping[str, Any] = cache.fingerprint.settings['generator']
    named = {'generator': ' '.join(str(generator[key]) for key in ('name', 'model') if key in generator)}
    return named | ({'adapter': generator['adapter']['sha256']} if 'adapter' in generator else {})


def _plain(row: CacheQuality) -> dict[str, Any]:
    """The figures as JSON values, None for NaN."""
    return {name: None if math.isnan(value) else value for name, value in row._asdict().items()}


def _table(rows: Sequence[tuple[MaskCache, CacheQuality]]) -> str:
    """Format the figures as Markdown."""
    lines = [
        '| cache | generator | panoramas | masks per window | coverage % | expected IoU % | stability % '
        '| overlap agreement % |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for cache, row in rows:
        made_by = _generator(cache)
        adapter = f', adapter {made_by["adapter"][:8]}' if 'adapter' in made_by else ''
        count = '-' if math.isnan(row.masks_per_window) else f'{row.masks_per_window:.1f}'
        shares = (row.coverage, row.predicted_iou, row.stability, row.agreement)
        cells = [str(row.panoramas), count, *('-' if math.isnan(s) else f'{100 * s:.1f}' for s in shares)]
        lines.append(f'| {cache.path} | {made_by["generator"]}{adapter} | ' + ' | '.join(cells) + ' |')
    return '\n'.join([*lines, '', _CAUTION])
