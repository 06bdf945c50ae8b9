"""Disks that fail: an error at every call that touches the cache, real limits, and folders that go away.

Each command line runs in a process of its own under ``failing_io.py``, which fails the N-th call of a kind, once or
from then on. Whatever failed, nothing false stands under a final name, what was committed stays, errors are lines and
not tracebacks, and the same command without the fault completes the cache to the bytes of an undisturbed run.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from fork_server import ForkServer
from PIL import Image

from stage1_sam_cache.cache.reader import entry_name

LAUNCHER = Path(__file__).with_name('failing_io.py')
FAST = ('--generator', 'felzenszwalb', '--scales', '50', '--window', '40x64', '--stride', '32')  # two windows an image
EARLIER = b'an earlier picture'
IMAGES = ('a', 'b', 'c')
A, B, C = (entry_name(name) for name in IMAGES)
ENVIRONMENT = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': ''}
# What a launcher and its tool import; PIL loads these plugins for every image.
PRELOADED = (
    'multiprocessing.synchronize',
    'skimage.segmentation',
    *(f'PIL.{name}ImagePlugin' for name in ('Bmp', 'Gif', 'Jpeg', 'Ppm', 'Png')),
    'stage1_sam_cache.build.builder',
    'stage1_sam_cache.build.shards',
    'stage1_sam_cache.cache.picture',
    'stage1_sam_cache.commands.cli',
    'stage1_sam_cache.sam.felzenszwalb',
    'stage1_sam_cache.sam.settings',
)
# Which row of the table a call belongs to.
ROWS = {kind: f'I/O error, {kind}' for kind in ('write', 'fsync', 'link', 'rename')}
_BAR = re.compile(r'(caching masks|checking |reading )\S*:? .*(window|file)(/s|\b)')


@dataclass(frozen=True)
class Case:
    """One fault; ``command`` is a key of ``COMMANDS``."""

    command: str
    kind: str
    at: int
    errno: str
    flags: tuple[str, ...] = ()

    @property
    def row(self) -> str:
        return ROWS.get(self.kind, 'I/O error, other calls')

    def __str__(self) -> str:
        return f'{self.command}, {self.kind} {self.at} {self.errno} {" ".join(self.flags)}'.rstrip()


@dataclass(frozen=True)
class Finished:
    """How a command line ended, and what the launcher counted."""

    status: int
    out: str
    err: str
    calls: dict[str, int]


def flags_of(command: str, cache: Path, images: Path) -> tuple[object, ...]:
    """A tool's command line on a cache, as in ``COMMANDS``."""
    tool, *flags = COMMANDS[command][1]
    given = {'CACHE': cache, 'IMAGES': images, 'PICTURE': cache / 'picture.png'}
    return (ROOT / 'tools' / tool, *(given.get(flag, flag) for flag in flags))


# What is run, and on which start of ``starts``.
CACHE_SAM = ('cache_sam.py', '--images', 'IMAGES', *FAST, '--out', 'CACHE')
COMMANDS = {
    'cache_sam': ('empty', CACHE_SAM),
    'cache_sam again': ('hurt', CACHE_SAM),
    'repair': ('ill', ('inspect_cache.py', 'repair', 'CACHE', '--drop', 'c')),
    'repair one': ('dented', ('inspect_cache.py', 'repair', 'CACHE')),
    'show': ('whole', ('inspect_cache.py', 'show', 'CACHE', '--id', 'b', '--images', 'IMAGES', '--out', 'PICTURE')),
    'status': ('whole', ('inspect_cache.py', 'status', 'CACHE', '--ids')),
    'verify': ('whole', ('inspect_cache.py', 'verify', 'CACHE', '--full')),
    'stats': ('whole', ('inspect_cache.py', 'stats', 'CACHE')),
}
LOOKS = ('read', 'stat', 'list')
WRITING = ('cache_sam', 'cache_sam again', 'repair')
REPAIRS = ('repair', 'repair one')


