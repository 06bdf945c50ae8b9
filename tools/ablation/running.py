"""Run a job: cache its masks, train, score and draw, each with one of the tools."""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ablation.jobs import Job, config_of, is_done, masks_of, measure_settings, settings_of, slug, start_of
from ablation.omnisam import BOTH_LAPS, SCORINGS, TARGET
from ablation.pictures import COLUMNS, PANELS
from ablation.rows import MASKS, SIMULATED, Row
from stage1_sam_cache.system import folder_lock
from stage2_distill.errors import ConfigError
from stage2_distill.training.bfloat16 import bfloat16_is_fast
from stage2_distill.training.resuming import find_latest

TOOLS = Path(__file__).resolve().parents[1]


def run(job: Job, args: argparse.Namespace) -> None:
    """Train and score a job, unless another process has done so by now.

    Raises:
        FolderInUseError: If another process is doing it.
        ConfigError: If the job was run with other settings, or a tool fails.
    """
    with folder_lock.hold(job.folder):
        if not is_done(job, args):
            _run(job, args)


def _run(job: Job, args: argparse.Namespace) -> None:
    forget_scores(job)
    write(job.folder / 'settings.json', settings_of(job, args))
    config, start = config_of(job, args), start_of(job)
    if start is not None and job.row.is_goodsam:
        config.model.teacher_assistant.init_cfg.checkpoint, start = str(start), None
    file = job.folder / 'config.py'
    caches = {split: cache(job.row, config, split, args) for split in ('train', 'val')}
    if caches['train']:
        learned = config.train_dataloader.dataset
        learned.get('target', learned).cache = str(caches['train'])
    config.dump(file)
    weights = [] if start is None else [str(start)]
    begun = time.perf_counter()
    if job.row.trained:
        call(
            'train.py',
            job,
            file,
            *(['--amp'] if bfloat16_is_fast() else []),
            *([] if start is None else ['--load-from', start]),
            '--resume-or-start',
            '--work-dir',
            job.work,
        )
        weights = [str(find_latest(job.work))]
    seconds = time.perf_counter() - begun
    flags: list[object] = []
    if job.row.is_goodsam:
        flags += ['--predictor', *job.row.predictors]
        flags += ['--cache', caches['val']] if caches['val'] else []
    ways = [(way, domain) for way in job.row.scorings for domain in SCORINGS[way].domains]
    scores = [score_so(job, config, weights, way, domain, args) for way, domain in ways]
    if start is not None and job.row.trained:
        scores.append(score_labels(job, args))
    if not ways:
        scores = test(job, file, *weights, *flags, *limit_of(args))
    if caches['val'] and job.seed == args.seeds[0]:
        shown = ['--split', 'val', '--cache', caches['val'], '--columns', COLUMNS, '--out', job.folder / 'picture.png']
        call('browse_pseudo_labels.py', job, file, *weights, *shown, '--panels', *PANELS)
    kept = Path(weights[0]).name if job.row.kept else None
    write(job.scores, {'seconds': seconds, 'scores': scores, 'model': kept})
    for checkpoint in job.work.glob('*.pth'):
        if checkpoint.name != kept:
            checkpoint.unlink()  # those of a whole table would fill the disk


def forget_scores(job: Job) -> None:
    """Remove the scores of a job whose model was lost, the list of them last, so that this can be interrupted."""
    if job.scores.exists():
        for way in job.row.scorings:
            for domain in SCORINGS[way].domains:
                (job.folder / f'{slug(way)}_{domain}.json').unlink(missing_ok=True)
        job.scores.unlink()


def test(job: Job, file: Path, *flags: object) -> list[dict[str, Any]]:
    """Score with tools/test.py."""
    out = job.folder / 'test_scores.json'
    call('test.py', job, file, *flags, '--work-dir', job.work, '--regions', '--out', out)
    scores: list[dict[str, Any]] = json.loads(out.read_text())['scores']
    return scores


