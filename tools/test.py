#!/usr/bin/env python3
"""Scores a checkpoint by mIoU.

    tools/test.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth
    tools/test.py mmseg_configs/goodsam_b0.py best.pth --cache cache/densepass_val       # the ensemble too
    tools/test.py mmseg_configs/source/segformer_b0_toypass.py best.pth
    tools/test.py mmseg_configs/source/segformer_b0_toypass.py best.pth --dataset toypass --split val \\
        --mode whole slide tile --input-scale 1 2 3

Of a GoodSAM training it scores the student on whole panoramas, the teacher assistant in windows side by side (ta_tile)
and averaged (ta_slide), and, with the masks of the scored images, the ensemble labels. Of any other network it scores
whole images, or windows (--mode, --window, --stride): 'slide' averages them, 'tile' lays them side by side. Windows are
given in pixels of the unscaled image and grow with the input scale; predictions are always scored at the label's size.

With --regions a second table has boundary IoU, and of panoramas the mIoU near the 0/360 degree seam and in the upper,
middle and lower third of the rows; stage2_distill/evaluation/region_scores.py says how they are counted.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

try:
    from mmengine.config import Config, DictAction

    from stage1_sam_cache.commands import cli
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.region_scores import BANDS, RegionSettings
from stage2_distill.evaluation.scoring import (
    drop_training,
    image_size,
    model_space,
    score,
    scores_of,
    use_cache,
    use_dataset,
    use_predictors,
)
from stage2_distill.models.goodsam import NETWORKS, PREDICTORS
from stage2_distill.training.experiment import choose_work_dir, read_config

MODES = ('whole', 'slide', 'tile')


def build_parser() -> argparse.ArgumentParser:
    """All flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='weights, a file or an address; without one the initial weights of a GoodSAM config are scored',
    )
    parser.add_argument('--work-dir', help='where logs and results go (default: work_dirs/<config>)')
    parser.add_argument('--dataset', choices=sorted(DATASETS), help="a data set of the catalogue, not the config's")
    parser.add_argument('--split', help='its split (default: val)')
    parser.add_argument('--data-root', metavar='DIR', help='its folder (default: data/<Name>)')
    parser.add_argument('--mode', nargs='+', choices=MODES, help="(default: the config's)")
    parser.add_argument(
        '--window',
        type=cli.pixel_pair,
        metavar='HxW',
        help='of slide and tile (default: all rows, 1/4 of the columns)',
    )
    parser.add_argument('--stride', type=cli.pixel_pair, metavar='HxW', help='of slide (default: half a window across)')
    parser.add_argument(
        '--input-scale',
        type=float,
        nargs='+',
        metavar='S',
        help="how much images, or the assistant's windows, are enlarged (default: 1, or the config's)",
    )
    parser.add_argument(
        '--label-space', choices=sorted(LABEL_SPACES), help="score these classes (default: --dataset's)"
    )
    parser.add_argument('--cache', metavar='DIR', help='masks of the scored images, for the ensemble of GoodSAM')
    parser.add_argument('--predictor', nargs='+', choices=PREDICTORS, help="of GoodSAM (default: the config's)")
    parser.add_argument('--wrap', action='store_true', help='let the student see across the 0/360 degree seam')
    parser.add_argument('--regions', action='store_true', help='also score contours, the seam and bands of latitude')
    cli.add_settings_flags(parser, RegionSettings, 'settings of --regions')
    parser.add_argument('--out', metavar='FILE', help='JSON file of the scores (default: <work dir>/scores.json)')
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of the predictions there')
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='let the checkpoint run code; only for files that you made'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config, as in train.py'
    )
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def main() -> int:
    """Scores every combination of mode or predictor and input scale."""
    parser = build_parser()
    args = parser.parse_args()
    if min(args.input_scale or [1]) <= 0:
        parser.error('--input-scale must be above 0')
    if (args.split or args.data_root or args.label_space) and not args.dataset:
        parser.error('--split, --data-root and --label-space go with --dataset')
    region_values = cli.given_settings(args, RegionSettings)
    if region_values and not args.regions:
        parser.error(f'--{next(iter(region_values)).replace("_", "-")} goes with --regions')
    args.regions = cli.make_settings(parser, RegionSettings, region_values) if args.regions else None
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = read_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    config.load_from, config.resume = args.checkpoint, False
    choose_work_dir(config, args.config, args.work_dir)
    if not config.get('test_dataloader'):
        raise ConfigError(f'{args.config} has no labelled data to score on; give a config of these networks that has')
    if args.dataset:
        use_dataset(config, args.dataset, args.split or 'val', args.data_root, args.label_space)
    if args.show_dir:
        config.default_hooks.visualization.update(draw=True, interval=1)
    drop_training(config)
    goodsam = config.model.type == 'GoodSAM'
    given = [name for name in ('mode', 'window', 'stride') if getattr(args, name)]
    if goodsam and given:
        parser.error(f'--{given[0]} is for plain networks; a GoodSAM config sets its own windows')
    if not goodsam and args.checkpoint is None:
        parser.error('a checkpoint is needed')
    if not goodsam and (args.cache or args.predictor or args.wrap):
        parser.error('--cache, --predictor and --wrap are for GoodSAM configs')
    rows = score_goodsam(config, args) if goodsam else score_network(config, args)
    report(rows, config, args)
    return 0


