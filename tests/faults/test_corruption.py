"""Damage in a finished cache: flipped bits, cut files, other settings. Found, named, set aside and made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from faults.conftest import draw_panoramas
from stage1_sam_cache import open_cache
from stage1_sam_cache.cache.fingerprint import Fingerprint
from stage1_sam_cache.cache.panorama_file import encode
from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.cache.writer import CacheWriter
from stage1_sam_cache.errors import DamagedFileError, MaskCacheError

_PANORAMAS = 40
_FLAGS = ('--generator', 'felzenszwalb', '--scales', '50', '--window', '40x64', '--stride', '32')


@pytest.fixture(scope='module')
def whole(tmp_path_factory, run_tool) -> tuple[Path, Path]:
    """Images, and their sealed cache."""
    folder = tmp_path_factory.mktemp('corruption')
    images = folder / 'images'
    draw_panoramas(images, _PANORAMAS, 8)
    run_tool('cache_sam.py', '--images', images, *_FLAGS, '--out', folder / 'cache').check_returncode()
    return images, folder / 'cache'


def damage(file: Path, rng: np.random.Generator, cut: bool) -> None:
    """Flips one bit, or cuts the file anywhere."""
    content = bytearray(file.read_bytes())
    if cut:
        content = content[: rng.integers(len(content))]
    else:
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    file.write_bytes(content)


@pytest.mark.parametrize('cut', [False, pytest.param(True, marks=pytest.mark.long)], ids=['bits', 'cuts'])
def test_damaged_panoramas_are_found_named_set_aside_and_made_anew(trials, whole, run_tool, tmp_path, cut):
    images, sound = whole
    cache = tmp_path / 'cache'
    shutil.copytree(sound, cache)
    (folder,) = (path.parent for path in cache.glob('*/fingerprint.json'))
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    rounds, some = trials.many(1, 18 if cut else 36), 28
    kind = 'truncation of a panorama' if cut else 'flipped bit in a panorama'
    for _ in range(rounds):
        opened = MaskCache(folder)
        files = trials.rng.choice(np.array(opened.files(), dtype=object), some, replace=False)
        for file in files:
            damage(file, trials.rng, cut)
        hurt = {file.name for file in files}
        ids = {record['file']: record['id'] for record in opened.manifest()}
        unseen = sum(not refused(opened, ids[name]) for name in hurt)
        assert not any(refused(opened, ids[name]) for name in set(ids) - hurt)
        verified = run_tool('inspect_cache.py', 'verify', cache, '--full')
        assert verified.returncode == 1
        assert 'Traceback' not in verified.stderr
        named = {name for name in expected if name in verified.stderr}
        assert f'{_PANORAMAS - some} panoramas sound, {some} not' in verified.stdout
        repaired = run_tool('inspect_cache.py', 'repair', cache)
        assert repaired.returncode == 0, repaired.stderr
        assert f'{some} files set aside' in repaired.stdout
        assert {file.name for file in folder.glob('*.h5')} == set(ids) - hurt
        again = run_tool('cache_sam.py', '--images', images, *_FLAGS, '--out', cache)
        assert f'{some} done, {_PANORAMAS - some} already there, 0 failed' in again.stdout, again.stderr
        shutil.rmtree(folder / 'quarantine')
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
        trials.count(kind, some, unseen + (named != hurt))


def refused(cache: MaskCache, image_id: str) -> bool:
    """Whether a panorama can't be read, for damage, with its file's name."""
    try:
        cache[image_id]
    except DamagedFileError as problem:
        return str(cache.path) in str(problem)
    return False


@pytest.mark.parametrize('name', ['fingerprint.json', 'manifest.json'])
def test_a_damaged_description_or_manifest_is_refused_or_says_the_same(trials, whole, tmp_path, name):
    """A flipped bit between two values may leave JSON that means the same."""
    shutil.copytree(whole[1], tmp_path / 'cache')
    cache = open_cache(tmp_path / 'cache')
    records, file = cache.manifest(), cache.path / name
    sound = file.read_bytes()
    for turn in range(trials.many(60, 1000)):
        damage(file, trials.rng, cut=turn % 3 == 0)
        try:
            again = open_cache(tmp_path / 'cache')
            seen = again.fingerprint == cache.fingerprint and again.manifest() in (records, [])
            # A manifest of which nothing is left is as good as none; half of one is not.
            seen &= bool(again.manifest()) or not file.read_bytes().strip()
        except MaskCacheError as problem:
            seen = len(str(problem).splitlines()) == 1
        trials.count(f'damage in {name}', 1, not seen)
        file.write_bytes(sound)


def leaves(settings: dict, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, value in settings.items():
        found += leaves(value, (*prefix, name)) if isinstance(value, dict) else [(*prefix, name)]
    return found


def changed(settings: dict, path: tuple[str, ...]) -> dict:
    """The same settings with another value in one place."""
    other = json.loads(json.dumps(settings))
    inner = other
    for name in path[:-1]:
        inner = inner[name]
    value = inner[path[-1]]
    if isinstance(value, bool):
        inner[path[-1]] = not value
    elif isinstance(value, (int, float)):
        inner[path[-1]] = value + 1
    elif isinstance(value, list):
        inner[path[-1]] = [value[0] + 1, *value[1:]]
    else:
        inner[path[-1]] = f'{value}_'
    return other


@pytest.mark.parametrize('masks', ['felzenszwalb', 'sam'])
def test_every_changed_field_of_the_identity_is_refused_by_name(trials, whole, tmp_path, tiny_sam, masks):
    from stage1_sam_cache.build.settings import CacheSettings
    from stage1_sam_cache.sam.sam_generator import SamMaskGenerator

    sound = open_cache(whole[1])
    panorama = sound[next(iter(sound))]
    settings = json.loads(sound.fingerprint.canonical)
    if masks == 'sam':
        generator = SamMaskGenerator(tiny_sam, 'vit_h', 'a' * 64)
        same_grid = CacheSettings(window=(40, 64), stride=32)
        settings = json.loads(same_grid.fingerprint(generator).canonical)
    mine = Fingerprint(settings)
    cache = CacheWriter(tmp_path, mine).cache
    names = leaves(settings)
    assert len(names) > (20 if masks == 'sam' else 10)
    for path in names:
        other, name = Fingerprint(changed(settings, path)), '.'.join(path)
        with pytest.raises(MaskCacheError) as of_settings:
            open_cache(tmp_path, expect=other)
        # A panorama made with the other settings, put into this cache's folder.
        if path[0] != 'grid':
            stranger = encode(type(panorama)(**{**vars(panorama), 'fingerprint': other}))
            file = cache.path / next(iter(sound.files())).name
            file.write_bytes(stranger)
            with pytest.raises(DamagedFileError) as of_file:
                cache.read(file)
            file.unlink()
        else:
            of_file = of_settings
        said = all(f'{name} is ' in str(found.value) for found in (of_settings, of_file))
        trials.count('changed field of the identity', 1, not said)
