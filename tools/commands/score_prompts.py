"""Scores SAM's answers to prompts on windows with known masks, with and without adapters (docs/wesam.md).

    tools/score_prompts.py cache/truth_val --dataset toypass --split val --sam toy
    tools/score_prompts.py cache/truth_val --dataset toypass --split val --sam toy --adapter work_dirs/*/*.safetensors

The prompts are made of the masks of CACHE, the same for each row; the IoU is that of an answer and the mask that it was
asked for, averaged within a window and then over the windows. The first row is SAM without an adapter.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stage1_sam_cache.adaptation.settings import PROMPT_TYPES, AdaptSettings
from stage1_sam_cache.cache.reader import MaskCache, open_cache
from stage1_sam_cache.commands import cli, flag_values, sam_flags, shared_flags
from stage1_sam_cache.data.listing import Listing
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.launched import require_one_process

BASE = 'without adapter'


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cache', type=flag_values.named_path, metavar='CACHE', help='mask cache of these images')
    shared_flags.add_image_flags(parser)
    model = parser.add_argument_group('model')
    sam_flags.add_sam_flags(model)
    model.add_argument(
        '--adapter', type=flag_values.named_path, nargs='+', default=[], metavar='FILE', help='a row for each of these'
    )
    model.add_argument('--device', default='auto', help='cpu, cuda, ... (default: a GPU where there is one)')
    scores = parser.add_argument_group('scores')
    scores.add_argument(
        '--prompt-types',
        nargs='+',
        choices=PROMPT_TYPES,
        default=['box', 'point1', 'point', 'coarse'],
        help='columns (default: box point1 point coarse)',
    )
    scores.add_argument('--min-area', type=flag_values.positive, default=32, help='in pixels (default: %(default)s)')
    scores.add_argument(
        '--instances', type=flag_values.positive, default=40, help='most masks of a window (default: %(default)s)'
    )
    scores.add_argument('--limit', type=flag_values.positive, metavar='N', help='only the first N panoramas')
    scores.add_argument('--json', type=Path, metavar='FILE', help='also write the figures to a file')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print a table with a row for each adapter, each as soon as it is measured."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/score_prompts.py', os.environ)
    if args.json:
        cli.make_parent(args.json, '--json')
    cache = open_cache(args.cache)
    listing = shared_flags.list_images(parser, args)
    if status := shared_flags.report_refused(listing.refused, args.skip_refused):
        return status
    rows: list[dict[str, Any]] = []
    for row in score(args, cache, listing):
        rows.append(row)
        if len(rows) == 1:
            print(heading(row))
        print(table_row(row), flush=True)
        if args.json:
            commit(args.json, json.dumps(rows, indent=1).encode(), replace=True)
    return 0


def score(args: argparse.Namespace, cache: MaskCache, listing: Listing) -> Iterator[dict[str, Any]]:
    """Yield a row for the plain SAM and for each adapter: adapter, steps, number of windows, IoU by kind of prompt."""
    from stage1_sam_cache.adaptation.prompted_quality import prompted_quality
    from stage1_sam_cache.adaptation.window_dataset import WindowDataset
    from stage1_sam_cache.sam.adapter import read_adapter
    from stage1_sam_cache.system.devices import choose_device

    adapters = [None, *(read_adapter(path) for path in args.adapter)]
    settings = AdaptSettings(
        prompt_types=tuple(args.prompt_types), min_area=args.min_area, instances=args.instances, max_share=1.0
    )
    device = choose_device(args.device, os.environ)
    for adapter in adapters:
        sam, digest = sam_flags.load_chosen_sam(args)
        if adapter:
            adapter.merge(sam, sam_flags.model_of(args), digest)
        dataset = WindowDataset(
            listing.samples[: args.limit],
            cache,
            settings,
            sam.image_encoder.img_size,
            sam.prompt_encoder.mask_input_size[0],
            augmented=False,
            overlaps=False,
        )
        name = str(adapter.path) if adapter else BASE
        windows = (dataset[i] for i in tqdm(range(len(dataset)), name[-40:], unit='window'))
        found = prompted_quality(sam.to(device), windows)
        about = {'adapter': name, 'steps': adapter.notes.steps if adapter else 0}
        yield {**about, 'windows': len(dataset), 'windows_without_masks': dataset.empty, 'iou': found}


def heading(first: Mapping[str, Any]) -> str:
    """What stands above the rows, as Markdown."""
    kinds = list(first['iou'])
    return '\n'.join(
        [
            f'{first["windows"]} windows, {first["windows_without_masks"]} more have no mask; IoU in %\n',
            '| adapter | steps | ' + ' | '.join(kinds) + ' |',
            '|---|---|' + '---|' * len(kinds),
        ]
    )


def table_row(row: Mapping[str, Any]) -> str:
    """One row as Markdown."""
    cells = [f'{100 * iou:.2f}' for iou in row['iou'].values()]
    return f'| {row["adapter"]} | {row["steps"]} | ' + ' | '.join(cells) + ' |'
