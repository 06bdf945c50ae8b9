"""The rows of tools/test.py: configs changed as its flags say, scored one after the other, and reported."""

from __future__ import annotations

import argparse
import copy
import json
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from stage1_sam_cache.commands import cli
from stage1_sam_cache.data.own_labels import LabelIds
from stage2_distill.commands.flags import launcher_of, use_refusal_flags
from stage2_distill.commands.score_report import report, score_file
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.coverage import Coverage
from stage2_distill.evaluation.pictures import PictureHook
from stage2_distill.evaluation.scored_config import scale_input, set_mode, space_of, use_regions
from stage2_distill.evaluation.scoring import (
    drop_training,
    image_size,
    model_space,
    score,
    scores_of,
    use_cache,
    use_dataset,
    use_images,
    use_predictors,
)
from stage2_distill.models.names import NETWORKS, SEQUENCE
from stage2_distill.training.experiment import choose_work_dir, read_config

Rows = tuple[list[dict[str, Any]], Coverage]


def score_rows(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Score every combination of mode or predictor and input scale, write the scores and print them.

    Raises:
        GoodSAMError: If config, checkpoint, images, labels or masks can't be used.
    """
    config = changed_config(args)
    goodsam = config.model.type == 'GoodSAM'
    given = [name for name in ('mode', 'window', 'stride') if getattr(args, name)]
    if goodsam and given:
        parser.error(f'--{given[0]} is for plain networks; a GoodSAM config sets its own windows')
    sequence = (config.model.get('test_cfg') or {}).get('mode') == SEQUENCE
    if sequence and (args.mode or args.input_scale):
        parser.error(f'{config.model.type} sees sequences of its own windows: leave out --mode and --input-scale')
    if sequence and args.stride and not args.window:
        parser.error('--stride goes with --window')
    if not goodsam and not sequence and (args.window or args.stride) and not args.mode:
        parser.error('--window and --stride go with --mode slide or tile')
    if not goodsam and args.checkpoint is None:
        parser.error('a checkpoint is needed')
    if not goodsam and (args.cache or args.predictor or args.wrap):
        parser.error('--cache, --predictor and --wrap are for GoodSAM configs')
    score_file(config, args)
    if args.show_dir:
        cli.make_folder(Path(args.show_dir), '--show-dir')
    rows, coverage = score_goodsam(config, args) if goodsam else score_network(config, args)
    report(rows, coverage, config, args)


def changed_config(args: argparse.Namespace) -> Config:
    """Return the config without training and with the changes that the flags ask for.

    Raises:
        ConfigError: If there is nothing to score on, or --label-ids is no encoding and no table.
    """
    config = read_config(args.config, args.cfg_options)
    config.launcher = launcher_of(args.launcher, os.environ)
    config.load_from, config.resume = args.checkpoint, False
    choose_work_dir(config, args.config, args.work_dir)
    if (args.images or args.dataset) and not config.get('test_dataloader'):
        use_defaults(config)
    if args.images:
        ids = read_label_ids(args.label_ids)
        use_images(config, str(args.images), str(args.labels), args.label_space, ids, args.limit)
    if not config.get('test_dataloader'):
        raise ConfigError(
            f'{args.config} has no labelled data to score on',
            'give some: --images and --labels, or --dataset',
        )
    if args.dataset:
        use_dataset(config, args.dataset, args.split or 'val', args.data_root, args.label_space, args.limit)
    elif args.limit:
        config.test_dataloader.dataset.limit = args.limit
    use_refusal_flags(config.test_dataloader.dataset, args)
    drop_training(config)
    return config


def use_defaults(config: Config) -> None:
    """Give a config without labelled data the loader and metric that score any; images are set afterwards."""
    sampler = {'type': 'DefaultSampler', 'shuffle': False}
    config.test_dataloader = {'batch_size': 1, 'num_workers': 1, 'sampler': sampler, 'dataset': {}}
    config.test_cfg = {'type': 'TestLoop'}
    config.test_evaluator = [{'type': 'PerClassIoUMetric', 'iou_metrics': ['mIoU'], 'model_space': 'cityscapes19'}]


def read_label_ids(given: str | None) -> LabelIds | None:
    """Return what --label-ids names: an encoding, or the table in a JSON file.

    Raises:
        ConfigError: If the file can't be read or holds no table.
    """
    if given is None or not (Path(given).suffix or Path(given).is_file()):
        return given
    try:
        table = json.loads(Path(given).read_text(encoding='utf-8-sig'), object_pairs_hook=_unique)
    except (OSError, ValueError) as problem:
        raise ConfigError(f'--label-ids {given} cannot be read: {problem}') from problem
    if not isinstance(table, dict):
        raise ConfigError(f'--label-ids {given} is no table', 'write {"3": "road", "9": "ignore"} and so on')
    return {key: str(name) for key, name in table.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dictionary; where a key is given twice, JSON itself takes the last."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f'{key!r} is given twice')
        table[key] = value
    return table


def draw_into(config: Config, show_dir: str | None, name: str) -> None:
    """Let a config draw its predictions into a folder of ``show_dir``: pictures are named after their images only."""
    if show_dir:
        folder = str(Path(show_dir, name))
        config.default_hooks.visualization = {'type': PictureHook.__name__, 'draw': True, 'folder': folder}


def score_network(config: Config, args: argparse.Namespace) -> Rows:
    """Return one row for every mode and input scale of a plain network, and the images that they are of."""
    use_regions(config, args.regions)
    if args.window and not args.mode:  # of a network that sees sequences
        config.model.grid = {'window': args.window, 'stride': args.stride or args.window}
    rows: list[dict[str, Any]] = []
    for mode in args.mode or [None]:
        for scale in args.input_scale or [1.0]:
            chosen = copy.deepcopy(config)
            draw_into(chosen, args.show_dir, f'{mode or "config"}_{scale:g}')
            scale_input(chosen, scale)
            if mode is not None:
                set_mode(chosen, mode, scale, args.window, args.stride)
            scores, coverage = score(chosen, args.checkpoint, args.trust_checkpoint, check=not rows)
            rows.append({'mode': mode or chosen.model.test_cfg.mode, 'input_scale': scale, **scores})
    return rows, coverage


def score_goodsam(config: Config, args: argparse.Namespace) -> Rows:
    """Return one row for every predictor and input scale of a GoodSAM config, and the images that they are of."""
    predictors = args.predictor or list(config.model.test_cfg.predictors)
    if args.cache and 'ensemble' not in predictors:
        predictors = [*predictors, 'ensemble']
    if 'ensemble' in predictors:
        use_cache(config, args.cache)
    else:
        print('the ensemble is not scored: it needs the masks of these images, --cache')
    dataset = config.test_dataloader.dataset
    if args.wrap:
        config.model.wrap_columns = image_size(dataset)[1] // 8
    space = space_of(dataset)
    if args.show_dir and space != model_space(config):
        raise ConfigError(
            f'--show-dir draws labels and predictions alike, but here {space} is scored; use tools/predict.py'
        )
    use_predictors(config, predictors)
    use_regions(config, args.regions)
    rows: list[dict[str, Any]] = []
    for scale in args.input_scale or [config.model.ta_input_scale]:
        chosen = copy.deepcopy(config)
        chosen.model.ta_input_scale = scale
        if args.checkpoint:
            for network in NETWORKS:
                chosen.model[network].init_cfg = None  # the checkpoint has all weights
        draw_into(chosen, args.show_dir, f'student_{scale:g}')
        scores, coverage = score(chosen, args.checkpoint, args.trust_checkpoint, check=not rows)
        rows += [{'mode': name, 'input_scale': scale, **scores_of(scores, name)} for name in predictors]
    return rows, coverage
