"""Jobs: a row with one seed, its config, and whether it has been run with the same settings."""

from __future__ import annotations

import argparse
import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ablation.rows import ORACLE, Row
from stage2_distill.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config


class Job(NamedTuple):
    """A row with one seed."""

    row: Row
    seed: int
    folder: Path

    @property
    def work(self) -> Path:
        """The folder of its checkpoints and logs."""
        return self.folder / 'work'

    @property
    def start(self) -> Path | None:
        """The folder of the job whose model it starts from; None if it starts from none."""
        if self.row.start is None:
            return None
        table, name = self.row.start
        return self.folder.parents[2] / table / slug(name) / f'seed{self.seed}'

    @property
    def scores(self) -> Path:
        """The file that marks the job as done."""
        return self.folder / 'scores.json'

    @property
    def measures(self) -> Path:
        """The scores of the row's masks and of their ensembles without training, one file for all seeds."""
        return self.folder.parent / 'masks.json'


def slug(name: str) -> str:
    """Turn a row's name into a folder's."""
    return re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')


def done_before(rows: list[Row], folder: Path) -> list[Job]:
    """List the jobs that have scores, or whose masks have."""
    jobs = []
    for row in rows:
        place = folder / slug(row.name)
        seeds = [path.parent for path in sorted(place.glob('seed*/scores.json'))]
        if not seeds and (place / 'masks.json').exists():
            seeds = [place / 'seed0']
        jobs += [Job(row, int(path.name.removeprefix('seed')), path) for path in seeds]
    return jobs


def is_measured(job: Job, args: argparse.Namespace) -> bool:
    """Tell whether the job's masks have scores.

    Raises:
        ConfigError: If they were scored with other settings.
    """
    if not job.measures.exists():
        return False
    if json.loads(job.measures.read_text())['settings'] != measure_settings(job, args):
        raise ConfigError(f'{job.measures} was made with other settings', 'remove it or give another --out')
    return True


def measure_settings(job: Job, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the scores of a job's masks depend on: no student, no seed."""
    config = config_of(job, args)
    model = {key: config.model[key] for key in ('teacher_assistant', 'grid')}
    settings = {**model, 'data': str(args.data), 'masks': masks_of(job.row, args), **_limited(args)}
    return json.loads(json.dumps(settings))


def is_done(job: Job, args: argparse.Namespace) -> bool:
    """Tell whether a job has scores, and its model if that has to be kept.

    Raises:
        ConfigError: If the job was run with other settings.
    """
    earlier = job.folder / 'settings.json'
    if earlier.exists():
        before, now = json.loads(earlier.read_text()), settings_of(job, args)
        if 'start' not in now:
            before.pop('start', None)  # what it started from is no longer there, and can't be compared
        if before != now:
            raise ConfigError(f'{job.folder} was made with other settings', 'remove it or give another --out')
    return job.scores.exists() and (not job.row.kept or model_of(job.folder) is not None)


def settings_of(job: Job, args: argparse.Namespace) -> dict[str, Any]:
    """Return what a job's scores depend on, apart from the code; not where its folder is."""
    config = config_of(job, args)
    config.lessons_dir = None
    before = None if job.start is None else job.start / 'settings.json'
    start = {}
    if before is not None and before.exists():
        start = {'start': {name: value for name, value in json.loads(before.read_text()).items() if name != 'limit'}}
    return {'config': config.pretty_text, 'masks': masks_of(job.row, args), **start, **_limited(args)}


def start_of(job: Job) -> Path | None:
    """Return the checkpoint that a job starts from; None if it starts from none.

    Raises:
        ConfigError: If it is not there.
    """
    if job.row.start is None:
        return None
    assert job.start is not None
    found = model_of(job.start)
    if found is None:
        table, name = job.row.start
        raise ConfigError(
            f'{job.row.name}, seed {job.seed}: {job.start} has no finished model to start from',
            f'run this first: tools/run_ablation.py {table} --rows "{name}" --seeds {job.seed} (with the same --out '
            'and --data; if it was begun before, also with its --iterations, --limit and --cfg-options)',
        )
    return found


def model_of(folder: Path) -> Path | None:
    """Return the model that a finished job has kept in its folder, None if there is none."""
    scores = folder / 'scores.json'
    name = json.loads(scores.read_text()).get('model') if scores.exists() else None
    path = folder / 'work' / name if name else None
    return path if path is not None and path.is_file() else None


def _limited(args: argparse.Namespace) -> dict[str, int]:
    return {} if args.limit is None else {'limit': args.limit}


def masks_of(row: Row, args: argparse.Namespace) -> str | None:
    """Return the key of a row's masks in ``MASKS`` or ``SIMULATED``; None if it needs no masks."""
    if not (row.is_goodsam or row.own_masks) or not (row.trained or row.measured or 'ensemble' in row.predictors):
        return None
    return row.masks or args.masks


def config_of(job: Job, args: argparse.Namespace) -> Config:
    """Build the complete config of a job."""
    from mmengine.config import Config

    from stage2_distill.training.config_keys import check_options
    from stage2_distill.training.config_options import apply_options

    config = Config.fromfile(job.row.config)
    config.merge_from_dict(copy.deepcopy(job.row.changes))  # MMEngine removes _delete_ from what it merges
    config.randomness = {'seed': job.seed}
    check_options(config, args.cfg_options or {})
    apply_options(config, args.cfg_options or {})
    if args.iterations:
        shorten(config, args.iterations)
    for loader in ('train', 'val', 'test'):
        dataset = config[f'{loader}_dataloader'].dataset
        for part in [dataset[name] for name in ('source', 'target') if name in dataset] or [dataset]:
            part.root = str(args.data)
    if job.row.config == ORACLE:  # learns from the hidden labels
        config.train_dataloader.dataset.labels = str(args.data / 'truth/target/train')
    for part in ('cfg', 'dataloader', 'evaluator'):
        config[f'val_{part}'] = None  # scored once, at the end
    config.default_hooks.checkpoint.save_best = None
    config.lessons_dir = str(args.out / 'lessons')  # rows with the same labels share them
    return config


def shorten(config: Config, iterations: int) -> None:
    """Set another number of iterations; scale the learning-rate schedule, and an adaptation's rounds, to it."""
    factor = iterations / config.train_cfg.max_iters
    for step in config.param_scheduler:
        step.begin = int(step.get('begin', 0) * factor)
        if 'end' in step:  # without it, it ends with the run
            step.end = max(step.begin + 1, round(step.end * factor))
    if 'rounds' in config.default_hooks:
        rounds = config.default_hooks.rounds
        for key in ('first', 'later', 'first_iters', 'iters_per_round'):
            if rounds.get(key) is not None:
                rounds[key] = max(1, round(rounds[key] * factor))
    config.train_cfg.max_iters = iterations