def score_so(
    job: Job, config: Config, weights: list[str], way: str, domain: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Score OmniSAM on a data set in one of ``SCORINGS``, unless it was done before this run was interrupted."""
    kept = job.folder / f'{slug(way)}_{domain}.json'
    if not kept.exists():
        changed = copy.deepcopy(config)
        changed.merge_from_dict(copy.deepcopy(SCORINGS[way].changes))
        changed.dump(job.folder / 'scored.py')
        space = config.test_dataloader.dataset.label_space
        where = ['--dataset', domain, '--split', 'val', '--data-root', args.data, '--label-space', space]
        (scores,) = test(job, job.folder / 'scored.py', *weights, *where, *limit_of(args))
        mode = 'target' if domain == TARGET else 'source'
        write(kept, {**scores, 'mode': mode, 'scoring': way})
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def score_labels(job: Job, args: argparse.Namespace) -> dict[str, Any]:
    """Score the pseudo-labels of an adaptation's rounds: those of the last are its scores, all stay in a file."""
    out = job.folder / 'labels.json'
    call('score_labels.py', job, job.work, '--data', args.data, '--json', out)
    last = json.loads(out.read_text())[-1]
    figures = {name: 100 * last[name] for name in ('coverage', 'accuracy', 'mIoU')}
    return {'mode': 'labels', 'scoring': BOTH_LAPS, **figures}


def limit_of(args: argparse.Namespace) -> list[object]:
    """Return the flags that limit the images which are scored."""
    return [] if args.limit is None else ['--limit', args.limit]


def measure(jobs: Sequence[Job], args: argparse.Namespace) -> None:
    """Score the masks of jobs, and the ensembles they give without training, by one pass of the assistant."""
    configs = [config_of(job, args) for job in jobs]
    caches = [cache(job.row, config, 'val', args) for job, config in zip(jobs, configs, strict=True)]
    folder = jobs[0].measures.parents[1]
    with folder_lock.hold(folder):
        configs[0].dump(folder / 'assistant.py')
        flags = ['--data', args.data, '--config', folder / 'assistant.py', '--json', folder / 'scores.json']
        log('score_masks.py', folder / 'score_masks.log', *caches, *flags, *limit_of(args))
        found = json.loads((folder / 'scores.json').read_text())
    for job, scores in zip(jobs, found, strict=True):
        job.measures.parent.mkdir(parents=True, exist_ok=True)
        write(job.measures, {'settings': measure_settings(job, args), 'scores': scores})


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically: complete or absent."""
    partial = file.with_suffix('.part')
    partial.write_text(json.dumps(content, indent=1))
    partial.replace(file)


def cache(row: Row, config: Config, split: str, args: argparse.Namespace) -> Path | None:
    """Cache the masks of a split with the row's windows, unless they exist.

    Returns:
        The cache's folder; None if the row needs no masks of this split.
    """
    masks = masks_of(row, args)
    scored = row.measured or 'ensemble' in row.predictors
    if masks is None or (split == 'train' and not row.trained) or (split == 'val' and not scored):
        return None
    grids = config.model.grid
    grid = grids[-1] if isinstance(grids, list) else grids  # of a list the last is of panoramas
    window = 'x'.join(map(str, grid.window))
    wrap = grid.get('wrap', False)
    name = f'{slug(masks)}_{window}_{grid.stride}{"_wrap" if wrap else ""}'
    folder = args.out / 'cache' / name / split
    if (folder / 'done').exists():
        return folder
    tool, *flags = (MASKS | SIMULATED)[masks]
    if tool == 'cache_sam.py':
        flags += ['--dataset', 'toypass']
    flags += ['--split', split, '--data-root', args.data, '--window', window, '--stride', grid.stride, '--out', folder]
    log(tool, folder.with_suffix('.log'), *flags, *(['--wrap'] if wrap else []))
    (folder / 'done').touch()
    return folder


def call(tool: str, job: Job, *flags: object) -> None:
    """Run a tool for a job."""
    log(tool, job.folder / f'{Path(tool).stem}.log', *flags)


def log(tool: str, file: Path, *flags: object) -> None:
    """Run one of the tools, with its output in a file.

    Raises:
        ConfigError: If it fails, with the last line of its output.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open('w') as out:
        command = [sys.executable, str(TOOLS / tool), *map(str, flags)]
        failed = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    if failed:
        last = (file.read_text(errors='replace').strip().splitlines() or ['no output'])[-1]
        raise ConfigError(f'tools/{tool} stopped with status {failed}: {last} (all of it: {file})')
