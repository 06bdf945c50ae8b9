"""Scores the masks of a cache against the instances of ToyPASS.

    tools/score_masks.py cache/toypass
    tools/score_masks.py cache/toypass_val cache/toypass_val_sam --split val
    tools/score_masks.py cache/source_val --domain source --split val --json masks.json
    tools/score_masks.py cache/toypass_val --config goodsam_b0_toypass.py    # and the ensembles they give

Each instance and each part (a car's windows, wheels) in a window is compared with the mask that fits best. The ceiling
is the mIoU of labels that give each mask its true class: the best that any fusion could reach with these masks.

With --config, a GoodSAM config, a second table has the ensemble labels that fusions make of the masks and of the
config's teacher assistant, before any training: their mIoU, the share of the pixels with weight 1 (M = 1), and how many
of the labels are right there and elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stage1_sam_cache import open_cache
from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.flags import add_config_flag, add_trust_flag, add_weights_flag
from stage2_distill.libraries import import_libraries
from toypass.truth.cache_scores import SMALL, CacheScores, find_split, score_cache
from toypass.truth.truth_files import SPLITS, TruthFiles


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'caches', nargs='+', type=flag_values.named_path, metavar='CACHE', help='made by tools/cache_sam.py'
    )
    parser.add_argument(
        '--data', type=flag_values.named_path, default=Path('data/ToyPASS'), help='default: %(default)s'
    )
    parser.add_argument('--domain', choices=('source', 'target'), default='target', help='default: %(default)s')
    parser.add_argument('--split', choices=SPLITS, help="default: the one that has the first cache's images")
    parser.add_argument(
        '--min-area', type=int, default=32, help='smallest segment that counts, in pixels (default: %(default)s)'
    )
    parser.add_argument('--limit', type=int, help='only the first N images')
    parser.add_argument('--config', help='GoodSAM config whose assistant and images score ensembles (val panoramas)')
    add_config_flag(parser)
    add_trust_flag(parser)
    add_weights_flag(parser)
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures to a file')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print a table with a row per cache."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/score_masks.py', os.environ)
    if min(args.min_area, 1 if args.limit is None else args.limit) < 1:
        parser.error('--limit and --min-area have to be at least 1')
    if args.json:
        cli.make_parent(args.json, '--json')
    caches = [open_cache(root) for root in args.caches]
    split = args.split or find_split(args.data, args.domain, caches[0])
    if args.config and (args.domain, split) != ('target', 'val'):
        parser.error(f'--config scores the ensembles of --domain target --split val, not of {args.domain} {split}')
    truth = TruthFiles(args.data, args.domain, split)
    generators = [describe(cache) for cache in caches]
    scores = [score_cache(cache, truth, args.min_area, args.limit) for cache in caches]
    print(table(generators, scores, args.min_area))
    rows: list[dict[str, Any]] = [
        {'cache': str(root), 'generator': generator, **row._asdict()}
        for root, generator, row in zip(args.caches, generators, scores, strict=True)
    ]
    if args.config:
        # These import networks, which the other scores do without.
        import_libraries()
        from ablation.ensembles import score_ensembles
        from stage2_distill.training.experiment import read_config

        config = read_config(args.config, args.cfg_options)
        config.test_dataloader.dataset.root = str(args.data)
        assistant, ensembles = score_ensembles(config, caches, args.limit, args.trust_checkpoint)
        print(ensemble_table(generators, assistant, ensembles))
        for row, by_fusion in zip(rows, ensembles, strict=True):
            row |= {'assistant': assistant, 'ensembles': {name: s._asdict() for name, s in by_fusion.items()}}
    if args.json:
        commit(args.json, json.dumps(rows, indent=1).encode(), replace=True)
    for cache, found in zip(caches, scores, strict=True):
        print(f'{cache.path}: {coverage_line(found.images, len(cache), truth.image_count())}')
    return 0


def coverage_line(scored: int, cached: int, images: int) -> str:
    """Return how many images of the split the scores of a cache are of, and why others are not among them."""
    reasons = [f'{cached - scored} (over the limit)'] if cached > scored else []
    reasons += [f'{images - cached} (not cached)'] if images > cached else []
    return f'{scored} of {images} images scored' + (f'; skipped: {", ".join(reasons)}' if reasons else '')


def describe(cache: MaskCache) -> str:
    """Return what made the masks."""
    generator = cache.fingerprint.settings['generator']
    words = [str(generator[key]) for key in ('name', 'model', 'scales') if key in generator]
    damage = ('merge', 'cut', 'rough', 'erode', 'drop')
    return ' '.join([*words, *(f'{kind} {generator[kind]:g}' for kind in damage if generator.get(kind))])


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
        cells = ['-' if share != share else f'{100 * share:.1f}' for share in shares]  # NaN: there are none
        cells += [f'{row.masks_per_window:.0f}', f'{100 * row.coverage:.0f}', f'{row.ceiling_miou:.1f}']
        lines.append(f'| {generator} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def ensemble_table(generators: list[str], assistant: float, ensembles: Sequence[Mapping[str, Any]]) -> str:
    """Format the scores of ensembles as Markdown; the assistant's mIoU is above them."""
    lines = [f'\nensemble labels in %; the assistant alone, in tiled windows, has an mIoU of {assistant:.2f}\n']
    lines += ['| masks | fusion | mIoU | M = 1 | right at M = 1 | right at M = 0 |', '|---|---|---|---|---|---|']
    for generator, by_fusion in zip(generators, ensembles, strict=True):
        for fusion, row in by_fusion.items():
            shares = ' | '.join('' if share != share else f'{share:.1f}' for share in row[1:])  # only NaN is not itself
            lines.append(f'| {generator} | {fusion} | {row.miou:.2f} | {shares} |')
    return '\n'.join(lines)
