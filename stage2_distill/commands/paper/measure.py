"""Measures rows: counts parameters, and scores the networks and fusions of each config in one pass over the images."""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.commands import cli
from stage1_sam_cache.data.catalog import list_dataset
from stage1_sam_cache.errors import GoodSAMError
from stage2_distill.checkpoints.safe_checkpoints import use_safe_loaders
from stage2_distill.commands.paper.figures import STUDENTS, Row
from stage2_distill.commands.paper.report import Result
from stage2_distill.commands.paper.weights import find_weights
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.scoring import (
    drop_training,
    image_size,
    score,
    scored_masks,
    scores_of,
    use_cache,
    use_dataset,
    use_predictors,
)
from stage2_distill.training.config_files import CONFIGS
from stage2_distill.training.experiment import read_config

PAPER_WIDTH = 2048  # columns of the panoramas for which the configs give windows


def measure(rows: list[Row], args: argparse.Namespace) -> Iterator[tuple[Row, Result, list[str]]]:
    """Measure rows, those of one network and config together; yield each with notes that qualify its value.

    Raises:
        ConfigError: If the changes to the configs can't be made.
    """
    use_safe_loaders(args.trust_checkpoint)
    counted = [row for row in rows if row.predictor is None]
    scored = sorted((row for row in rows if row.predictor is not None), key=lambda row: (row.size, row.config))
    for row in counted:
        yield row, Result(count_parameters(row, args)), []
    if not scored:
        return
    try:
        images = len(list_dataset(args.dataset, 'val', args.data_root).samples)
    except GoodSAMError as problem:
        yield from give_up(scored, problem)
        return
    note = [f'scored on the first {args.limit} of {images} images'] if args.limit and args.limit < images else []
    for size, of_size in groupby(scored, lambda row: row.size):
        group = list(of_size)
        try:
            weights = find_weights(size, args)
        except GoodSAMError as problem:
            yield from give_up(group, problem)
            continue
        for name, of_config in groupby(group, lambda row: row.config):
            for row, result, more in score_rows(name, list(of_config), weights, args):
                yield row, result, note + more


def score_rows(
    name: str, rows: list[Row], weights: str, args: argparse.Namespace
) -> Iterator[tuple[Row, Result, list[str]]]:
    """Score the rows of one config in one pass over the images."""
    config = read_config(str(CONFIGS / name), args.cfg_options)
    prepare(config, weights, rows[0].size, {row.predictor for row in rows}, args)
    notes = []
    if any(row.predictor == 'ensemble' for row in rows):
        try:
            without = config.test_dataloader.dataset
            use_cache(config, args.cache)
            notes = [masks_note(scored_masks(config))]
        except GoodSAMError as problem:
            config.test_dataloader.dataset = without
            yield from give_up([row for row in rows if row.predictor == 'ensemble'], problem)
            rows = [row for row in rows if row.predictor != 'ensemble']
    if not rows:
        return
    use_predictors(config, [str(row.predictor) for row in rows])
    names = ', '.join(row.name for row in rows)
    begun = time.perf_counter()
    try:
        scores, coverage = score(config, trusted=args.trust_checkpoint)
    except GoodSAMError as problem:
        yield from give_up(rows, problem)
        return
    cli.report(f'{names}: {time.perf_counter() - begun:.0f} s')
    for row in rows:
        own = scores_of(scores, str(row.predictor))
        yield row, Result(own['mIoU'], own, coverage=coverage), notes if row.predictor == 'ensemble' else []


def masks_note(cache: MaskCache) -> str:
    """Return a note on which generator made the fused masks."""
    generator = cache.fingerprint.settings['generator']
    note = f'masks of {cache.path} by {generator["name"]} {generator.get("model", "")}'.rstrip()
    return note if generator['name'] == 'sam' else f'{note}: not SAM, so not the fusion that the paper measured'


def give_up(rows: Iterable[Row], problem: GoodSAMError) -> Iterator[tuple[Row, Result, list[str]]]:
    """Yield rows that can't be measured, with the reason in one line."""
    for row in rows:
        yield row, Result(missing=' '.join(str(problem).split())), []


def prepare(config: Config, weights: str, size: int, predictors: set[str | None], args: argparse.Namespace) -> None:
    """Change a GoodSAM config so that it scores one network, given the size and the place of its weights."""
    drop_training(config)
    config.launcher, config.load_from, config.resume = 'none', None, False
    config.log_level = 'WARNING'  # there are dozens of runs, and only the table is of interest
    config.visualizer.vis_backends = []  # they would spend seconds writing the config in several formats
    config.work_dir = str(Path(args.work_dir) / Path(config.filename).stem)
    use_dataset(config, args.dataset, 'val', args.data_root, args.label_space, args.limit)
    config.expected_cache = None  # masks of any generator: a note says whose they are
    model = config.model
    if args.dataset == 'toypass':
        fit_windows(model.grid, image_size(config.test_dataloader.dataset)[1])
    if args.input_scale is not None:
        model.ta_input_scale = args.input_scale
    if args.source == 'nvidia':
        model.teacher_assistant = nvidia_segformer(size)
    model.teacher_assistant.init_cfg = {'type': 'Pretrained', 'checkpoint': weights}
    if 'student' in predictors:
        model.student = copy.deepcopy(model.teacher_assistant)
    else:
        model.student.init_cfg = None  # it runs, but its predictions are not used


def fit_windows(grid: dict[str, Any], width: int) -> None:
    """Scale the windows to ToyPASS's panoramas, which have the paper's proportions, and wrap them as its caches do."""
    shrink = width / PAPER_WIDTH
    grid['window'] = tuple(round(side * shrink) for side in grid['window'])
    grid['stride'] = round(grid['stride'] * shrink)
    grid['wrap'] = True


def nvidia_segformer(size: int) -> dict[str, Any]:
    """The config of a SegFormer as its authors have it."""
    return {'type': 'SegFormer', 'size': f'b{size}', 'layout': 'authors'}


def count_parameters(row: Row, args: argparse.Namespace) -> float:
    """Return the parameters of a row's network in millions.

    Raises:
        ConfigError: If it can't be built as the command line changes it.
    """
    config = read_config(str(CONFIGS / row.config), args.cfg_options)
    init_default_scope('mmseg')
    settings = config.model['student' if row.size in STUDENTS else 'teacher_assistant']
    if args.source == 'nvidia':
        settings = nvidia_segformer(row.size)
    try:
        network = MODELS.build(settings)
    except (KeyError, TypeError, ValueError, AssertionError) as problem:
        raise ConfigError(f'{row.config} cannot be built: {problem}') from problem
    return sum(weight.numel() for weight in network.parameters()) / 1e6
