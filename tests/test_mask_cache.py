"""The cache: what is written comes back, damage is found, other settings are refused by name."""

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from fuzz import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from stage1_sam_cache import MaskCacheError, open_cache
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache import panorama_file as cache_file
from stage1_sam_cache.cache.panorama_file import OverlapBoundary, PanoramaMasks
from stage1_sam_cache.cache.reader import MANIFEST_FILE, cache_folders, entry_name
from stage1_sam_cache.cache.writer import CacheWriter, restore_description
from stage1_sam_cache.commands import inspect_cache
from stage1_sam_cache.errors import WriteError
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator, FelzenszwalbSettings
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned

SMALL = CacheSettings(window=(16, 24), stride=12, wrap=True)
FINGERPRINT = SMALL.fingerprint(FelzenszwalbMaskGenerator())


def random_panorama(image_id='a/b', seed=0, most=12, setting=SMALL, fingerprint=FINGERPRINT, size=(16, 60)):
    """Overlapping random masks in every window; some windows have none."""
    rng = np.random.default_rng(seed)
    grid = setting.over(*size)
    windows = []
    for _ in grid.windows:
        dense = rng.random((rng.integers(0, most + 1), *setting.window)) < rng.random()
        scores = rng.random((2, len(dense)))
        windows.append(InstanceMasks.from_dense(dense, *scores.tolist()).in_painting_order())
    overlaps = [
        OverlapBoundary(overlap, rng.random((overlap.box.height, overlap.box.width)) < 0.3) for overlap in grid.overlaps
    ]
    return PanoramaMasks(image_id, f'{seed:064x}', size, fingerprint, windows, overlaps, {'device': 'cpu'})


def assert_same(one: PanoramaMasks, two: PanoramaMasks):
    assert (one.image_id, one.image_sha256, one.image_size) == (two.image_id, two.image_sha256, two.image_size)
    assert one.fingerprint == two.fingerprint
    assert len(one.windows) == len(two.windows)
    for a, b in zip(one.windows, two.windows, strict=True):
        for name in ('masks', 'area', 'bbox', 'id_map', 'predicted_iou', 'stability'):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
            assert getattr(a, name).dtype == getattr(b, name).dtype
    assert len(one.overlaps) == len(two.overlaps)
    for c, d in zip(one.overlaps, two.overlaps, strict=True):
        assert c.overlap == d.overlap
        np.testing.assert_array_equal(c.boundary, d.boundary)


@pytest.fixture
def cache(tmp_path):
    writer = CacheWriter(tmp_path / 'cache', FINGERPRINT)
    for seed, image_id in enumerate(('Amsterdam/1', 'Amsterdam/2', 'Zürich am See/a b')):
        writer.commit(random_panorama(image_id, seed))
    return writer.cache


# round trip


@given(seed=st.integers(0, 2**32), most=st.integers(0, 40), wrap=st.booleans(), height=st.integers(5, 40))
@examples(30)
def test_random_overlapping_masks_come_back_bit_for_bit(seed, most, wrap, height):
    setting = replace(SMALL, wrap=wrap)
    fingerprint = setting.fingerprint(FelzenszwalbMaskGenerator())
    panorama = random_panorama('x', seed, most, setting, fingerprint, size=(height, 61))
    assert_same(cache_file.decode(cache_file.encode(panorama), 'x'), panorama)


def test_nan_scores_and_windows_without_masks_come_back():
    panorama = random_panorama(most=0)
    dense = np.ones((1, 16, 24), bool)
    panorama.windows[0] = InstanceMasks.from_dense(dense)
    back = cache_file.decode(cache_file.encode(panorama), 'x')
    assert np.isnan(back.windows[0].predicted_iou).all()
    assert back.windows[1].masks.shape == (0, 16, 24)
    assert back.windows[1].area.shape == (0,)
    assert back.windows[1].bbox.shape == (0, 4)
    assert not back.windows[1].id_map.any()


def test_the_reader_gives_the_promised_types(cache):
    window = cache['Amsterdam/1'].windows[0]
    count = len(window)
    assert window.masks.shape == (count, 16, 24)
    assert window.masks.dtype == bool
    assert window.id_map.shape == (16, 24)
    assert window.id_map.dtype == np.uint16
    assert window.bbox.shape == (count, 4)
    assert window.area.shape == window.predicted_iou.shape == window.stability.shape == (count,)
    assert cache['Amsterdam/1'].overlaps[0].boundary.dtype == bool
    assert cache['Amsterdam/1'].overlaps[0].boundary.shape == (16, 12)


