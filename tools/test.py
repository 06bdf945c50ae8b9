#!/usr/bin/env python3
"""Scores a checkpoint by mIoU, on whole images or in windows, at one or more input scales.

    tools/test.py mmseg_configs/source/segformer_b0_toypass.py best.pth
    tools/test.py mmseg_configs/source/segformer_b0_toypass.py best.pth --dataset toypass --split val \\
        --mode whole slide tile --input-scale 1 2 3

Windows are given in pixels of the unscaled image and grow with the input scale; predictions are always scored at the
label's own size. 'slide' averages overlapping windows, 'tile' lays them side by side.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

try:
    from mmengine.config import Config, DictAction
    from PIL import Image

    from stage1_sam_cache import command_line as cli
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')
from stage1_sam_cache.catalog import DATASETS, list_dataset
from stage2_distill.errors import ConfigError
from stage2_distill.experiment import build_runner, choose_work_dir, read_config
from stage2_distill.safe_checkpoints import check_fit

MODES = ('whole', 'slide', 'tile')


def build_parser() -> argparse.ArgumentParser:
    """All flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights, a file or an address')
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
    parser.add_argument('--input-scale', type=float, nargs='+', default=[1.0], metavar='S', help='default: 1')
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
    """Scores every combination of mode and input scale."""
    parser = build_parser()
    args = parser.parse_args()
    if min(args.input_scale) <= 0:
        parser.error('--input-scale must be above 0')
    if (args.split or args.data_root) and not args.dataset:
        parser.error('--split and --data-root go with --dataset')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = read_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    config.load_from, config.resume = args.checkpoint, False
    choose_work_dir(config, args.config, args.work_dir)
    if args.dataset:
        use_dataset(config, args.dataset, args.split or 'val', args.data_root)
    if args.show_dir:
        config.default_hooks.visualization.update(draw=True, interval=1)
    # Nothing is trained here, and the training images need not be there.
    for name in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        config[name] = None
    for name in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        config[name] = None
    rows = []
    for mode in args.mode or [None]:
        for scale in args.input_scale:
            chosen = copy.deepcopy(config)
            if args.show_dir:
                # Pictures are named for their images alone, so each combination needs a folder of its own.
                chosen.visualizer.save_dir = str(Path(args.show_dir) / f'{mode or "config"}_{scale:g}')
                chosen.visualizer.name = f'visualizer_{mode}_{scale:g}'  # MMEngine reuses one of the same name
            scale_input(chosen, scale)
            if mode is not None:
                set_mode(chosen, mode, scale, args.window, args.stride)
            runner = build_runner(chosen, args.trust_checkpoint)
            check_fit(getattr(runner.model, 'module', runner.model), args.checkpoint, args.trust_checkpoint)
            found = runner.test()
            rows.append({'mode': mode or chosen.model.test_cfg.mode, 'input_scale': scale, **found})
    report(rows, config, args)
    return 0


def use_dataset(config: Config, name: str, split: str, root: str | None) -> None:
    """Scores another data set than the config's, at its own size."""
    loader = config.test_dataloader
    loader.dataset = {
        'type': 'CatalogueDataset',
        'name': name,
        'split': split,
        'root': root,
        'test_mode': True,
        'pipeline': [{'type': 'LoadImageFromFile'}, {'type': 'LoadAnnotations'}, {'type': 'PackSegInputs'}],
    }


def scale_input(config: Config, scale: float) -> None:
    """Adds a resize after the image is loaded and before its label is, so that the label keeps its size."""
    if scale != 1:
        pipeline = list(config.test_dataloader.dataset.pipeline)
        place = next(i for i, step in enumerate(pipeline) if step['type'] == 'LoadAnnotations')
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
        first = list_dataset(dataset.name, dataset.split, dataset.get('root')).samples[0].image
        with Image.open(first) as image:
            window = image.height, max(1, image.width // 4)
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
    print(f'\nall classes: {out}')


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """Null for a class that is nowhere, because JSON knows no nan."""
    return {name: None if value != value else value for name, value in row.items()}  # only nan differs from itself


if __name__ == '__main__':
    cli.run_command(main)