class Laboratory:
    """Servers, caches to start from, and what an undisturbed run makes of them.

    Starts: ``empty``; ``hurt``, one sound and sealed panorama, a damaged one, and what a killed process leaves;
    ``ill``, a whole cache with a damaged panorama, description and manifest; ``dented``, one with a damaged panorama
    alone; ``whole``.
    """

    def __init__(self, folder: Path, servers: int) -> None:
        self.folder = folder
        self.images = folder / 'images'
        self.images.mkdir()
        for seed, name in enumerate(IMAGES):
            blocks = np.random.default_rng(seed).integers(0, 256, (3, 6, 3), dtype=np.uint8)
            Image.fromarray(blocks.repeat(16, 0).repeat(16, 1)[:40]).save(self.images / f'{name}.png')
        self._servers = [ForkServer(PRELOADED, env=ENVIRONMENT) for _ in range(servers)]
        self._free = list(self._servers)
        self._lock = threading.Semaphore(len(self._servers))
        self._number = itertools.count()
        self._calls: dict[str, dict[str, int]] = {}
        self.answers: dict[str, str] = {}
        self._starts()

    def _starts(self) -> None:
        starts = self.folder / 'starts'
        (starts / 'empty').mkdir(parents=True)
        whole = starts / 'whole'
        assert self.run('--under', whole, '--count-only', '--', *flags_of('cache_sam', whole, self.images)).status == 0
        (keyed,) = whole.iterdir()
        self.key = keyed.name
        self.whole = contents(keyed)
        for name in ('hurt', 'ill', 'dented'):
            shutil.copytree(whole, starts / name)
        (starts / 'hurt' / self.key / 'manifest.json').unlink()
        for file in (B, C):
            (starts / 'hurt' / self.key / file).unlink()
        first = self.folder / 'first'
        first.mkdir()
        shutil.copy(self.images / 'a.png', first)
        again = flags_of('cache_sam', starts / 'hurt', first)
        assert self.run('--under', first, '--count-only', '--', *again).status == 0
        self.damaged = self.whole[B][:-40]
        self.manifests = [self.whole['manifest.json'], (starts / 'hurt' / self.key / 'manifest.json').read_bytes()]
        (starts / 'dented' / self.key / B).write_bytes(self.damaged)
        for name in ('hurt', 'ill'):
            (starts / name / self.key / B).write_bytes(self.damaged)
            (starts / name / self.key / f'.claim-{Path(B).stem}').write_text('elsewhere 1\n')
            old = starts / name / self.key / '.tmp-elsewhere-1-0'
            old.write_bytes(b'half')
            os.utime(old, (0, 0))
        (starts / 'ill' / self.key / 'fingerprint.json').write_text('{')
        (starts / 'ill' / self.key / 'manifest.json').write_text('{}')
        (whole / 'picture.png').write_bytes(EARLIER)

    def stop(self) -> None:
        for server in self._servers:
            server.stop()

    def run(self, *argv: object) -> Finished:
        """Runs the launcher on one of the servers."""
        with self._lock:
            server = self._free.pop()
            try:
                finished = server.run([str(LAUNCHER), *map(str, argv)], timeout=100)
            finally:
                self._free.append(server)
        lines = finished.stdout.splitlines()
        calls = json.loads(lines[-1]) if lines else {}
        return Finished(finished.returncode, '\n'.join(lines[:-1]), finished.stderr, calls)

    def start(self, command: str) -> Path:
        """A copy of what a command is run on."""
        cache = self.folder / f'case {next(self._number)}'
        shutil.copytree(self.folder / 'starts' / COMMANDS[command][0], cache)
        return cache

    def disturb(self, command: str, cache: Path, *fault: object) -> Finished:
        watched = ('--under', cache, '--under', self.images)
        return self.run(*watched, *fault, '--', *flags_of(command, cache, self.images))

    def calls(self, command: str) -> dict[str, int]:
        """How many calls of each kind an undisturbed run makes."""
        if command not in self._calls:
            cache = self.start(command)
            finished = self.disturb(command, cache, '--count-only')
            assert (finished.status, finished.calls['failed']) == (0, 0), finished
            self._calls[command] = finished.calls
            self.answers[command] = finished.out.replace(str(cache), '')
            shutil.rmtree(cache)
        return self._calls[command]

    def cases(self, command: str, kinds: tuple[str, ...], errnos: tuple[str, ...]) -> list[Case]:
        """All calls of some kinds, with every error, once and from then on; without errors, a broken disk's in turn."""
        cases = []
        for kind in kinds:
            for at, name in itertools.product(range(1, self.calls(command)[kind] + 1), errnos or (None,)):
                name = name or ('EIO', 'ESTALE')[at % 2]
                cases.append(Case(command, kind, at, name))
                if kind not in ('stat', 'list'):
                    cases.append(Case(command, kind, at, name, ('--from-then-on',)))
                if kind == 'write':
                    cases.append(Case(command, kind, at, name, ('--short-write',)))
        return cases

    def tried(self, case: Case) -> list[str]:
        """Runs a command with its fault, and again without; returns what was wrong."""
        cache = self.start(case.command)
        before = contents(cache / self.key)
        fault = ('--kind', case.kind, '--at', case.at, '--errno', case.errno, *case.flags)
        finished = self.disturb(case.command, cache, *fault)
        if not finished.calls.get('failed'):
            return ['nothing has failed']
        problems = self.bad_end(finished)
        if case.command in (*WRITING, *REPAIRS):
            problems += self.false_commits(cache, before, dropped=C if case.command == 'repair' else None)
            wrong = [name.partition(' ')[0] for name in self.unlike_whole(cache)]
            if case.command in REPAIRS:  # what it set aside is missing, and nothing else is wrong
                wrong = [name for name in wrong if (cache / self.key / name).exists()]
            problems += [f'status 0, but {name} is wrong' for name in wrong if finished.status == 0]
            problems += self.bad_recovery(cache, repaired=case.command in REPAIRS)
        elif case.command == 'show':
            problems += self.bad_picture(cache, before, finished, '--from-then-on' in case.flags)
        else:
            problems += [f'{name} was changed' for name in different(before, contents(cache / self.key))]
            if finished.status == 0 and finished.out.replace(str(cache), '') != self.answers[case.command]:
                problems.append('status 0 and another answer than without the error')
        shutil.rmtree(cache)
        return problems + ([f'it said: {finished.err}'] if problems else [])

    def bad_end(self, finished: Finished) -> list[str]:
        """What is wrong with an exit status and its texts."""
        problems = [] if finished.status in (0, 1, 2) else [f'exit status {finished.status}']
        lines = [line for line in re.split(r'[\r\n]+', finished.err) if line.strip() and not _BAR.match(line)]
        errors = [line for line in lines if line.startswith('error: ')]
        others = [line for line in lines if not line.startswith(('error: ', 'stopped early: '))]
        of_panoramas = [name for line in others for name in IMAGES if _is_about(name, line)]
        if len(errors) > 1 or len(set(of_panoramas)) < len(others):
            problems.append('more than a line for each error')
        if finished.status and not (errors or others):
            problems.append('an error without a line')
        if errors and not any(part in errors[0] for part in (self.key, str(self.images), f'{self.folder}/case ')):
            problems.append('an error that names no file')
        if 'Traceback' in finished.err + finished.out:
            problems.append('a traceback')
        return problems

    def false_commits(self, cache: Path, before: dict[str, bytes], dropped: str | None = None) -> list[str]:
        """What stands in a cache and is neither as before nor right, and what was right and is gone."""
        problems = [f'{path.name} beside the cache' for path in cache.iterdir() if path.name != self.key]
        after = contents(cache / self.key) if (cache / self.key).exists() else {}
        for name, data in after.items():
            if name.startswith('quarantine/'):
                allowed = [self.damaged, self.whole[C], b'{}', b''] if not name.endswith('reasons.txt') else [data]
            elif name == 'manifest.json':
                allowed = [*self.manifests, b'{}']
            else:
                allowed = [self.whole.get(name, data if name.startswith('.') else None), before.get(name)]
            if data not in allowed:
                problems.append(f'{name} is wrong')
        kept = [name for name, data in before.items() if data == self.whole.get(name) and name != dropped]
        problems += [f'{name} is lost' for name in kept if name not in after]
        held = {name: after.get(f'quarantine/{name}.0', after.get(name)) for name in before if name in (B, dropped)}
        problems += [f'{name} is lost' for name, data in held.items() if data is None]
        if after.get('manifest.json') == self.whole['manifest.json'] != before.get('manifest.json'):
            problems += [f'the manifest names {name}' for name in (A, B, C) if after.get(name) != self.whole[name]]
        return problems

    def unlike_whole(self, cache: Path) -> list[str]:
        """What distinguishes a cache from an undisturbed one, beside temporaries and what was set aside."""
        after = contents(cache / self.key) if (cache / self.key).exists() else {}
        seen = {name: data for name, data in after.items() if not name.startswith(('.', 'quarantine/'))}
        return [f'{name} differs' for name in different(seen, self.whole)]

    def bad_recovery(self, cache: Path, repaired: bool = False) -> list[str]:
        """What is still wrong when the same is run again without a fault."""
        problems = []
        if not self.unlike_whole(cache) and not any(cache.glob('*/.*')):
            return problems
        if repaired:
            again = self.run('--under', cache, '--count-only', '--', ROOT / 'tools/inspect_cache.py', 'repair', cache)
            problems += [] if again.status == 0 else [f'the next repair ended with {again.status}: {again.err}']
        again = self.disturb('cache_sam', cache, '--count-only')
        problems += [] if again.status == 0 else [f'the next run ended with {again.status}: {again.err}']
        problems += [f'{name} after the next run' for name in self.unlike_whole(cache)]
        left = [path.name for path in (cache / self.key).iterdir() if path.name.startswith('.')]
        return problems + [f'{name} was left behind' for name in left]

    def bad_picture(self, cache: Path, before: dict[str, bytes], finished: Finished, for_good: bool) -> list[str]:
        """What is wrong with a drawing and its folder: it is the old one or a whole new one, without a temporary."""
        after = contents(cache)
        picture = after.pop('picture.png', None)
        problems = [f'{name} was changed' for name in different(before, contents(cache / self.key))]
        if picture != EARLIER and not (picture or b'').endswith(b'IEND\xaeB`\x82'):
            problems.append('the earlier picture is lost')
        if finished.status == 0 and picture == EARLIER:
            problems.append('status 0 without a picture')
        if not for_good:  # else it may not even be removed
            problems += [f'{name} was left behind' for name in after if not name.startswith(self.key)]
        return problems