def test_equal_content_gives_equal_bytes():
    assert cache_file.encode(random_panorama()) == cache_file.encode(random_panorama())


def test_the_file_opens_as_ordinary_hdf5_with_a_checksum_on_every_dataset(cache):
    with h5py.File(cache.files()[0]) as file:
        assert file.attrs['image_id'] == 'Amsterdam/1'
        assert json.loads(file.attrs['fingerprint']) == dict(FINGERPRINT.settings)
        sets = [item for group in ('windows', 'overlaps') for item in _datasets(file[group]) if item.size]
        assert sets
        assert all(item.fletcher32 for item in sets)


def _datasets(group):
    found = []
    group.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


def test_the_cache_is_at_most_0_35_of_dense_masks_with_gzip(tmp_path):
    rows, columns = np.mgrid[:400, :512]
    rng = np.random.default_rng(0)
    centres = rng.uniform((0, 0, 4), (400, 512, 90), (75, 3))
    dense = np.stack([np.hypot(rows - y, columns - x) + 3 * np.sin(columns / 5) < r for y, x, r in centres])
    setting = CacheSettings()
    grid = setting.over(400, 2048)
    masks = InstanceMasks.from_dense(dense, [0.9] * 75, [0.96] * 75)
    blank = [OverlapBoundary(o, np.zeros((400, 256), bool)) for o in grid.overlaps]
    fingerprint = setting.fingerprint(FelzenszwalbMaskGenerator())
    data = cache_file.encode(PanoramaMasks('x', '', (400, 2048), fingerprint, [masks] * 7, blank))
    with h5py.File(tmp_path / 'dense.h5', 'w') as file:
        for i in range(7):
            file.create_dataset(str(i), data=dense, chunks=dense.shape, compression='gzip')
    assert len(data) <= 0.35 * (tmp_path / 'dense.h5').stat().st_size


@pytest.mark.parametrize('what', ['windows', 'overlaps'])
def test_a_panorama_whose_windows_are_not_the_grids_is_not_written(what):
    panorama = random_panorama()
    getattr(panorama, what).pop()
    with pytest.raises(ValueError, match='are not those of the grid'):
        cache_file.encode(panorama)


# access


def test_ids_are_found_listed_and_missed(cache):
    assert set(cache) == {'Amsterdam/1', 'Amsterdam/2', 'Zürich am See/a b'}
    assert len(cache) == 3
    assert 'Amsterdam/1' in cache
    assert 'Amsterdam' not in cache
    assert cache.missing(['x', 'Amsterdam/2', 'y']) == ['x', 'y']
    with pytest.raises(KeyError, match='Berlin/1 is not in the mask cache'):
        cache['Berlin/1']


@given(st.text(min_size=1), st.text(min_size=1))
def test_file_names_are_safe_and_differ_for_different_ids(one, two):
    try:
        names = [entry_name(one), entry_name(two)]
    except UnicodeEncodeError:
        return  # lone surrogates never leave the listing
    assert all(name == Path(name).name and name.isascii() and len(name) < 80 for name in names)
    assert (names[0] == names[1]) == (one == two)


def test_ids_that_look_alike_have_files_of_their_own(tmp_path):
    writer = CacheWriter(tmp_path, FINGERPRINT)
    ids = ['a/b', 'a_b', 'a b', 'A/b', unicodedata.normalize('NFC', 'é'), unicodedata.normalize('NFD', 'é')]
    for seed, image_id in enumerate(ids):
        writer.commit(random_panorama(image_id, seed))
    for seed, image_id in enumerate(ids):
        assert_same(writer.cache[image_id], random_panorama(image_id, seed))


class Panoramas(Dataset):
    def __init__(self, cache):
        self.cache, self.ids = cache, sorted(cache)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        panorama = self.cache[self.ids[index]]
        return np.stack([window.id_map for window in panorama.windows]).astype(np.int64)


