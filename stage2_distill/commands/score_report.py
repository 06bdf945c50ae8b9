"""The report of the command that scores: JSON file and tables of means."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.evaluation.region_scores import BANDS, RegionSettings


def report(rows: list[dict[str, Any]], config: Config, args: argparse.Namespace) -> None:
    """Write all scores, per class too, and print a table of the means; only the first process does."""
    if not is_main_process():
        return
    out = Path(args.out or Path(config.work_dir) / 'scores.json')
    out.parent.mkdir(parents=True, exist_ok=True)
    dataset = config.test_dataloader.dataset
    about = {'config': args.config, 'checkpoint': args.checkpoint}
    about |= {'dataset': dataset.get('name', dataset.get('type')), 'split': dataset.get('split')}
    if args.regions is not None:
        about['regions'] = asdict(args.regions)
    text = json.dumps({**about, 'scores': [_without_nan(row) for row in rows]}, indent=2) + '\n'
    commit(out, text.encode(), replace=True)
    print(f'\n{about["dataset"]} {about["split"]}: mIoU in %\n')
    scales = sorted({row['input_scale'] for row in rows})
    print('| mode | ' + ' | '.join(f'input scale {scale:g}' for scale in scales) + ' |')
    print('|---|' + '---|' * len(scales))
    for mode in dict.fromkeys(row['mode'] for row in rows):
        scores = {row['input_scale']: row['mIoU'] for row in rows if row['mode'] == mode}
        print(f'| {mode} | ' + ' | '.join(f'{scores[scale]:.2f}' for scale in scales) + ' |')
    if args.regions is not None:
        print_regions(rows, args.regions)
    print(f'\nall classes: {out}')


def print_regions(rows: list[dict[str, Any]], settings: RegionSettings) -> None:
    """Print the means of all scored regions, one row for each mode and input scale."""
    regions = [f'boundary: up to {100 * settings.boundary_ratio:.3g} % of the diagonal from a contour']
    if 'seam_mIoU' in rows[0]:
        regions += [f'seam: up to {settings.seam_degrees:g} degrees from it', 'top, middle, bottom: thirds of the rows']
    else:
        regions += ['the images are not panoramas, so there is no seam']
    print(f'\nmIoU in % by region ({"; ".join(regions)})\n')
    columns = {'mIoU': 'mIoU', 'boundary IoU': 'boundary_mIoU'}
    columns |= {name: f'{name}_mIoU' for name in ('seam', *BANDS) if f'{name}_mIoU' in rows[0]}
    print('| mode | input scale | ' + ' | '.join(columns) + ' |')
    print('|---|---|' + '---|' * len(columns))
    for row in rows:
        scores = ' | '.join(f'{row[key]:.2f}' for key in columns.values())
        print(f'| {row["mode"]} | {row["input_scale"]:g} | {scores} |')


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN, the score of a class that no image shows, by null, because JSON has no NaN."""
    return {name: None if value != value else value for name, value in row.items()}  # only NaN differs from itself
