"""The report of the command that scores: JSON file and tables of means."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from stage1_sam_cache.commands import cli
from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.evaluation.coverage import Coverage
from stage2_distill.evaluation.region_scores import BANDS, RegionSettings


def report(rows: list[dict[str, Any]], coverage: Coverage, config: Config, args: argparse.Namespace) -> None:
    """Write all scores, per class too, and print a table of the means; only the first process does.

    The last line says how many images the scores are of.
    """
    if not is_main_process():
        return
    dataset = config.test_dataloader.dataset
    about = {'config': args.config, 'checkpoint': args.checkpoint}
    name = dataset.get('name') or dataset.get('images') or dataset.get('type')
    about |= {'dataset': name, 'split': dataset.get('split'), 'images': coverage.record()}
    if args.regions is not None:
        about['regions'] = asdict(args.regions)
    print(f'\n{" ".join(filter(None, (name, about["split"])))}: mIoU in %\n')
    scales = sorted({row['input_scale'] for row in rows})
    print('| mode | ' + ' | '.join(f'input scale {scale:g}' for scale in scales) + ' |')
    print('|---|' + '---|' * len(scales))
    for mode in dict.fromkeys(row['mode'] for row in rows):
        scores = {row['input_scale']: row['mIoU'] for row in rows if row['mode'] == mode}
        print(f'| {mode} | ' + ' | '.join(f'{scores[scale]:.2f}' for scale in scales) + ' |')
    if args.regions is not None:
        print_regions(rows, args.regions)
    print()
    for names, of in absent_classes(rows).items():
        which = '' if len(of) == len(rows) else f' ({"; ".join(of)})'
        print(f'in no label and no prediction, so not in the mean: {", ".join(names)}{which}')
    out = score_file(config, args)
    text = json.dumps({**about, 'scores': [_without_nan(row) for row in rows]}, indent=2) + '\n'
    commit(out, text.encode(), replace=True)  # the last step, so that scores are printed even if the disk is full
    print(f'all classes: {out}')
    print(coverage.line)


def score_file(config: Config, args: argparse.Namespace) -> Path:
    """Return the file of the scores; its folder is made, which is tried before anything is scored.

    Raises:
        GoodSAMError: If it is a folder, or its folder can't be made.
    """
    out = Path(args.out or Path(config.work_dir) / 'scores.json')
    cli.make_parent(out, '--out' if args.out else '--work-dir')
    return out


def absent_classes(rows: list[dict[str, Any]]) -> dict[tuple[str, ...], list[str]]:
    """Return the classes that have no IoU, with the rows in which these have none."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        names = tuple(name.removeprefix('IoU.') for name, x in row.items() if name.startswith('IoU.') and x != x)
        if names:
            found.setdefault(names, []).append(f'{row["mode"]}, input scale {row["input_scale"]:g}')
    return found


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
        scores = ' | '.join('-' if row[key] != row[key] else f'{row[key]:.2f}' for key in columns.values())
        print(f'| {row["mode"]} | {row["input_scale"]:g} | {scores} |')


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN, the score of a class that no image shows, by null, because JSON has no NaN."""
    return {name: None if value != value else value for name, value in row.items()}  # only NaN differs from itself