@pytest.mark.parametrize(
    ('workers', 'method'), [(1, 'fork'), (2, 'fork'), pytest.param(2, 'spawn', marks=pytest.mark.long)]
)
def test_dataloader_workers_read_what_this_process_reads(cache, workers, method):
    panoramas = Panoramas(cache)
    expected = np.stack([panoramas[i] for i in range(3)])
    context = multiprocessing.get_context(method)
    loader = DataLoader(panoramas, batch_size=3, num_workers=workers, multiprocessing_context=context)
    np.testing.assert_array_equal(next(iter(loader)).numpy(), expected)


def open_descriptors():
    return [number for number in range(256) if _is_open(number)]


def _is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_a_cache_pickles_and_holds_no_open_file(cache):
    before = open_descriptors()
    copies = [pickle.loads(pickle.dumps(cache)) for _ in range(5)]
    for copy in copies:
        assert_same(copy['Amsterdam/1'], cache['Amsterdam/1'])
    assert open_descriptors() == before


# opening: expectations


def test_open_finds_the_cache_below_a_root_and_by_its_own_folder(cache):
    assert open_cache(cache.path.parent).path == cache.path
    assert open_cache(cache.path).path == cache.path
    assert open_cache(str(cache.path), expect=FINGERPRINT).fingerprint == FINGERPRINT


def test_other_settings_are_refused_by_name(cache):
    with pytest.raises(MaskCacheError, match=r'grid.stride is \[16, 12\], not \[16, 8\]; grid.wrap is True, not False'):
        open_cache(cache.path, expect={'grid': {'stride': [16, 8], 'wrap': False}})


def test_the_right_one_of_several_caches_is_chosen(cache):
    other = FelzenszwalbMaskGenerator(FelzenszwalbSettings(sigma=0.5))
    CacheWriter(cache.path.parent, SMALL.fingerprint(other))
    assert len(cache_folders(cache.path.parent)) == 2
    assert open_cache(cache.path.parent, expect={'generator': {'sigma': 0.8}}).path == cache.path
    with pytest.raises(MaskCacheError, match=r'several caches would do .*generator\.sigma'):
        open_cache(cache.path.parent)


def test_no_cache_is_one_line_that_says_how_to_make_one(tmp_path):
    with pytest.raises(MaskCacheError, match=r'no mask cache here; make one with tools/cache_sam\.py'):
        open_cache(tmp_path)


def test_a_folder_of_folders_of_caches_is_told_from_one_without_any(cache):
    name = cache.path.parent
    with pytest.raises(MaskCacheError, match=rf'{name.parent}: no mask cache here, but in {name}; name that one$'):
        open_cache(name.parent)
    (name.parent / 'other').mkdir()
    shutil.copytree(cache.path, name.parent / 'other' / cache.path.name)
    with pytest.raises(MaskCacheError, match=rf'but in {name}, \S*other; name one of these folders$'):
        inspect_cache.main(['status', str(name.parent)])
    assert inspect_cache.main(['status', str(name)]) == 0


def test_errors_of_opening_keep_problem_and_remedy_apart(tmp_path, cache):
    problem, remedy = refusal(lambda: open_cache(tmp_path / 'nothing'))
    assert problem == f'{tmp_path / "nothing"}: no mask cache here'
    assert (
        remedy == f'make one with tools/cache_sam.py --images DIR --out {tmp_path / "nothing"}, or with --dataset NAME'
    )
    problem, remedy = refusal(lambda: open_cache(cache.path, expect={'order': 'score'}))
    assert problem == f"{cache.path}: made with other settings: order is 'area_desc', not 'score'"
    assert remedy == 'run tools/cache_sam.py with the expected settings (both caches can live side by side)'
    description = cache.path / 'fingerprint.json'
    description.write_text(description.read_text().replace('"area_desc"', '"score"'))
    problem, remedy = refusal(lambda: open_cache(cache.path))
    assert problem.endswith('one of them was changed') and remedy.startswith('rename the folder back')


def refusal(action):
    with pytest.raises(MaskCacheError) as error:
        action()
    assert str(error.value) == f'{error.value.problem}; {error.value.remedy}'
    return error.value.problem, error.value.remedy


def test_a_changed_description_is_refused(cache):
    description = cache.path / 'fingerprint.json'
    description.write_text(description.read_text().replace('"area_desc"', '"score"'))
    with pytest.raises(MaskCacheError, match='one of them was changed'):
        open_cache(cache.path)


