"""Stage 1 with several processes and with many panoramas."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import Measurement
from stage1_sam_cache import open_cache
from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.data.listing import Sample
from stage1_sam_cache.masks.instance_masks import InstanceMasks

_TOOLS = Path(__file__).resolve().parents[1]
_PANORAMAS = 96  # shared by the processes
_PROCESSES = (1, 2, 4)


class _Blocks:
    """Blocks of pixels as masks: almost no work, so that the time measured is the cache's."""

    @property
    def identity(self) -> dict[str, Any]:
        return {'name': 'blocks'}

    @property
    def made_with(self) -> dict[str, str]:
        return {'device': 'none'}

    def generate(self, image: NDArray[np.uint8]) -> InstanceMasks:
        height, width = image.shape[:2]
        rows, columns = np.mgrid[:height, :width] // 8
        return InstanceMasks.from_label_maps([rows * width + columns])


def measure(panoramas: int) -> list[Measurement]:
    """Measure processes on one folder, memory, and the time to open and verify."""
    with tempfile.TemporaryDirectory() as folder:
        return [*_processes(Path(folder)), *_many(Path(folder), panoramas)]


def _images(folder: Path, count: int, height: int, width: int) -> list[Sample]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    samples = []
    for i in range(count):
        blocks = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(folder / f'{i:05}.png')
        samples.append(Sample(f'{i:05}', folder / f'{i:05}.png', None))
    return samples


def _processes(folder: Path) -> list[Measurement]:
    """Measure some numbers of processes on the same work, without start-up.

    More processes than cores can only show that they do not wait for each other.
    """
    _images(folder / 'images', _PANORAMAS, 128, 512)
    cpus = len(os.sched_getaffinity(0))
    taken = {}
    for count in _PROCESSES:
        begun = time.perf_counter()
        _run(folder, folder / f'cache{count}', count, limit=count)
        start_up = time.perf_counter() - begun
        begun = time.perf_counter()
        _run(folder, folder / f'cache{count}', count)
        taken[count] = time.perf_counter() - begun - start_up
    return [
        Measurement(
            f'{_PANORAMAS} panoramas by {count} processes, without start-up',
            taken[1],
            seconds,
            's',
            agreement=f'share of what {min(count, cpus)} cores can do',
            notes={'%': 100 * taken[1] / seconds / min(count, cpus)},
        )
        for count, seconds in taken.items()
        if count > 1
    ]


def _run(folder: Path, out: Path, count: int, limit: int | None = None) -> None:
    command = [sys.executable, str(_TOOLS / 'cache_sam.py'), '--images', str(folder / 'images'), '--out', str(out)]
    command += ['--generator', 'felzenszwalb', '--window', '128x128', '--stride', '64']
    command += ['--limit', str(limit)] if limit else []
    running = [
        subprocess.Popen([*command, '--shard', f'{i}/{count}'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for i in range(count)
    ]
    for process in running:
        process.wait()


def _many(folder: Path, panoramas: int) -> list[Measurement]:
    """Measure memory after a tenth of the panoramas and after all, and the time to open and verify the cache."""
    samples = _images(folder / 'many', panoramas, 32, 128)
    settings = CacheSettings(window=(32, 32), stride=16)
    generator: Any = _Blocks()

    def peak_memory(part: list[Sample]) -> float:
        CacheBuilder(folder / 'many_cache', settings, generator).run(part, show_progress=False)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    tenth = panoramas // 10
    early, late = peak_memory(samples[:tenth]), peak_memory(samples)
    builder = CacheBuilder(folder / 'many_cache', settings, generator)
    builder.writer.seal()
    begun = time.perf_counter()
    cache = open_cache(folder / 'many_cache')
    listed = len(cache)
    opened = time.perf_counter() - begun
    begun = time.perf_counter()
    damaged = [name for name in cache if not _reads(cache, name)]
    verified = time.perf_counter() - begun
    said = f'{listed} panoramas, {len(damaged)} damaged'
    return [
        Measurement(f'peak memory after {tenth} and after {panoramas} panoramas', early, late, 'MiB', said),
        Measurement(f'opening a cache of {panoramas}, verifying it whole', verified, opened, 's', said),
    ]


def _reads(cache: Any, name: str) -> bool:
    cache[name]
    return True