def _is_about(name: str, line: str) -> bool:
    return line.startswith((f'failed: {name}: ', f'{name}: ')) or entry_name(name) in line


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, with their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def different(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of files that are not the same in both."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@pytest.fixture(scope='module')
def laboratory(tmp_path_factory, request):
    servers = 2 if request.config.getoption('--long') else 1
    laboratory = Laboratory(tmp_path_factory.mktemp('laboratory'), servers)
    yield laboratory
    laboratory.stop()


def try_all(laboratory: Laboratory, trials, cases: list[Case], at_first: int) -> None:
    """Tries a random few of the cases, in the long form all of them, on all servers."""
    chosen = trials.many(trials.rng.permutation(len(cases))[:at_first], range(len(cases)))
    tried = [cases[i] for i in chosen]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(laboratory.tried, tried))
    for case, problems in zip(tried, outcomes, strict=True):
        trials.count(case.row, lost=bool(problems))
    lost = [f'{case}: {"; ".join(problems)}' for case, problems in zip(tried, outcomes, strict=True) if problems]
    assert not lost, '\n'.join([f'{len(lost)} of {len(tried)}', *lost])


@pytest.mark.parametrize('kind', ['write', 'fsync', 'link', 'rename'])
def test_an_error_at_any_call_that_commits_leaves_nothing_false(laboratory, trials, kind):
    cases = [case for command in WRITING for case in laboratory.cases(command, (kind,), ('ENOSPC', 'EIO'))]
    try_all(laboratory, trials, cases, 2)


