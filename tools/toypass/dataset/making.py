"""Make the files of all scenes, by any number of processes; existing files are kept."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stage1_sam_cache.errors import DatasetError
from stage1_sam_cache.system.atomic_file import commit
from toypass.dataset.jobs import DOMAINS, DatasetPlan, Job, jobs, paths
from toypass.dataset.scenes import look_at, random_stream
from toypass.knobs import LOOKS
from toypass.render.view import View, render
from toypass.render.weather import draw_weather


class Made(NamedTuple):
    """A finished job: pixels per label, int64 ``(256,)``, and seconds, None if its files existed before."""

    job: Job
    counts: NDArray[np.int64]
    seconds: float | None


def make(plan: DatasetPlan, job: Job) -> Made:
    """Make the files of one scene, unless all exist."""
    files = paths(plan, job)
    if all(path.exists() for path in files.values()):
        with Image.open(files['label']) as label:
            return Made(job, np.bincount(np.asarray(label).ravel(), minlength=256), None)
    begun = time.perf_counter()
    knobs = plan.knobs
    _, scene, camera = look_at(knobs, job, plan.seed)

    def view(look: str) -> View:
        rng = random_stream(job, plan.seed, 1)  # a stream of its own, so that another look changes nothing else
        return render(scene, camera, draw_weather(LOOKS[look], rng), rng)

    seen = view(knobs.source_look if job.domain == 'source' else knobs.target_look)
    content: dict[str, NDArray[Any]] = {
        'image': seen.image,
        'label': seen.label,
        'instances': seen.instance,
        'parts': seen.part,
    }
    if plan.depth:  # centimetres, at most 655 m; 0 in the sky
        content['depth'] = np.where(np.isinf(seen.depth), 0, np.clip(seen.depth * 100, 1, 65535)).astype(np.uint16)
    if 'image source look' in files:
        content['image source look'] = view(knobs.source_look).image
        content['label source look'] = seen.label
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        commit(path, _png(content[name]), replace=True)
    return Made(job, np.bincount(seen.label.ravel(), minlength=256), time.perf_counter() - begun)


def _png(pixels: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG', compress_level=4)
    return buffer.getvalue()


def make_all(plan: DatasetPlan, workers: int, domains: Sequence[str] = DOMAINS) -> Iterator[Made]:
    """Make all scenes in any number of processes; yield them in order.

    Raises:
        WriteError: If the disk is full.
        DatasetError: If a worker died.
    """
    todo = jobs(plan.knobs, domains)
    if workers == 1:
        yield from (make(plan, job) for job in todo)
        return
    # One thread per worker; more would compete for the same cores.
    os.environ.update(dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'), '1'))
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _begin, (plan,))
    try:
        yield from executor.map(_work, todo)
    except BrokenProcessPool as problem:
        raise DatasetError(
            'a worker died, perhaps for want of memory; run the same command again, with fewer --workers'
        ) from problem
    finally:
        executor.shutdown(cancel_futures=True)  # scenes in hand are finished


_plan: DatasetPlan


def _begin(plan: DatasetPlan) -> None:
    global _plan
    _plan = plan
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the workers


def _work(job: Job) -> Made:
    return make(_plan, job)


def statistics(made: Iterable[Made]) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Sum the label counts of each split.

    Returns:
        By split, such as ``source train``: ``pixels``, pixels per label, and ``images``, images that show a label,
        both int64 ``(256,)``.
    """
    result: dict[str, dict[str, NDArray[np.int64]]] = {}
    for job, counts, _ in made:
        entry = result.setdefault(
            f'{job.domain} {job.split}', {n: np.zeros(256, np.int64) for n in ('pixels', 'images')}
        )
        entry['pixels'] += counts
        entry['images'] += counts > 0
    return result
