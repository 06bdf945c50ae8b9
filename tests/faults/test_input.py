"""Hostile images, names, lists and labels: taken by the stated policy or refused in one line, and the rest goes on."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS as MMSEG_DATASETS
from PIL import Image

from stage1_sam_cache import open_cache
from stage1_sam_cache.cache.reader import entry_name
from stage1_sam_cache.data.catalog import list_dataset
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.data.refusals import RefusedError
from stage1_sam_cache.errors import DatasetError, ImageError
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.scoring import use_dataset

from .hostile_images import (
    ACCEPTED,
    PLAIN,
    all_black,
    blocks,
    bomb_of_text,
    encoded,
    mutants,
    png,
    png_start,
    write_hostile,
    write_no_files,
)

FAST = ('--generator', 'felzenszwalb', '--scales', '50', '--window', '40x64', '--stride', '32')
QUICK = ('--generator', 'felzenszwalb', '--scales', '50', '--window', '40x160', '--stride', '160')  # one window each
PEAK = 'peak resident KB: '
# A small process that starts a command: a peak begins with that of the process that forks.
TELLS_THE_PEAK = f"""
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print('{PEAK}', usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run_and_measure(*arguments: object) -> tuple[subprocess.CompletedProcess[str], float]:
    """Runs ``tools/cache_sam.py`` and tells how many MB it had at most."""
    command = [sys.executable, str(ROOT / 'tools/cache_sam.py'), *map(str, arguments)]
    process = subprocess.Popen(
        [sys.executable, '-c', TELLS_THE_PEAK, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        texts = process.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the tool too
        process.communicate()
        raise
    finished = subprocess.CompletedProcess(command, process.returncode, *texts)
    *_, peak = finished.stderr.splitlines()
    assert peak.startswith(PEAK), finished.stderr
    return finished, int(peak.removeprefix(PEAK)) / 1024


def failures(finished: subprocess.CompletedProcess[str]) -> list[str]:
    """What stands behind ``failed:``, a line each."""
    return [line.removeprefix('failed: ') for line in finished.stderr.split('\n') if line.startswith('failed: ')]


def entries(cache_root: Path) -> dict[str, bytes]:
    """The files of the only cache below a folder."""
    return {file.name: file.read_bytes() for file in open_cache(cache_root).files()}


def assert_one_error_line(finished: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert finished.returncode == 2, finished.stderr
    assert 'Traceback' not in finished.stderr
    lines = finished.stderr.splitlines()
    assert len(lines) == 1, finished.stderr
    assert 'error: ' in lines[0]
    for part in parts:
        assert part in lines[0]


# --- images ---


def test_no_hostile_image_ends_the_run_or_takes_much_memory(tmp_path, trials):
    good, hostile = tmp_path / 'good', tmp_path / 'hostile'
    for folder in (good, hostile):
        folder.mkdir()
        for number in (1, 2):
            (folder / f'good {number}.png').write_bytes(encoded(blocks(100 + number), 'PNG'))
    undisturbed, usual = run_and_measure('--images', good, *FAST, '--out', tmp_path / 'usual')
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected = write_hostile(hostile, trials.many(15, 1000), trials.rng)
    assert len(expected) > 100

    finished, peak = run_and_measure('--images', hostile, *FAST, '--out', tmp_path / 'cache')
    assert finished.returncode == 1, finished.stderr
    assert 'Traceback' not in finished.stderr
    assert peak - usual < 200
    cache, failed = open_cache(tmp_path / 'cache'), failures(finished)
    cached, refused = set(cache), 0
    for name, outcome in expected.items():
        outcomes = (outcome,) if isinstance(outcome, str) else outcome
        stem = unicodedata.normalize('NFC', name.rpartition('.')[0])
        # What is refused by its name or kind has its extension there, what can't be read has its id.
        lines = [line for line in failed if line.startswith((f'{name}: ', f'{stem}: '))]
        if stem in cached:
            assert ACCEPTED in outcomes, f'{name} was cached'
            assert not lines
            assert len(cache[stem].windows) >= 1
        else:
            assert len(lines) == 1, f'{name}: {lines}'
            assert any(part in lines[0] for part in outcomes if part != ACCEPTED), lines[0]
            refused += 1
    assert len(failed) == refused
    assert len(cached) == len(expected) - refused + 2
    assert f'{len(cached)} done, 0 already there, {refused} failed' in finished.stdout
    assert entries(tmp_path / 'usual').items() <= entries(tmp_path / 'cache').items()
    trials.count('hostile images', len(expected))


def test_links_that_are_followed_lead_to_no_device_and_no_pipe(tmp_path, trials):
    images = tmp_path / 'images'
    images.mkdir()
    (tmp_path / 'secret.png').write_bytes(PLAIN['png'])
    names = write_no_files(images)
    listing = list_folder(images, follow_links=True)
    assert {sample.id for sample in listing.samples} == {'directory.png/inside', 'link within', 'out of here'}
    # A terminal's link leads nowhere where there is none, and the folder that holds this one is no folder below it.
    for name, reason in listing.refused:
        assert name in names
        assert any(part in reason for part in ('not a regular file', 'leads nowhere', 'leads back', 'listed already'))
    assert len(listing.samples) + len(listing.refused) == len(names)
    trials.count('hostile images', len(names))


# --- names ---


ODD_NAMES = (
    'new\nline',
    'ends in one\n',
    '\nfailed: something else: a lie',
    'carriage\rreturn',
    'tab\tand bell\a',
    'escape \x1b[31mred',
    'all controls ' + ''.join(map(chr, range(1, 32))),
    'next\x85line\u2028separator',
    '-rf',
    '--help',
    '"double"',
    "'single'",
    '`backticks` $(touch owned) $HOME',
    ';|&<>',
    '*',
    '?[a-z]{b,c}',
    '**',
    '~',
    '#comment',
    '%s%n%00%2e%2e',
    ' ',
    '   ',
    ' leading and trailing ',
    'x' * 251,
    '\u00e9' * 125,
    '\U0001f6f8\U0001f3f3\ufe0f\u200d\U0001f308',
    'right\u202eto left',
    'no\u200bspace',
    'back\\slash',
    'up\\..\\..\\up',
    'C:\\windows',
    'a.png',
    'dots...',
    'case',
    'Case',
    'CASE',
    'stra\u00dfe',
    'strasse',
    '\ufb01ne',  # a ligature, which NFC keeps
    'fine',
    'NUL',
    'con',
    '1' * 250,
    '\u0661\u0662',  # digits too
    'manifest.json',
    'fingerprint',
    'a/b',
    'a/b/' * 60 + 'deep',
)


def test_hostile_names_get_entries_of_their_own_inside_the_cache(run_tool, tmp_path, trials):
    folder, out = tmp_path / 'images', tmp_path / 'cache'
    for name in ODD_NAMES:
        path = folder / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PLAIN['png'])
    before = sorted(tmp_path.rglob('*'))
    run = ('cache_sam.py', '--images', folder, *QUICK, '--out', out)
    finished = run_tool(*run, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert f'sealed       all {len(ODD_NAMES)} panoramas' in finished.stdout
    assert_all_named(out, run_tool)
    found = {path for path in tmp_path.rglob('*') if path not in set(before)}
    assert all(path == out or out in path.parents for path in found)
    assert sorted(path for path in tmp_path.rglob('*') if path not in found) == before

    # Beside them what can't be cached: one line each, whatever the name.
    for name in ODD_NAMES:
        path = folder / 'broken' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    accents = [unicodedata.normalize(form, 's\u00e3o\n.png') for form in ('NFC', 'NFD')]
    for name in (*accents, '..png', '.hidden.png'):
        (folder / name).write_bytes(PLAIN['png'])
    not_utf8 = write_not_utf8(folder)
    too_deep(folder)
    finished = run_tool(*run, cwd=tmp_path)
    assert finished.returncode == 1, finished.stderr
    assert 'Traceback' not in finished.stderr
    failed = failures(finished)
    many = len(ODD_NAMES) + len(accents) + not_utf8 + 1  # the last is the folder that is too deep
    assert f'0 done, {len(ODD_NAMES)} already there, {many} failed' in finished.stdout
    assert len(failed) == many
    lines = [line for line in finished.stderr.splitlines() if line.strip() and 'caching masks' not in line]
    assert [line for line in lines if not line.startswith('failed: ')] == [
        f'{len(accents) + not_utf8 + 1} refused; --skip-refused goes on without them, with status 0'
    ]
    assert len(lines) == many + 1
    assert sum('is empty (0 bytes)' in line for line in failed) == len(ODD_NAMES)
    assert sum('has the same id' in line for line in failed) == len(accents)
    assert sum('is not UTF-8' in line for line in failed) == not_utf8
    assert_all_named(out, run_tool)
    assert not (tmp_path / 'owned').exists()
    trials.count('hostile names', 2 * len(ODD_NAMES) + len(accents) + not_utf8 + 3)


def assert_all_named(out: Path, run_tool: Callable[..., Any]) -> None:
    """The cache holds the odd names and nothing else, and its checks are clean."""
    cache = open_cache(out)
    ids = {unicodedata.normalize('NFC', name) for name in ODD_NAMES}
    assert len(ids) == len(ODD_NAMES) == len(cache.files())
    assert set(cache) == ids
    for image_id in ids:
        assert image_id in cache
        assert cache[image_id].image_id == image_id
    assert {record['id'] for record in cache.manifest()} == ids
    looked = run_tool('inspect_cache.py', 'verify', out, '--full')
    assert looked.returncode == 0, looked.stderr


def write_not_utf8(folder: Path) -> int:
    """How many names of bytes that are not UTF-8 the file system took."""
    written = 0
    for name in (b'\xff\xfe.png', b'latin \xe9.png', b'cut \xe2\x82.png', b'surrogate \xed\xa0\x80.png'):
        try:
            Path(os.fsdecode(os.fsencode(folder) + b'/' + name)).write_bytes(PLAIN['png'])
        except OSError:  # a file system for UTF-8 alone
            continue
        written += 1
    return written


def too_deep(folder: Path) -> None:
    """Folders in folders, past what a path may be long, with an image at the end."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(17):
        os.mkdir('d' * 250, dir_fd=descriptor)
        inner = os.open('d' * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    with open(os.open('image.png', os.O_WRONLY | os.O_CREAT, dir_fd=descriptor), 'wb') as file:  # noqa: PTH123
        file.write(PLAIN['png'])
    os.close(descriptor)


def fuzz(trials, short: int, long: int):
    """Settings of a property: seeded as the trials are, and leaving nothing behind."""

    def decorate(check):
        quiet = settings(max_examples=trials.many(short, long), deadline=None, database=None)
        return seed(trials.seed)(settings(quiet, suppress_health_check=list(HealthCheck))(check))

    return decorate


NAMES = st.text(st.characters(exclude_categories=('Cs',), exclude_characters='/\0'), min_size=1, max_size=60)


def test_whatever_the_names_entries_are_distinct_and_plain(tmp_path_factory, trials):
    taken = 0

    @fuzz(trials, 30, 2000)
    @given(st.sets(NAMES, min_size=1, max_size=8))
    @example({'..', '.', 'a'})
    def check(names: set[str]) -> None:
        nonlocal taken
        folder = tmp_path_factory.mktemp('names')
        kept = {name for name in names if not name.startswith('.') and len(name.encode()) < 250}
        for name in names & kept:
            (folder / f'{name}.png').touch()
        if kept:
            listing = list_folder_or_refusal(folder)
            ids = [sample.id for sample in listing.samples]
            files = {entry_name(image_id) for image_id in ids}
            assert len(files) == len(set(ids)) == len(ids)
            assert all(Path(file).name == file and file.isascii() and len(file) < 100 for file in files)
            # Nothing is lost without a word: names of one id refuse each other.
            assert len(ids) + len(listing.refused) == len(kept)
        shutil.rmtree(folder)
        taken += len(names)

    check()
    trials.count('hostile names', taken)


def list_folder_or_refusal(folder: Path):
    """A listing, with an image beside the others so that it is never empty."""
    (folder / 'one that is plain and good').mkdir(exist_ok=True)
    (folder / 'one that is plain and good' / '1.png').touch()
    listing = list_folder(folder)
    beside = [sample for sample in listing.samples if sample.id != 'one that is plain and good/1']
    return listing._replace(samples=beside)


# --- lists ---


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    """An image folder in the layout of a data set, with a secret beside it and links to the secret inside."""
    images = tmp_path / 'root/leftImg8bit/train'
    for name in ('a.png', 'sub/b.png', 'comma, and space.png', 'caf\u00e9.png'):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(PLAIN['png'])
    for place in (tmp_path, tmp_path / 'root', tmp_path / 'root/leftImg8bit'):
        (place / 'secret.png').write_bytes(PLAIN['png'])
    (images / 'link.png').symlink_to(tmp_path / 'secret.png')
    (images / 'up').symlink_to('..')
    return images


REFUSED_ENTRIES = {
    '../secret.png': "holds '..'",
    'sub/../../secret.png': "holds '..'",
    'sub/../a.png': "holds '..'",
    '..\\secret.png': "holds '..'",
    'a.png\t../secret.png': "holds '..'",
    '../secret.png,a.png': "holds '..'",
    '..': "holds '..'",
    '%2e%2e/secret.png': 'no such image',
    '..%2fsecret.png': 'no such image',
    '..%00/secret.png': 'no such image',
    '\u2025/secret.png': 'no such image',  # one character of two dots
    '\uff0e\uff0e/secret.png': 'no such image',  # full stops of full width
    '.../secret.png': 'no such image',
    '/etc/passwd': 'no such image',
    '//server/share/secret.png': 'no such image',
    'file:///etc/passwd': 'no such image',
    'C:\\secret.png': 'names a drive',
    'c:secret.png': 'names a drive',
    '~/secret.png': 'no such image',
    '$HOME/secret.png': 'no such image',
    '*.png': 'no such image',
    'a.png\0.txt': 'holds a NUL',
    '\0': 'holds a NUL',
    'gone.png': 'no such image',
    'link.png': '--follow-links',
    'up/secret.png': 'no such image',
    'secret.png': 'no such image',
    'x' * 5000: 'no such image',
    '/' * 5000: 'no such image',
    'a/' * 5000: 'no such image',
    '"a.png"': 'no such image',
    '-rf': 'no such image',
}
TAKEN_LISTS = {
    'carriage returns': (b'a.png\r\nsub/b.png\r\n', ['a', 'sub/b']),
    'carriage returns alone': (b'a.png\rsub/b.png\r', ['a', 'sub/b']),
    'a byte order mark': (b'\xef\xbb\xbfa.png\n', ['a']),
    'blank lines and comments': (b'\n  \n# a.png\n\t\nsub/b\n#\n', ['sub/b']),
    'no newline at the end': (b'sub/b.png', ['sub/b']),
    'another order': (b'sub/b.png\na.png\n', ['sub/b', 'a']),
    'commas and spaces': (b'comma, and space.png\n', ['comma, and space']),
    'an endless tail': (b'a.png' + b',a.png' * 200_000, ['a']),
    'a label behind a tab': (b'a.png\tlabels/a.png\n', ['a']),
    'an accent in two characters': ('cafe\u0301.png\n'.encode(), ['caf\u00e9']),
    'leading slashes and dots': (b'///a.png\n././sub/./b.png\n', ['a', 'sub/b']),
    'its folder before': (b'leftImg8bit/train/a.png\ntrain/sub/b.png\n', ['a', 'sub/b']),
    'another extension': (b'a.JPG\n', ['a']),
}
USELESS_LISTS = {
    'empty': (b'', 'is empty'),
    'only comments': (b'# a.png\n\n', 'is empty'),
    'only a byte order mark': (b'\xef\xbb\xbf', 'is empty'),
    'bytes that are no text': (PLAIN['png'], 'is not UTF-8 text'),
    '16 bits a character': ('a.png\n'.encode('utf-16'), 'is not UTF-8 text'),
    'NULs': (bytes(1000), 'holds a NUL'),
    'nothing that is there': (b'gone.png\nalso gone.png\n', 'all 2 images or list entries were refused'),
    'nothing inside': (b'../secret.png\n/etc/passwd\n', 'all 2 images or list entries were refused'),
    'one endless line': (b'a.png ' * 200_000, 'no such image'),
}


@pytest.mark.parametrize('name', TAKEN_LISTS)
def test_an_odd_list_is_read_as_meant(tmp_path, guarded, trials, name):
    content, ids = TAKEN_LISTS[name]
    (tmp_path / 'list.txt').write_bytes(content)
    listing = list_folder(guarded, tmp_path / 'list.txt')
    assert [sample.id for sample in listing.samples] == ids
    assert listing.refused == []
    trials.count('hostile lists')


def test_hostile_entries_are_a_line_each_and_the_others_are_cached(run_tool, tmp_path, guarded, trials):
    wanted = ['# order', 'a.png', *REFUSED_ENTRIES, 'a', '', 'sub/b.png']
    # A hundred thousand more, of which all are refused.
    many = [f'../../{number}/secret.png' for number in range(100_000)]
    (tmp_path / 'list.txt').write_bytes('\r\n'.join(wanted + many).encode())
    command = ('cache_sam.py', '--images', guarded, '--list', tmp_path / 'list.txt', *QUICK)
    finished = run_tool(*command, '--out', tmp_path / 'cache')
    assert finished.returncode == 1, finished.stderr[-3000:]
    assert 'Traceback' not in finished.stderr
    failed = failures(finished)
    for entry, reason in REFUSED_ENTRIES.items():
        number = wanted.index(entry) + 1
        lines = [line for line in failed if f': line {number} of ' in line]
        assert len(lines) == 1, entry
        harmless = re.sub(r'[\x00-\x1f]', lambda control: repr(control[0])[1:-1], entry)  # no terminal obeys it
        assert lines[0].startswith(f'{harmless}: ')
        assert reason in lines[0]
    assert sum('named in line 2 before' in line for line in failed) == 1
    assert len(failed) == len(REFUSED_ENTRIES) + 1 + len(many)
    assert set(open_cache(tmp_path / 'cache')) == {'a', 'sub/b'}
    trials.count('hostile lists', len(REFUSED_ENTRIES) + 2)


@pytest.mark.parametrize('name', USELESS_LISTS)
def test_a_list_that_yields_nothing_is_refused_in_one_line(tmp_path, guarded, trials, name):
    content, reason = USELESS_LISTS[name]
    (tmp_path / 'list.txt').write_bytes(content)
    with pytest.raises(DatasetError) as refused:
        list_folder(guarded, tmp_path / 'list.txt')
    assert reason in str(refused.value)
    assert 'list.txt' in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    trials.count('hostile lists')


def test_the_tool_refuses_a_useless_list_with_status_2(run_tool, tmp_path, guarded, trials):
    (tmp_path / 'a folder').mkdir()
    for name, (content, _) in USELESS_LISTS.items():
        (tmp_path / name).write_bytes(content)
    for name in ('a folder', 'missing', 'nothing inside', *USELESS_LISTS)[: trials.many(3, 99)]:
        run = ('cache_sam.py', '--images', guarded, '--list', tmp_path / name, *QUICK, '--out', tmp_path / 'cache')
        assert_one_error_line(run_tool(*run), str(tmp_path / name))
        assert not (tmp_path / 'cache').exists()
        trials.count('hostile lists')


DOTS = (
    '..',
    '.',
    '/',
    '\\',
    '%2e%2e',
    '%2f',
    '\u2025',
    '\uff0e\uff0e',
    'C:',
    '~',
    '\0',
    '\t',
    ',',
    '#',
    '\ufeff',
    '\r',
)
PLACES = ('a', 'a.png', 'sub', 'b.png', 'secret', 'secret.png', 'link.png', 'up', 'cs', 'train', 'leftImg8bit', 'root')
PIECES = st.sampled_from(DOTS + PLACES)
ENTRIES = st.text(max_size=30) | st.lists(PIECES, max_size=8).map(''.join) | st.lists(PIECES, max_size=8).map('/'.join)


def test_whatever_a_list_says_no_sample_lies_outside(tmp_path, guarded, trials):
    tried = 0
    inside = guarded.resolve()

    def check_list(path: Path, lines: int | None) -> None:
        for list_them in (
            lambda: list_folder(guarded, path),
            lambda: list_dataset('toypass', 'train', tmp_path / 'root', path),
        ):
            try:
                listing = list_them()
            except DatasetError as refused:
                assert 'list.txt' in str(refused) and len(str(refused)) < 10_000
                continue
            assert len({sample.id for sample in listing.samples}) == len(listing.samples)
            assert all(sample.image.resolve().is_relative_to(inside) for sample in listing.samples)
            assert all(reason.startswith('line ') for _, reason in listing.refused)
            assert lines is None or len(listing.samples) + len(listing.refused) == lines

    @fuzz(trials, 60, 4000)
    @given(st.lists(ENTRIES, max_size=6))
    @example([str(tmp_path / 'secret.png'), str(tmp_path / 'root/leftImg8bit/train/a.png')])
    def check(entries: list[str]) -> None:
        nonlocal tried
        tried += len(entries)
        text = '\n'.join(entries).encode()
        (tmp_path / 'list.txt').write_bytes(text)
        # Of an entry nothing may be left, and one with a line's end in it is two.
        lines = [line.strip() for line in re.split('\r\n|\r|\n', text.decode('utf-8-sig'))]
        check_list(tmp_path / 'list.txt', sum(bool(line) and not line.startswith('#') for line in lines))

    @fuzz(trials, 40, 1500)
    @given(st.binary(max_size=200))
    def check_bytes(content: bytes) -> None:
        nonlocal tried
        tried += 1
        (tmp_path / 'list.txt').write_bytes(content)
        check_list(tmp_path / 'list.txt', None)

    check()
    check_bytes()
    trials.count('fuzz: list entries', tried)


# --- labels ---


def as_scored(root: Path):
    """The labelled panoramas below a folder, loaded as ``tools/test.py --dataset toypass`` does."""
    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / 'mmseg_configs/goodsam_b0_toypass.py')
    use_dataset(config, 'toypass', 'val', str(root), None)
    return MMSEG_DATASETS.build(config.test_dataloader.dataset)


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """A data set of two labelled panoramas: its folder, the first label's file and ids."""
    root = tmp_path / 'labelled'
    ids = np.random.default_rng(3).choice([*range(19), 255], (40, 160)).astype(np.uint8)
    for number in (1, 2):
        for folder, name, content in (
            ('leftImg8bit', f'{number}.png', PLAIN['png']),
            ('gtFine', f'{number}_labelTrainIds.png', encoded(ids, 'PNG')),
        ):
            path = root / folder / 'val/cs' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root, root / 'gtFine/val/cs/1_labelTrainIds.png', ids


def hostile_labels(ids: np.ndarray) -> Iterator[tuple[str, bytes, str]]:
    """What may lie where a label belongs, and what is to become of it: ``ACCEPTED`` means with these ids."""
    image = Image.fromarray(ids)
    coloured = image.copy()
    coloured.putpalette([7, 7, 7] * 256)  # colours mean nothing, ids everything
    good = encoded(image, 'PNG')
    yield 'plain', good, ACCEPTED
    yield 'palette', encoded(coloured, 'PNG'), ACCEPTED
    yield 'palette with alpha', encoded(coloured, 'PNG', transparency=bytes(256)), ACCEPTED
    yield 'one id transparent', encoded(image, 'PNG', transparency=3), ACCEPTED
    yield 'animated', encoded(image, 'PNG', save_all=True, append_images=[Image.fromarray(ids[::-1])]), ACCEPTED
    yield 'an archive behind', good + b'PK\5\6' + bytes(18), ACCEPTED
    yield 'no end', good[:-12], ACCEPTED
    yield '16 bits', encoded(ids.astype(np.uint16), 'PNG'), '8 bits are needed'
    yield '16 bits, 256 times the ids', encoded(ids.astype(np.uint16) * 256, 'PNG'), '8 bits are needed'
    yield 'four bits', png(160, 40, (b'\0' + b'\x11' * 80) * 40, 4, 0), '8 bits are needed'
    yield 'rgb', encoded(image.convert('RGB'), 'PNG'), '8 bits are needed'
    yield 'rgba', encoded(image.convert('RGBA'), 'PNG'), '8 bits are needed'
    yield 'grey with alpha', encoded(image.convert('LA'), 'PNG'), '8 bits are needed'
    yield 'one bit', encoded(ids > 9, 'PNG'), '8 bits are needed'
    for beyond in (19, 33, 200, 254):
        changed = ids.copy()
        changed[0, 0] = beyond
        yield f'one pixel of {beyond}', encoded(changed, 'PNG'), f'ids {beyond} are none of the 19 classes'
    yield 'instances', encoded((np.arange(ids.size) % 255).astype(np.uint8).reshape(ids.shape), 'PNG'), 'are none of'
    yield 'on its side', encoded(ids.T.copy(), 'PNG'), 'labels of (160, 40) pixels for an image of (40, 160)'
    yield 'a row less', encoded(ids[1:], 'PNG'), 'labels of (39, 160)'
    yield 'twice as large', encoded(ids.repeat(2, 0).repeat(2, 1), 'PNG'), 'labels of (80, 320)'
    yield 'one pixel', encoded(ids[:1, :1], 'PNG'), 'labels of (1, 1)'
    yield 'zero bytes', b'', 'damaged or no PNG'
    yield 'a text', b'road, sidewalk\n', 'damaged or no PNG'
    for kind in ('JPEG', 'TIFF', 'BMP', 'GIF', 'WEBP'):
        yield f'a {kind}', encoded(image, kind), 'damaged or no PNG'
    yield 'wrong checksum', good[:60] + b'\xff\0\xff' + good[63:], 'damaged or no PNG'
    yield 'no pixels', png_start(160, 40, 8, 0), 'damaged or no PNG'
    # Their headers are believed, and their pixels never read.
    yield 'promise', png_start(2**31 - 1, 2**31 - 1, 8, 0) + good[33:], 'labels of (2147483647, 2147483647) pixels'
    yield 'all black', all_black(), 'labels of ('
    yield 'zTXt bomb', good[:33] + bomb_of_text() + good[33:], 'damaged or no PNG'
    for length in (1, 8, 20, 33, 41, 60, len(good) // 3, len(good) // 2, len(good) - 40):
        yield f'cut to {length}', good[:length], 'damaged or no PNG'


def test_hostile_labels_are_refused_by_name_or_mean_what_they_say(labelled, trials):
    root, label, ids = labelled
    dataset = as_scored(root)
    for name, content, outcome in hostile_labels(ids):
        label.write_bytes(content)
        try:
            found = dataset[0]['data_samples'].gt_sem_seg.data[0].numpy()
        except ImageError as refused:
            assert outcome != ACCEPTED, f'{name}: {refused}'
            assert str(refused).startswith(f'{label}: '), name
            assert outcome in str(refused), name
            assert len(str(refused).splitlines()) == 1
        else:
            assert outcome == ACCEPTED, f'{name} was taken'
            assert np.array_equal(found, ids), name
        assert np.array_equal(dataset[1]['data_samples'].gt_sem_seg.data[0].numpy(), ids)
        trials.count('hostile labels')


def test_no_changed_byte_of_a_label_gives_ids_that_are_no_classes(labelled, trials):
    root, label, ids = labelled
    dataset = as_scored(root)
    for _, content, _ in mutants(trials.many(60, 4000), trials.rng, {'png': encoded(ids, 'PNG')}):
        label.write_bytes(content)
        try:
            found = dataset[0]['data_samples'].gt_sem_seg.data[0].numpy()
        except ImageError as refused:
            assert str(refused).startswith(f'{label}: ') and len(str(refused).splitlines()) == 1
        else:
            assert found.shape == ids.shape and np.isin(found, [*range(19), 255]).all()
        trials.count('hostile labels')


@pytest.mark.parametrize('what', ['missing', 'a folder', 'a pipe', 'a link to nowhere', 'a link out of the labels'])
def test_what_is_no_label_file_is_said_before_anything_is_loaded(labelled, trials, what):
    root, label, _ = labelled
    label.unlink()
    if what == 'a folder':
        label.mkdir()
    elif what == 'a pipe':
        os.mkfifo(label)
    elif what == 'a link to nowhere':
        label.symlink_to('gone.png')
    elif what == 'a link out of the labels':
        label.symlink_to(root / 'leftImg8bit/val/cs/1.png')
    error, reason = ConfigError, r'1\.png has no label'
    if what == 'a link out of the labels':
        error, reason = RefusedError, r'label of cs/1: a link that leads out of'
    with pytest.raises(error, match=reason) as refused:
        len(as_scored(root))
    assert len(str(refused.value).splitlines()) == 1
    trials.count('hostile labels')


def test_a_label_with_a_promise_of_a_huge_chunk_is_refused_before_it_takes_memory(labelled, trials):
    root, label, ids = labelled
    good = encoded(ids, 'PNG')
    dataset = as_scored(root)
    dataset[1]
    for name in (b'tEXt', b'iCCP', b'IDAT'):
        with label.open('wb') as file:
            file.write(good[:33] + struct.pack('>I', 2**31 - 1) + name)
            file.truncate(2**31 + 60)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ImageError, match=r'1_labelTrainIds\.png: '):
            dataset[0]
        # Kilobytes of Linux; twice what may be read.
        lost = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 2**17
        trials.count('hostile labels', lost=int(lost))


def test_a_label_that_goes_away_after_it_was_listed_is_named(labelled, trials):
    root, label, _ = labelled
    dataset = as_scored(root)
    len(dataset)
    label.unlink()
    with pytest.raises(ImageError, match=r'1_labelTrainIds\.png: .*No such file'):
        dataset[0]
    trials.count('hostile labels')


@pytest.mark.long
def test_scoring_ends_at_a_hostile_label_in_one_line(labelled, run_tool, tmp_path, trials):
    root, label, ids = labelled
    beyond = ids.copy()
    beyond[10, 10] = 200
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{ROOT}/mmseg_configs/goodsam_b0_toypass.py'\n"
        'networks = dict(init_cfg=dict(_delete_=True))\n'
        'model = dict(grid=dict(window=(100, 128), stride=64), student=networks, teacher_assistant=networks)\n'
    )
    cases = (
        (1, encoded(ids, 'PNG')[:500], 'damaged or no PNG'),  # in a loader's process
        (0, encoded(beyond, 'PNG'), 'ids 200 are none of the 19 classes'),
    )
    for workers, content, reason in cases:
        label.write_bytes(content)
        options = f'test_dataloader.num_workers={workers}', f'test_dataloader.persistent_workers={bool(workers)}'
        finished = run_tool(
            'test.py', config, '--dataset', 'toypass', '--data-root', root, '--predictor', 'student',
            '--work-dir', tmp_path / 'work', '--cfg-options', *options,
        )  # fmt: skip
        assert finished.returncode == 2, finished.stderr
        assert 'Traceback' not in finished.stderr + finished.stdout
        *before, last = finished.stderr.splitlines()
        assert last.startswith(f'error: {label}: ')
        assert reason in last
        assert not any('error: ' in line for line in before)
        assert not (tmp_path / 'work/scores.json').exists()
        trials.count('hostile labels')
