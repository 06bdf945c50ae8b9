"""A job: a row with one seed, its config, and whether it has been done with the same settings."""

from __future__ import annotations

import argparse
import copy
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ablation.rows import BASE, Row
from stage2_distill.errors import ConfigError


class Job(NamedTuple):
    """A row with one seed."""

    row: Row
    seed: int
    folder: Path

    @property
    def scores(self) -> Path:
        """The file that says that the job is done."""
        return self.folder / 'scores.json'


def slug(name: str) -> str:
    """A row's name as a folder's."""
    return re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')


def done_before(rows: list[Row], folder: Path) -> list[Job]:
    """The jobs that have scores."""
    found = [(row, path.parent) for row in rows for path in sorted((folder / slug(row.name)).glob('seed*/scores.json'))]
    return [Job(row, int(path.name.removeprefix('seed')), path) for row, path in found]


def is_done(job: Job, args: argparse.Namespace) -> bool:
    """Whether a job has scores.

    Raises:
        ConfigError: If they are of other settings.
    """
    told = job.folder / 'settings.json'
    wanted = settings_of(job, args)
    if told.exists() and json.loads(told.read_text()) != wanted:
        raise ConfigError(f'{job.folder} was made with other settings; remove it or give another --out')
    return job.scores.exists()


def settings_of(job: Job, args: argparse.Namespace) -> dict[str, Any]:
    """What a job's scores depend on beside the code."""
    return {'config': config_of(job, args).pretty_text, 'masks': masks_of(job.row, args)}


def masks_of(row: Row, args: argparse.Namespace) -> str | None:
    """Where a row's masks come from; None if it needs none."""
    if row.config != BASE or not (row.trained or 'ensemble' in row.predictors):
        return None
    return row.masks or args.masks


def config_of(job: Job, args: argparse.Namespace) -> Config:
    """The row's config, complete."""
    config = Config.fromfile(job.row.config)
    config.merge_from_dict(copy.deepcopy(job.row.changes))  # MMEngine takes _delete_ out of what it merges
    config.randomness = {'seed': job.seed}
    config.merge_from_dict(args.cfg_options)
    if args.iterations:
        shorten(config, args.iterations)
    for loader in ('train', 'val', 'test'):
        config[f'{loader}_dataloader'].dataset.root = str(args.data)
    if job.row.config != BASE:  # the oracle, which is taught by the hidden labels
        config.train_dataloader.dataset.labels = str(args.data / 'truth/target/train')
    for part in ('cfg', 'dataloader', 'evaluator'):
        config[f'val_{part}'] = None  # scored once, at the end
    config.default_hooks.checkpoint.save_best = None
    return config


def shorten(config: Config, iterations: int) -> None:
    """Trains for another number of iterations, with the learning rate's course squeezed or stretched."""
    times = iterations / config.train_cfg.max_iters
    for step in config.param_scheduler:
        step.begin = int(step.begin * times)
        step.end = max(step.begin + 1, round(step.end * times))
    config.train_cfg.max_iters = iterations