def test_a_file_of_another_cache_or_of_another_id_is_refused_by_name(cache):
    other = replace(SMALL, order='score').fingerprint(FelzenszwalbMaskGenerator())
    stranger = cache_file.encode(random_panorama('Amsterdam/1', fingerprint=other))
    (cache.path / entry_name('Amsterdam/1')).write_bytes(stranger)
    with pytest.raises(MaskCacheError, match="order is 'score', not 'area_desc'"):
        cache['Amsterdam/1']
    moved = (cache.path / entry_name('Amsterdam/2')).rename(cache.path / entry_name('Amsterdam/1'))
    assert moved.exists()
    with pytest.raises(MaskCacheError, match="holds the masks of 'Amsterdam/2', which belong in another file"):
        cache['Amsterdam/1']


# damage


@given(data=st.data())
@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_found(data):
    file = bytearray(_ENCODED)
    position = data.draw(st.integers(0, len(file) - 1))
    file[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MaskCacheError, match='x: '):
        cache_file.decode(bytes(file), 'x')


@given(st.integers(0, 10**6))
@examples(80)
def test_any_truncation_is_found(length):
    with pytest.raises(MaskCacheError, match='x: damaged'):
        cache_file.decode(_ENCODED[: length % len(_ENCODED)], 'x')


_ENCODED = cache_file.encode(random_panorama())


@pytest.mark.parametrize('full', [False, True])
def test_verify_names_the_damaged_the_swapped_and_the_missing_file(cache, full):
    writer = CacheWriter(cache.path.parent, FINGERPRINT)
    assert writer.seal() == 3
    assert all(check.problem is None for check in cache.verify(full))
    damaged = cache.path / entry_name('Amsterdam/1')
    damaged.write_bytes(damaged.read_bytes()[:-1] + b'?')
    (cache.path / entry_name('Amsterdam/2')).unlink()
    swapped = cache.path / entry_name('Zürich am See/a b')
    swapped.write_bytes(cache_file.encode(random_panorama('Zürich am See/a b', seed=99)))
    problems = {check.file: check.problem for check in cache.verify(full)}
    assert 'content has SHA-256' in problems[damaged.name]
    assert 'sealed in the manifest, but missing' in problems[entry_name('Amsterdam/2')]
    assert 'not the file that was sealed' in problems[swapped.name]
    # Only what is damaged may be set aside; the other two are whole or gone.
    assert [check.file for check in cache.verify(full) if check.damaged] == [damaged.name]


def test_full_verify_finds_areas_that_are_not_those_of_the_masks(cache):
    file = cache.path / entry_name('Amsterdam/1')
    with h5py.File(file, 'r+') as opened:
        window = next(group for group in opened['windows'].values() if group['masks'].size)
        records = window['masks'][()]
        records['area'][0] += 1
        window['masks'][()] = records
    content = file.read_bytes()[cache_file.USER_BLOCK :]
    file.write_bytes(cache_file._user_block(content) + content)  # someone who fixes the digest too
    assert [check.problem for check in cache.verify()].count(None) == 3
    assert any('areas or boxes' in (check.problem or '') for check in cache.verify(full=True))


def test_a_damaged_manifest_is_refused(cache):
    writer = CacheWriter(cache.path.parent, FINGERPRINT)
    writer.seal()
    assert {record['id'] for record in cache.manifest()} == set(cache)
    manifest = cache.path / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('Amsterdam/1', 'Amsterdam/7'))
    with pytest.raises(MaskCacheError, match='damaged or of another cache'):
        cache.manifest()


# writing


def test_a_damaged_file_goes_to_quarantine_with_a_reason_and_counts_as_not_done(cache):
    writer = CacheWriter(cache.path.parent, FINGERPRINT)
    file = cache.path / entry_name('Amsterdam/1')
    assert writer.is_done('Amsterdam/1', f'{0:064x}')
    file.write_bytes(file.read_bytes()[:700])
    assert not writer.is_done('Amsterdam/1', f'{0:064x}')
    assert not file.exists()
    notes = (cache.path / 'quarantine' / 'reasons.txt').read_text()
    assert file.name in notes
    assert 'bytes after its header' in notes


def test_masks_of_another_image_of_the_same_name_are_not_taken_for_done(cache):
    writer = CacheWriter(cache.path.parent, FINGERPRINT)
    with pytest.raises(MaskCacheError, match='was cached from another image'):
        writer.is_done('Amsterdam/1', 'f' * 64)