def score_network(config: Config, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for every mode and input scale of a plain network."""
    use_regions(config, args.regions)
    rows = []
    for mode in args.mode or [None]:
        for scale in args.input_scale or [1.0]:
            chosen = copy.deepcopy(config)
            if args.show_dir:
                # Pictures are named for their images alone, so each combination needs a folder of its own.
                chosen.visualizer.save_dir = str(Path(args.show_dir) / f'{mode or "config"}_{scale:g}')
                chosen.visualizer.name = f'visualizer_{mode}_{scale:g}'  # MMEngine reuses one of the same name
            scale_input(chosen, scale)
            if mode is not None:
                set_mode(chosen, mode, scale, args.window, args.stride)
            found = score(chosen, args.checkpoint, args.trust_checkpoint)
            rows.append({'mode': mode or chosen.model.test_cfg.mode, 'input_scale': scale, **found})
    return rows


def score_goodsam(config: Config, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for every predictor and input scale of a GoodSAM training."""
    predictors = args.predictor or list(config.model.test_cfg.predictors)
    if args.cache and 'ensemble' not in predictors:
        predictors = [*predictors, 'ensemble']
    if 'ensemble' in predictors:
        use_cache(config, args.cache)
    else:
        print('the ensemble is not scored: it needs the masks of these images, --cache')
    if args.wrap:
        first = config.test_dataloader.dataset
        width = image_size(first)[1]
        config.model.wrap_columns = width // 8
    dataset = config.test_dataloader.dataset
    space = dataset.get('label_space') or DATASETS[dataset.name].label_space
    if args.show_dir and space != model_space(config):
        raise ConfigError(f'--show-dir draws labels and predictions alike, but here {space} is scored; use predict.py')
    use_predictors(config, predictors)
    use_regions(config, args.regions)
    rows = []
    for scale in args.input_scale or [config.model.ta_input_scale]:
        chosen = copy.deepcopy(config)
        chosen.model.ta_input_scale = scale
        if args.checkpoint:
            for network in NETWORKS:
                chosen.model[network].init_cfg = None  # the checkpoint has all weights
        if args.show_dir:
            chosen.visualizer.save_dir = str(Path(args.show_dir) / f'student_{scale:g}')
            chosen.visualizer.name = f'visualizer_{scale:g}'
        found = score(chosen, args.checkpoint, args.trust_checkpoint)
        rows += [{'mode': name, 'input_scale': scale, **scores_of(found, name)} for name in predictors]
    return rows


def use_regions(config: Config, settings: RegionSettings | None) -> None:
    """Lets the config's metrics score regions too, unless there are no settings.

    Raises:
        ConfigError: If it is not known whether the images are panoramas, or the metric can't do it.
    """
    if settings is None:
        return
    dataset = config.test_dataloader.dataset
    entry = DATASETS.get(dataset.get('name')) if dataset.get('type') == 'CatalogueDataset' else None
    if entry is None:
        raise ConfigError('--regions needs images of the catalogue, which knows what is a panorama; give --dataset')
    split = entry.splits.get(dataset.get('split') or entry.default_split)
    closed = entry.closed and not (split and split.pinhole)
    for metric in config.test_evaluator if isinstance(config.test_evaluator, list) else [config.test_evaluator]:
        if metric.type != 'PerClassIoUMetric':
            raise ConfigError(f'--regions needs the metric PerClassIoUMetric; the config scores by {metric.type}')
        metric.update(regions=asdict(settings), closed=closed)


def scale_input(config: Config, scale: float) -> None:
    """Adds a resize after the image is loaded and before its label is, so that the label keeps its size."""
    if scale != 1:
        pipeline = list(config.test_dataloader.dataset.pipeline)
        place = next(i for i, step in enumerate(pipeline) if step['type'] in ('LoadAnnotations', 'LoadLabel'))
        pipeline.insert(place, {'type': 'Resize', 'scale_factor': scale, 'keep_ratio': True})
        config.test_dataloader.dataset.pipeline = pipeline


def set_mode(
    config: Config, mode: str, scale: float, window: tuple[int, int] | None, stride: tuple[int, int] | None
) -> None:
    """Sets how the model is run over an image.

    Raises:
        ConfigError: If the windows can't be worked out because the images are not the catalogue's.
    """
    if mode == 'whole':
        config.model.test_cfg = {'mode': 'whole'}
        return
    if window is None:
        dataset = config.test_dataloader.dataset
        if dataset.get('type') != 'CatalogueDataset':
            raise ConfigError(f'--mode {mode} needs --window for a {dataset.get("type")}')
        height, width = image_size(dataset)
        window = height, max(1, width // 4)
    if mode == 'tile':
        stride = window
    elif stride is None:
        stride = window[0], max(1, window[1] // 2)
    size, step = (tuple(max(1, round(scale * side)) for side in pair) for pair in (window, stride))
    config.model.test_cfg = {'mode': 'slide', 'crop_size': size, 'stride': step}


def report(rows: list[dict[str, Any]], config: Config, args: argparse.Namespace) -> None:
    """Writes all scores, per class too, and prints a table of the means; only the first process does."""
    if int(os.environ.get('RANK', 0)):
        return
    out = Path(args.out or Path(config.work_dir) / 'scores.json')
    out.parent.mkdir(parents=True, exist_ok=True)
    dataset = config.test_dataloader.dataset
    about = {'config': args.config, 'checkpoint': args.checkpoint}
    about |= {'dataset': dataset.get('name', dataset.get('type')), 'split': dataset.get('split')}
    if args.regions is not None:
        about['regions'] = asdict(args.regions)
    out.write_text(
        json.dumps({**about, 'scores': [_without_nan(row) for row in rows]}, indent=2) + '\n', encoding='utf-8'
    )
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
    """Prints the means of all regions that were scored, one row for each mode and input scale."""
    regions = [f'boundary: up to {100 * settings.boundary_ratio:.3g} % of the diagonal from a contour']
    if 'seam_mIoU' in rows[0]:
        regions += [f'seam: up to {settings.seam_degrees:g} degrees from it', 'top, middle, bottom: thirds of the rows']
    else:
        regions += ['these are no panoramas, so there is no seam']
    print(f'\nmIoU in % by region ({"; ".join(regions)})\n')
    columns = {'mIoU': 'mIoU', 'boundary IoU': 'boundary_mIoU'}
    columns |= {name: f'{name}_mIoU' for name in ('seam', *BANDS) if f'{name}_mIoU' in rows[0]}
    print('| mode | input scale | ' + ' | '.join(columns) + ' |')
    print('|---|---|' + '---|' * len(columns))
    for row in rows:
        scores = ' | '.join(f'{row[key]:.2f}' for key in columns.values())
        print(f'| {row["mode"]} | {row["input_scale"]:g} | {scores} |')


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """Null for a class that is nowhere, because JSON knows no nan."""
    return {name: None if value != value else value for name, value in row.items()}  # only nan differs from itself


if __name__ == '__main__':
    cli.run_command(main)
