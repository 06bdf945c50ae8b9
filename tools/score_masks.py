#!/usr/bin/env python3
"""Scores the masks of a cache against the instances of ToyPASS.

    tools/score_masks.py cache/toypass_val cache/toypass_val_sam --split val
    tools/score_masks.py cache/source_val --domain source --split val --json masks.json

Each instance and each part (a car's windows, wheels) in a window is compared with the mask that fits best. The ceiling
is the mIoU of labels that give each mask its true class: the best that any fusion could reach with these masks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

# Idle OpenMP threads sleep instead of spinning, which would take processor time from other programs.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

try:
    from stage1_sam_cache import open_cache
    from stage1_sam_cache.commands import cli
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')
from stage1_sam_cache.cache.reader import MaskCache
from toypass.truth.cache_scores import SMALL, CacheScores, TruthFiles, score_cache


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('caches', nargs='+', type=cli.named_path, metavar='CACHE', help='made by tools/cache_sam.py')
    parser.add_argument('--data', type=cli.named_path, default=Path('data/ToyPASS'), help='default: %(default)s')
    parser.add_argument('--domain', choices=('source', 'target'), default='target', help='default: %(default)s')
    parser.add_argument('--split', choices=('train', 'val'), default='val', help='default: %(default)s')
    parser.add_argument(
        '--min-area', type=int, default=32, help='smallest segment that counts, in pixels (default: %(default)s)'
    )
    parser.add_argument('--limit', type=int, help='only the first N images')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures to a file')
    return parser


def main() -> int:
    """Print a table with a row per cache."""
    args = build_parser().parse_args()
    truth = TruthFiles(args.data, args.domain, args.split)
    caches = [open_cache(root) for root in args.caches]
    generators = [describe(cache) for cache in caches]
    scores = [score_cache(cache, truth, args.min_area, args.limit) for cache in caches]
    print(table(generators, scores, args.min_area))
    if args.json:
        rows = [
            {'cache': str(root), 'generator': generator, **row._asdict()}
            for root, generator, row in zip(args.caches, generators, scores, strict=True)
        ]
        args.json.write_text(json.dumps(rows, indent=1))
    return 0


def describe(cache: MaskCache) -> str:
    """Return what made the masks."""
    generator = cache.fingerprint.settings['generator']
    return ' '.join(str(generator[key]) for key in ('name', 'model', 'scales') if key in generator)


def table(generators: list[str], scores: list[CacheScores], min_area: int) -> str:
    """Format the scores as Markdown."""
    lines = [
        f'instances of at least {min_area} pixels in a window; IoU and recall of the best mask in %\n',
        f'| masks | mean IoU | recall at 0.5 | at 0.75 | mean IoU under {SMALL} px | parts | masks per window '
        '| coverage | ceiling mIoU |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for generator, row in zip(generators, scores, strict=True):
        shares = (row.mean_iou, row.recall_50, row.recall_75, row.small_mean_iou, row.parts_mean_iou)
        cells = [f'{100 * share:.1f}' for share in shares]
        cells += [f'{row.masks_per_window:.0f}', f'{100 * row.coverage:.0f}', f'{row.ceiling_miou:.1f}']
        lines.append(f'| {generator} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


if __name__ == '__main__':
    cli.run_command(main)