def test_an_error_at_any_other_call_leaves_nothing_false(laboratory, trials):
    changes = ('mkdir', 'open', 'unlink')
    cases = [case for command in WRITING for case in laboratory.cases(command, changes, ('ENOSPC', 'EIO'))]
    cases += [case for command in WRITING for case in laboratory.cases(command, LOOKS, ())]
    cases += laboratory.cases('repair one', ('read',), ())
    try_all(laboratory, trials, cases, 4)


def test_looking_into_a_cache_that_cannot_be_read_fails_and_changes_nothing(laboratory, trials):
    cases = [case for command in ('status', 'verify', 'stats', 'show') for case in laboratory.cases(command, LOOKS, ())]
    cases += laboratory.cases('show', ('write', 'fsync', 'link', 'rename', 'open'), ('ENOSPC', 'EIO'))
    try_all(laboratory, trials, cases, 4)


# What becomes of the cache, or of its folder of one fingerprint, under the feet of a run.
SWAPS = {
    'gone': 'mv {0} {1}',
    'another folder': 'mv {0} {1}; mkdir -p {0}',
    'a file': 'mv {0} {1}; touch {0}',
    'a link that leads nowhere': 'mv {0} {1}; ln -s nowhere {0}',
}


def swapped(laboratory: Laboratory, kind: str, at: int, what: str, whole: bool) -> list[str]:
    """Swaps the cache, or its inner folder, at the N-th call of a kind; returns what was wrong."""
    cache = laboratory.start('cache_sam')
    place = cache if whole else cache / laboratory.key
    moved = SWAPS[what].format(f"'{place}'", f"'{cache} before'")
    finished = laboratory.disturb('cache_sam', cache, '--kind', kind, '--at', at, '--do', f'({moved}) 2>/dev/null')
    problems = laboratory.bad_end(finished)
    taken = {Path(name).name: data for name, data in contents(cache.with_name(f'{cache.name} before')).items()}
    complete = not laboratory.unlike_whole(cache) or laboratory.whole.items() <= taken.items()
    if finished.status == 0 and not complete:
        problems.append('status 0, but not all was cached, neither here nor in what was taken away')
    if place.is_symlink() or place.is_file():
        place.unlink()
    if cache.is_dir():
        problems += laboratory.false_commits(cache, {})
    problems += laboratory.bad_recovery(cache)
    return problems + ([f'it said: {finished.err}'] if problems else [])


