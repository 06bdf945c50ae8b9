#!/usr/bin/env python3
"""Scores the masks of a cache against the instances of ToyPASS.

    tools/score_masks.py cache/toypass_val cache/toypass_val_sam --split val
    tools/score_masks.py cache/source_val --domain source --split val --json masks.json

Of every instance and every part (a car's windows, wheels) that a window shows, the mask that fits best counts. The
ceiling is the mIoU of labels that give each mask its true class: what fusion could reach with these masks at best.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

try:
    import numpy as np
    from PIL import Image
    from tqdm import tqdm

    from stage1_sam_cache import open_cache
    from stage1_sam_cache.commands import cli
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')
from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.errors import DatasetError
from toypass.mask_quality import best_overlaps, confusion, label_by_truth, mean_iou

CLASSES = len(LABEL_SPACES['cityscapes19'].classes)
SMALL = 400  # pixels; a third of all instances are smaller


def build_parser() -> argparse.ArgumentParser:
    """All flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('caches', nargs='+', type=cli.named_path, metavar='CACHE', help='made by tools/cache_sam.py')
    parser.add_argument('--data', type=cli.named_path, default=Path('data/ToyPASS'), help='default: %(default)s')
    parser.add_argument('--domain', choices=('source', 'target'), default='target', help='default: %(default)s')
    parser.add_argument('--split', choices=('train', 'val'), default='val', help='default: %(default)s')
    parser.add_argument('--min-area', type=int, default=32, help='of what is looked for, pixels (default: %(default)s)')
    parser.add_argument('--limit', type=int, help='only the first N images')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there as well')
    return parser


def main() -> int:
    """Prints a table with a row for each cache."""
    args = build_parser().parse_args()
    rows = []
    for root in args.caches:
        cache = open_cache(root)
        rows.append({'cache': str(root), 'generator': describe(cache), **score(cache, args)})
    print(table(rows, args.min_area))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return 0


def describe(cache: MaskCache) -> str:
    """What made the masks."""
    generator = cache.fingerprint.settings['generator']
    return ' '.join(str(generator[key]) for key in ('name', 'model', 'scales') if key in generator)


def score(cache: MaskCache, args: argparse.Namespace) -> dict[str, float]:
    """Means over all windows of a cache."""
    truth = args.data / 'truth' / args.domain / args.split
    folder = (
        truth if (args.domain, args.split) == ('target', 'train') else args.data / args.domain / 'gtFine' / args.split
    )
    best: dict[str, list[np.ndarray]] = {'instances': [], 'parts': [], 'small': []}
    counts, coverage = [], []
    matrix = np.zeros((CLASSES, CLASSES + 1), np.int64)
    for name in tqdm(list(cache)[: args.limit], desc=str(cache.path), unit='image', leave=False):
        panorama = cache[name]
        stem = name.removesuffix('_leftImg8bit')
        label_name = f'{stem}_gtFine_labelTrainIds.png' if args.domain == 'source' else f'{stem}_labelTrainIds.png'
        maps = [_read(truth / f'{stem}_{kind}.png') for kind in ('instances', 'parts')]
        labels = _read(folder / label_name)
        for box, masks in zip(panorama.grid.windows, panorama.windows, strict=True):
            for kind, numbers in zip(('instances', 'parts'), maps, strict=True):
                found = best_overlaps(masks, panorama.grid.crop(numbers, box))
                large = found.area >= args.min_area
                best[kind].append(found.best[large])
                if kind == 'instances':
                    best['small'].append(found.best[large & (found.area < SMALL)])
            counts.append(len(masks))
            coverage.append(masks.coverage)
            seen = panorama.grid.crop(labels, box)
            matrix += confusion(seen, label_by_truth(masks, seen, CLASSES), CLASSES)
    joined = {kind: np.concatenate(values) for kind, values in best.items()}
    return {
        'mean_iou': float(joined['instances'].mean()),
        'recall_50': float((joined['instances'] >= 0.5).mean()),
        'recall_75': float((joined['instances'] >= 0.75).mean()),
        'small_mean_iou': float(joined['small'].mean()),
        'parts_mean_iou': float(joined['parts'].mean()),
        'masks_per_window': float(np.mean(counts)),
        'coverage': float(np.mean(coverage)),
        'ceiling_miou': mean_iou(matrix),
        'instances': len(joined['instances']),
        'windows': len(counts),
    }


def _read(file: Path) -> np.ndarray:
    if not file.is_file():
        raise DatasetError(f'{file} does not exist; is the cache one of ToyPASS, and of this --domain and --split?')
    return np.asarray(Image.open(file))


def table(rows: list[dict[str, float]], min_area: int) -> str:
    """Markdown."""
    lines = [
        f'instances of at least {min_area} pixels in a window; IoU and recall of the best mask in %\n',
        f'| masks | mean IoU | recall at 0.5 | at 0.75 | mean IoU under {SMALL} px | parts | masks a window | coverage '
        '| ceiling mIoU |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        cells = [f'{100 * row[key]:.1f}' for key in ('mean_iou', 'recall_50', 'recall_75', 'small_mean_iou')]
        cells += [
            f'{100 * row["parts_mean_iou"]:.1f}',
            f'{row["masks_per_window"]:.0f}',
            f'{100 * row["coverage"]:.0f}',
        ]
        lines.append(f'| {row["generator"]} | ' + ' | '.join(cells) + f' | {row["ceiling_miou"]:.1f} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    cli.run_command(main)
