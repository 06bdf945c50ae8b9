"""Scores a checkpoint by mIoU.

    tools/test.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth
    tools/test.py mmseg_configs/goodsam_b0.py best.pth --cache cache/densepass_val       # the ensemble too
    tools/test.py mmseg_configs/source/segformer_b0_toypass.py best.pth
    tools/test.py mmseg_configs/source/segformer_b0_toypass.py best.pth --dataset toypass --split val \\
        --mode whole slide tile --input-scale 1 2 3

For a GoodSAM config it scores the student on whole panoramas, the teacher assistant in windows side by side (ta_tile)
and averaged (ta_slide), and, with the masks of the scored images, the ensemble labels. For any other network it scores
whole images, or windows (--mode, --window, --stride): 'slide' averages them, 'tile' lays them side by side. Windows are
given in pixels of the unscaled image and grow with the input scale; predictions are always scored at the label's size.

With --regions a second table has boundary IoU, and for panoramas the mIoU near the 0/360 degree seam and in the upper,
middle and lower third of the rows; stage2_distill/evaluation/region_scores.py says how they are counted.
"""

from __future__ import annotations

import argparse
import copy
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from stage1_sam_cache.commands import cli
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill.commands.flags import add_config_flag, add_launcher_flags, add_trust_flag, launcher_of
from stage2_distill.commands.score_report import report
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.region_scores import RegionSettings
from stage2_distill.evaluation.scored_config import scale_input, set_mode, use_regions
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
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one of the project')
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
        help='window of slide and tile (default: all rows, 1/4 of the columns)',
    )
    parser.add_argument(
        '--stride', type=cli.pixel_pair, metavar='HxW', help='stride of slide (default: half a window across)'
    )
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
    parser.add_argument(
        '--predictor', nargs='+', choices=PREDICTORS, help="predictors of GoodSAM (default: the config's)"
    )
    parser.add_argument('--wrap', action='store_true', help='let the student see across the 0/360 degree seam')
    parser.add_argument('--regions', action='store_true', help='also score contours, the seam and bands of latitude')
    cli.add_settings_flags(parser, RegionSettings, 'settings of --regions')
    parser.add_argument('--out', metavar='FILE', help='JSON file of the scores (default: <work dir>/scores.json)')
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of the predictions there')
    add_trust_flag(parser)
    add_config_flag(parser)
    add_launcher_flags(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Score every combination of mode or predictor and input scale, and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check_flags(parser, args)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = changed_config(args)
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


def check_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, and replace ``args.regions`` by the settings of --regions or None."""
    if min(args.input_scale or [1]) <= 0:
        parser.error('--input-scale must be above 0')
    if (args.split or args.data_root or args.label_space) and not args.dataset:
        parser.error('--split, --data-root and --label-space go with --dataset')
    region_values = cli.given_settings(args, RegionSettings)
    if region_values and not args.regions:
        parser.error(f'--{next(iter(region_values)).replace("_", "-")} goes with --regions')
    args.regions = cli.make_settings(parser, RegionSettings, region_values) if args.regions else None


def changed_config(args: argparse.Namespace) -> Config:
    """Return the config without training and with the changes that the flags ask for.

    Raises:
        ConfigError: If there is nothing to score on.
    """
    config = read_config(args.config, args.cfg_options)
    config.launcher = launcher_of(args.launcher, os.environ)
    config.load_from, config.resume = args.checkpoint, False
    choose_work_dir(config, args.config, args.work_dir)
    if not config.get('test_dataloader'):
        raise ConfigError(f'{args.config} has no labelled data to score on', 'give a config of these networks that has')
    if args.dataset:
        use_dataset(config, args.dataset, args.split or 'val', args.data_root, args.label_space)
    drop_training(config)
    return config


def draw_into(config: Config, show_dir: str | None, name: str) -> None:
    """Let a config draw its predictions into a folder of ``show_dir``: pictures are named after their images only."""
    if show_dir:
        from stage2_distill.evaluation.pictures import PictureHook  # registered so, whatever the config imports

        folder = str(Path(show_dir, name))
        config.default_hooks.visualization = {'type': PictureHook.__name__, 'draw': True, 'folder': folder}


def score_network(config: Config, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for every mode and input scale of a plain network."""
    use_regions(config, args.regions)
    rows = []
    for mode in args.mode or [None]:
        for scale in args.input_scale or [1.0]:
            chosen = copy.deepcopy(config)
            draw_into(chosen, args.show_dir, f'{mode or "config"}_{scale:g}')
            scale_input(chosen, scale)
            if mode is not None:
                set_mode(chosen, mode, scale, args.window, args.stride)
            scores = score(chosen, args.checkpoint, args.trust_checkpoint)
            rows.append({'mode': mode or chosen.model.test_cfg.mode, 'input_scale': scale, **scores})
    return rows


def score_goodsam(config: Config, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for every predictor and input scale of a GoodSAM config."""
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
        raise ConfigError(
            f'--show-dir draws labels and predictions alike, but here {space} is scored; use tools/predict.py'
        )
    use_predictors(config, predictors)
    use_regions(config, args.regions)
    rows = []
    for scale in args.input_scale or [config.model.ta_input_scale]:
        chosen = copy.deepcopy(config)
        chosen.model.ta_input_scale = scale
        if args.checkpoint:
            for network in NETWORKS:
                chosen.model[network].init_cfg = None  # the checkpoint has all weights
        draw_into(chosen, args.show_dir, f'student_{scale:g}')
        scores = score(chosen, args.checkpoint, args.trust_checkpoint)
        rows += [{'mode': name, 'input_scale': scale, **scores_of(scores, name)} for name in predictors]
    return rows