def test_a_cache_that_is_taken_away_meanwhile_is_missed(laboratory, trials):
    calls = laboratory.calls('cache_sam')
    kinds = ('mkdir', 'open', 'fsync', 'link', 'rename', 'unlink')
    places = [(kind, at) for kind in kinds for at in range(1, calls[kind] + 1)]
    cases = [(*place, what, whole) for place in places for what in SWAPS for whole in (False, True)]
    chosen = trials.rng.permutation(len(cases))[: trials.many(3, 79)]
    # And at the first claim, when only the description has been written: all else is then written to the new folder.
    # And when the last file is opened, the manifest, after all that it lists was read.
    sure = [('open', at, 'another folder', False) for at in (2, calls['open'])]
    tried = [*sure, *(cases[i] for i in chosen)]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda case: swapped(laboratory, *case), tried))
    trials.count('I/O error, real limits', len(tried), sum(map(bool, outcomes)))
    lost = [f'{case}: {"; ".join(problems)}' for case, problems in zip(tried, outcomes, strict=True) if problems]
    assert not lost, '\n'.join(lost)


MAKERS = {'a folder': Path.mkdir, 'an empty file': Path.touch, 'a loop': lambda path: path.symlink_to(path.name)}


def misplaced(laboratory: Laboratory, name: str, what: str) -> list[str]:
    """Puts something else in the place of a part of the cache, or of all of it; returns what was wrong."""
    cache = laboratory.start('cache_sam again')
    place = cache / laboratory.key / name
    if name == '.':
        shutil.rmtree(cache)
        place = cache
    place.unlink(missing_ok=True)
    before = contents(cache / laboratory.key)
    MAKERS[what](place)
    finished = laboratory.disturb('cache_sam', cache, '--count-only')
    problems = laboratory.bad_end(finished)
    problems += laboratory.unlike_whole(cache) if finished.status == 0 else []
    if finished.status == 0:
        return problems
    if place.is_dir() and not place.is_symlink():
        place.rmdir()
    else:
        place.unlink(missing_ok=True)
    problems += laboratory.false_commits(cache, before) if cache.exists() else []
    return problems + laboratory.bad_recovery(cache)