def test_of_two_commits_of_one_name_the_first_stays(tmp_path):
    writer = CacheWriter(tmp_path, FINGERPRINT)
    writer.commit(random_panorama('a', seed=1))
    writer.commit(random_panorama('a', seed=2))
    assert_same(writer.cache['a'], random_panorama('a', seed=1))
    assert not list(writer.path.glob('.tmp-*'))


def test_a_claim_is_taken_once_and_keeps_nobody_out(tmp_path):
    one, two = CacheWriter(tmp_path, FINGERPRINT), CacheWriter(tmp_path, FINGERPRINT)
    assert one.claim('a')
    assert not two.claim('a')
    two.commit(random_panorama('a'))
    assert len(two.cache) == 1
    one.release('a')
    assert two.claim('a')


@pytest.mark.parametrize('step', ['fsync', 'link', 'write'])
def test_an_error_while_writing_leaves_nothing_behind_and_says_so_in_one_line(tmp_path, monkeypatch, step):
    writer = CacheWriter(tmp_path, FINGERPRINT)
    writer.commit(random_panorama('a'))

    def full(*arguments, **options):
        raise OSError(28, 'No space left on device')

    if step == 'write':
        monkeypatch.setattr(Path, 'open', full)
    else:
        monkeypatch.setattr(os, step, full)
        if step == 'link':
            monkeypatch.setattr(Path, 'replace', full)
    with pytest.raises(WriteError, match='No space left on device') as problem:
        writer.commit(random_panorama('b'))
    monkeypatch.undo()
    assert '\n' not in str(problem.value)
    assert list(writer.cache) == ['a']
    assert not list(writer.path.glob('.tmp-*'))


def test_a_file_system_without_hard_links_still_commits_whole_files(tmp_path, monkeypatch):
    def unsupported(*arguments, **options):
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr(os, 'link', unsupported)
    assert commit(tmp_path / 'x', b'one')
    assert not commit(tmp_path / 'x', b'two')
    assert (tmp_path / 'x').read_bytes() == b'one'


def test_only_temporaries_of_dead_writers_are_removed(tmp_path):
    # A writer that dies just before its file gets its name.
    script = (
        'import os, sys; from pathlib import Path; from stage1_sam_cache.system.atomic_file import commit; '
        'os.link = lambda *names: os._exit(9); commit(Path(sys.argv[1]) / "file", b"x")'
    )
    dead = subprocess.run([sys.executable, '-c', script, str(tmp_path)], check=False)
    assert dead.returncode == 9
    (left,) = tmp_path.iterdir()
    fields = left.name.split('-')
    assert fields[0] == '.tmp'
    own = left.with_name('-'.join([*fields[:2], str(os.getpid()), *fields[3:]]))
    foreign, old = (left.with_name(f'.tmp-{machine}-{fields[2]}-0') for machine in ('another', 'older'))
    for file in (own, foreign, old):
        file.write_bytes(b'x')
    os.utime(old, (0, 0))
    assert remove_abandoned(tmp_path) == 2
    assert set(tmp_path.iterdir()) == {own, foreign}


def test_a_damaged_or_lost_description_is_restored(cache):
    description = cache.path / 'fingerprint.json'
    sound = description.read_bytes()
    for damage in (sound[:50], None, sound.replace(b'true', b'false')):
        description.unlink()
        if damage is not None:
            description.write_bytes(damage)
        with pytest.raises(MaskCacheError, match='fingerprint.json' if damage else 'no mask cache'):
            open_cache(cache.path)
        assert restore_description(cache.path)
        assert description.read_bytes() == sound
        description.write_bytes(b'?')
        CacheWriter(cache.path.parent, FINGERPRINT)
        assert description.read_bytes() == sound
    assert not restore_description(cache.path)


def test_a_stray_file_is_not_sealed(cache):
    writer = CacheWriter(cache.path.parent, FINGERPRINT)
    (cache.path / 'stray.h5').write_bytes(cache_file.encode(random_panorama('somewhere else')))
    with pytest.raises(MaskCacheError, match='belong in another file'):
        writer.seal()


def test_a_folder_that_is_no_cache_does_not_hide_the_one_that_is(cache):
    shutil.copytree(cache.path, cache.path.with_name('copy'))
    assert open_cache(cache.path.parent).path == cache.path
