"""Stage 1 killed at random moments, by SIGKILL and by SIGTERM, alone and with others on the same cache."""

from __future__ import annotations

import hashlib
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fork_server import Started

from faults.conftest import draw_panoramas

_PANORAMAS = 16
_WINDOWS = ('--window', '40x64', '--stride', '32')
_FLAGS = ('--generator', 'felzenszwalb', '--scales', '50', *_WINDOWS)


@dataclass
class Bench:
    """The command that makes a cache, and the cache that an undisturbed run makes."""

    begin: Callable[..., Started]
    whole: dict[str, str]
    start_up: float
    seconds: float

    def start(self, cache: Path, *flags: str) -> Started:
        return self.begin('--out', cache, *flags)


def _exported(images: Path, folder: Path, run_tool: Callable[..., Any]) -> Path:
    """Masks of the images as files of another tool."""
    run_tool('cache_sam.py', '--images', images, *_FLAGS, '--out', folder / 'exported').check_returncode()
    export = ('inspect_cache.py', 'export', folder / 'exported', '--out', folder / 'masks', '--format', 'sa1b')
    run_tool(*export).check_returncode()
    return folder / 'masks'


@pytest.fixture(scope='module', params=['made', pytest.param('imported', marks=pytest.mark.long)])
def bench(request, run_tool, start_tool, tmp_path_factory) -> Bench:
    folder = tmp_path_factory.mktemp('kills')
    images = folder / 'images'
    draw_panoramas(images, _PANORAMAS, 12)
    flags = _FLAGS
    if request.param == 'imported':
        tool = ('--import', str(_exported(images, folder, run_tool)), '--import-name', 'felzenszwalb')
        flags = (*tool, *_WINDOWS, '--overlap-source', 'window')
    begin = partial(start_tool, 'cache_sam.py', '--images', images, *flags)
    begun = time.monotonic()
    process = begin('--out', folder / 'whole')
    while not list(folder.glob('whole/*/*.h5')):
        assert process.poll() is None
        time.sleep(0.001)
    start_up = time.monotonic() - begun
    assert process.wait() == 0
    return Bench(begin, contents(folder / 'whole'), start_up, time.monotonic() - begun)


def contents(cache: Path) -> dict[str, str]:
    """A digest of every file that a reader can see, by name; nothing else may be left over at the end."""
    files = [path for path in cache.rglob('*') if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def panoramas(cache: Path) -> dict[str, str]:
    """Digests of the panoramas alone: what stands under a final name."""
    return {name: digest for name, digest in contents(cache).items() if name.endswith('.h5')}


@pytest.mark.parametrize('processes', [1, pytest.param(3, marks=pytest.mark.long)])
def test_killed_at_any_moment_nothing_is_lost_partial_or_unreadable(trials, bench, tmp_path, processes, part):
    """Killed, looked at and run again until it is complete; then with a new cache from the start."""
    cache, before = tmp_path / 'cache', {}
    kills, wanted = 0, trials.many(6, 130)
    while kills < wanted:
        running = [bench.start(cache) for _ in range(processes)]
        # Imports write nothing, so that most kills come after them.
        rest = bench.seconds - bench.start_up
        moment = bench.start_up * trials.rng.uniform(0.8, 1) + rest * trials.rng.uniform(0, 1.1) * processes**0.5
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and any(process.poll() is None for process in running):
            time.sleep(0.002)
        killed = [process for process in running if process.poll() is None]
        for process in killed:
            process.send_signal(signal.SIGKILL)
        ended = [process.communicate()[1] for process in running]
        finished = [process.returncode for process in running if process not in killed]
        assert not any(finished), ended
        kills += len(killed)
        found = panoramas(cache)
        # What was committed stays as it was, and is the file of an undisturbed run to the last byte.
        lost = not (before.items() <= found.items() and found.items() <= bench.whole.items())
        trials.count(
            f'SIGKILL, stage 1, {processes} processes' if processes > 1 else 'SIGKILL, stage 1', len(killed), lost
        )
        before = found
        if finished:  # one of them has come to the end
            assert contents(cache) == bench.whole if processes == 1 else found == panoramas_of(bench.whole)
            shutil.rmtree(cache)
            before = {}
    assert bench.start(cache).wait() == 0
    assert contents(cache) == bench.whole  # no claim, no temporary, no manifest of something else


def panoramas_of(digests: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in digests.items() if name.endswith('.h5')}


@pytest.mark.long
def test_ended_politely_it_says_that_it_can_go_on_and_leaves_nothing_behind(trials, bench, tmp_path):
    """SIGTERM, as schedulers send it before they take a node away."""
    cache = tmp_path / 'cache'
    stopped, wanted = 0, 150
    while stopped < wanted:
        process = bench.start(cache)
        # Before Python has come to the tool's own code, SIGTERM ends it like any program: wait for the first claim.
        while process.poll() is None and not any(cache.rglob('.claim-*')):
            time.sleep(0.002)
        time.sleep((bench.seconds - bench.start_up) * trials.rng.uniform(0, 0.9))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        found = panoramas(cache)
        if process.returncode in (0, -signal.SIGTERM):  # all done; as it leaves, Python hands the signal back
            assert contents(cache) == bench.whole, errors
            shutil.rmtree(cache)
            continue
        assert process.returncode == 130, errors
        stopped += 1
        assert 'Traceback' not in errors
        assert errors.endswith('interrupted\n')
        leftovers = [path.name for path in cache.rglob('.*')]
        trials.count('SIGTERM, stage 1', 1, bool(leftovers) or not found.items() <= bench.whole.items())
    assert bench.start(cache).wait() == 0
    assert contents(cache) == bench.whole