def test_something_else_in_the_place_of_a_part_of_the_cache_is_a_line(laboratory, trials):
    cases = [(name, what) for name in ('fingerprint.json', 'manifest.json', A, 'quarantine', '.') for what in MAKERS]
    for case in trials.rng.permutation(cases)[: trials.many(4, len(cases))]:
        problems = misplaced(laboratory, *case)
        trials.count('I/O error, real limits', lost=bool(problems))
        assert not problems, case


# Runs the command that is its second argument and the rest; files may have as many bytes as its first one says.
WITH_FILES_UP_TO = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def run_really(laboratory: Laboratory, command: str, cache: Path, redirection: str = '', limit: int | None = None):
    """A command line as a shell runs it, without the launcher; returns status, output, errors."""
    shell = ['bash', '-c', f'set -o pipefail; {sys.executable} "$@" {redirection}', 'bash']
    limited = [] if limit is None else [sys.executable, '-c', WITH_FILES_UP_TO, str(limit)]
    finished = subprocess.run(
        [*limited, *shell, *map(str, flags_of(command, cache, laboratory.images))],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
        timeout=100,
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr, {})


def test_a_limit_of_file_sizes_is_a_full_disk(laboratory, trials):
    largest = max(len(data) for data in laboratory.whole.values())
    smallest = min(len(data) for data in laboratory.whole.values())
    limits = [1000, 0, 1, smallest - 1, smallest, 4096, largest - 1, largest]
    for limit in limits[: trials.many(1, len(limits))]:
        for command in ('cache_sam', 'repair')[: trials.many(1, 2)]:
            cache = laboratory.start(command)
            before = contents(cache / laboratory.key)
            finished = run_really(laboratory, command, cache, limit=limit)
            problems = laboratory.bad_end(finished)
            problems += laboratory.false_commits(cache, before, dropped=C if command == 'repair' else None)
            problems += laboratory.bad_recovery(cache, repaired=command == 'repair')
            trials.count('I/O error, real limits', lost=bool(problems))
            assert not problems, (limit, problems, finished)
            assert command == 'repair' or finished.status == (2 if limit < largest else 0), finished


# Exit statuses that are right: whether a reader goes before the last word is chance, and not all write errors.
OUTPUTS = {
    '>&-': (0,),
    '2>&-': (0,),
    '>&- 2>&- <&-': (0,),
    '>/dev/full': (1, 2),
    '2>/dev/full': (0, 1, 2),
    '>/dev/full 2>&1': (1, 2),
    '| true': (0, 1, 2),
    '2>&1 | true': (0, 1, 2),
}


def without_output(laboratory: Laboratory, redirection: str, command: str) -> list[str]:
    """Runs a command whose output goes nowhere; returns what was wrong."""
    cache = laboratory.start(command)
    before = contents(cache / laboratory.key)
    finished = run_really(laboratory, command, cache, redirection)
    problems = ['Python complains at exit'] if 'ignored' in finished.err else []
    problems += ['a traceback'] if 'Traceback' in finished.err + finished.out else []
    good = OUTPUTS[redirection]
    problems += [] if finished.status in good else [f'exit status {finished.status}']
    if command in WRITING:
        repaired = command in REPAIRS
        problems += laboratory.unlike_whole(cache) if finished.status == 0 and not repaired else []
        problems += laboratory.false_commits(cache, before, dropped=C if repaired else None)
        problems += laboratory.bad_recovery(cache, repaired)
    return problems + ([f'it said: {finished.out} {finished.err}'] if problems else [])


def test_an_output_that_cannot_be_written_is_no_crash(laboratory, trials):
    cases = [(output, 'cache_sam') for output in OUTPUTS]
    cases += [(output, command) for output in OUTPUTS for command in ('verify', 'stats', 'status', 'repair')]
    lost = []
    for case in trials.rng.permutation(cases)[: trials.many(3, len(cases))]:
        problems = without_output(laboratory, *case)
        trials.count('I/O error, real limits', lost=bool(problems))
        lost += [f'{case}: {"; ".join(problems)}'] if problems else []
    assert not lost, '\n'.join(lost)
