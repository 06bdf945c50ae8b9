"""Stage 1's loop: windows, overlaps, order, padding, resuming, failures."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.estimate import estimate
from stage1_sam_cache.build.panorama import make_masks
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.reader import entry_name
from stage1_sam_cache.cache.writer import CacheWriter
from stage1_sam_cache.data.images import RgbImage
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.errors import WriteError
from stage1_sam_cache.masks.boundary_map import boundary_map, contour_map
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator, FelzenszwalbSettings

SETTINGS = CacheSettings(window=(40, 64), stride=32)


class ColourGenerator:
    """One mask for every colour of the crop, in the order of the colours; notes every crop that it saw."""

    def __init__(self):
        self.crops = []
        self.made_with = {'device': 'cpu'}

    @property
    def identity(self):
        return {'name': 'colours'}

    def generate(self, image):
        self.crops.append(image.copy())
        return InstanceMasks.from_label_maps([image.astype(np.int64) @ (65536, 256, 1)])


class BatchingGenerator(ColourGenerator):
    """Takes ``many`` crops at once; has memory for batches without a crop of ``too_large``."""

    def __init__(self, many, too_large=None):
        super().__init__()
        self.batch_size, self.too_large = many, too_large
        self.batches = []

    def generate_many(self, images):
        self.batches.append(len(images))
        if any(np.array_equal(crop, self.too_large) for crop in images):
            raise MemoryError
        return [self.generate(image) for image in images]


@pytest.fixture(params=[False, True], ids=['in turn', 'ahead'])
def made_ahead(request, monkeypatch):
    """With and without a generator that works while the masks of the batch before are put together."""
    monkeypatch.setattr(BatchingGenerator, 'on_accelerator', request.param, raising=False)


def rgb(pixels):
    return RgbImage(pixels, '0' * 64)


def make(pixels, settings=SETTINGS, generator=None):
    generator = generator or ColourGenerator()
    return make_masks('x', rgb(pixels), settings, generator), generator


def test_the_generator_sees_the_windows_and_then_the_overlaps(picture):
    pixels = picture(40, 160)
    panorama, generator = make(pixels)
    lefts = [(0, 64), (32, 96), (64, 128), (96, 160), (32, 64), (64, 96), (96, 128)]
    assert len(generator.crops) == 7
    for crop, (left, right) in zip(generator.crops, lefts, strict=True):
        np.testing.assert_array_equal(crop, pixels[:, left:right])
    assert len(panorama.windows) == 4
    assert len(panorama.overlaps) == 3


def test_a_wrapped_window_is_the_rolled_panorama(picture):
    pixels = picture(40, 160)
    panorama, generator = make(pixels, CacheSettings(window=(40, 64), stride=32, wrap=True))
    assert len(panorama.windows) == len(panorama.overlaps) == 5
    np.testing.assert_array_equal(generator.crops[4], np.roll(pixels, -128, axis=1)[:, :64])
    np.testing.assert_array_equal(generator.crops[9], pixels[:, :32])


def test_masks_are_in_painting_order_and_the_boundary_is_that_of_the_id_map(picture):
    pixels = picture(40, 160)
    panorama, generator = make(pixels)
    for masks in panorama.windows:
        assert (np.diff(masks.area) <= 0).all()
    for seam, crop in zip(panorama.overlaps, generator.crops[4:], strict=True):
        np.testing.assert_array_equal(seam.boundary, boundary_map(crop.astype(np.int64) @ (65536, 256, 1)))


def test_thin_boundaries_and_contours_follow_their_rules(picture):
    pixels = picture(40, 160)
    thin, generator = make(pixels, CacheSettings(window=(40, 64), stride=32, boundary_thickness=1))
    crop = generator.crops[4]
    np.testing.assert_array_equal(
        thin.overlaps[0].boundary, boundary_map(crop.astype(np.int64) @ (65536, 256, 1), thickness=1)
    )
    contours, generator = make(pixels, CacheSettings(window=(40, 64), stride=32, boundary='contours'))
    np.testing.assert_array_equal(contours.overlaps[0].boundary, contour_map(ColourGenerator().generate(crop)))


@pytest.mark.parametrize('wrap', [False, True])
def test_an_overlap_cut_from_its_window_has_the_windows_edges(picture, wrap):
    pixels = picture(40, 160)
    panorama, generator = make(pixels, CacheSettings(window=(40, 64), stride=32, wrap=wrap, overlap_source='window'))
    assert len(generator.crops) == len(panorama.windows)
    for seam in panorama.overlaps:
        right_half = panorama.windows[seam.overlap.first].id_map[:, 32:]
        np.testing.assert_array_equal(seam.boundary, boundary_map(right_half))


def test_a_high_panorama_gets_rows_of_windows_and_overlaps_of_both_kinds(picture):
    panorama, _ = make(picture(69, 160))
    assert [window.shape for window in panorama.windows] == [(40, 64)] * 8
    boxes = [tuple(seam.overlap.box) for seam in panorama.overlaps]
    assert boxes[:2] == [(0, 32, 40, 32), (0, 64, 40, 32)]
    assert boxes[6:] == [(29, left, 11, 64) for left in (0, 32, 64, 96)]
    assert all(seam.boundary.shape == tuple(seam.overlap.box[2:]) for seam in panorama.overlaps)


def test_the_padding_of_a_small_panorama_is_never_seen_and_never_masked(picture):
    pixels = picture(24, 100)
    panorama, generator = make(pixels)
    assert all(crop.shape[0] == 24 for crop in generator.crops)
    assert [crop.shape[1] for crop in generator.crops] == [64, 64, 64, 32, 60]
    assert all(window.id_map[:24].all() and not window.id_map[24:].any() for window in panorama.windows)
    assert all(not seam.boundary[24:].any() for seam in panorama.overlaps)
    tiny, generator = make(picture(3, 5))
    assert generator.crops[0].shape == (3, 5, 3)
    assert tiny.windows[0].masks.any(axis=0).sum() == 15


def test_coverage_is_of_the_panoramas_pixels_not_of_the_padding(picture):
    panorama, _ = make(picture(24, 100))
    assert panorama.coverage == [1.0] * len(panorama.windows)
    assert panorama.windows[0].coverage == pytest.approx(24 / 40)


def test_felzenszwalb_covers_every_pixel_and_claims_no_scores(picture):
    masks = FelzenszwalbMaskGenerator(FelzenszwalbSettings(scales=(10.0, 100.0), min_size=4)).generate(picture(40, 64))
    assert masks.coverage == 1
    assert np.isnan(masks.predicted_iou).all()
    assert np.isnan(masks.stability).all()


@pytest.mark.parametrize(
    'wrong',
    [
        {'scales': ()},
        {'scales': (0.0,)},
        {'scales': (float('nan'),)},
        {'scales': (float('inf'),)},
        {'sigma': -1.0},
        {'sigma': float('nan')},
        {'sigma': 1e9},
        {'min_size': 0},
    ],
)
def test_felzenszwalb_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r'have to be positive|has to be from 0'):
        FelzenszwalbSettings(**wrong)


@pytest.mark.parametrize(
    'wrong',
    [
        {'order': 'x'},
        {'boundary': 'x'},
        {'overlap_source': 'x'},
        {'boundary_thickness': 3},
        {'stride': 600},
        {'window': (0, 1)},
        {'window': (70000, 512)},
    ],
)
def test_cache_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r'none of|neither|larger than the window|positive|at most 65535'):
        CacheSettings(**wrong)


# the loop


def run(root, folder, generator=None, settings=SETTINGS):
    generator = generator or ColourGenerator()
    builder = CacheBuilder(root, settings, generator)
    return builder.run(list_folder(folder).samples, show_progress=False), builder.writer.cache, generator


def test_a_second_run_does_nothing_again(tmp_path, image_folder):
    folder = image_folder('a', 'b/c', 'd')
    summary, cache, _ = run(tmp_path / 'cache', folder)
    assert (summary.done, summary.already_there, summary.windows, summary.crops) == (3, 0, 12, 21)
    assert set(cache) == {'a', 'b/c', 'd'}
    before = {file: file.read_bytes() for file in cache.files()}
    summary, cache, generator = run(tmp_path / 'cache', folder)
    assert (summary.done, summary.already_there) == (0, 3)
    assert generator.crops == []
    assert {file: file.read_bytes() for file in cache.files()} == before


@pytest.mark.usefixtures('made_ahead')
@pytest.mark.parametrize('many', [1, 4, 7, 12, 100])
@pytest.mark.parametrize('source', ['crop', 'window'])
def test_batches_are_filled_across_panoramas_and_the_cache_is_the_same(tmp_path, image_folder, many, source):
    """Also where some are cached already, one is unreadable, and sizes differ."""
    settings = replace(SETTINGS, overlap_source=source)
    folder = image_folder('a', 'b', 'c', 'd', 'e')
    image_folder('f', size=(69, 100))
    (folder / 'b.png').write_bytes(b'')
    _, expected, single = run(tmp_path / 'one', folder, settings=settings)
    partly = tmp_path / 'partly'
    partly.mkdir()
    (folder / 'd.png').rename(partly / 'd.png')
    run(tmp_path / 'many', partly, settings=settings)
    (partly / 'd.png').rename(folder / 'd.png')
    generator = BatchingGenerator(many)
    summary, cache, _ = run(tmp_path / 'many', folder, generator, settings)
    crops = len(single.crops) - (7 if source == 'crop' else 4)  # d's
    sizes = sorted(generator.batches, reverse=True)  # two at a time, ahead
    assert sizes == [many] * (crops // many) + ([crops % many] if crops % many else [])
    assert (summary.done, summary.already_there, summary.crops) == (4, 1, crops)
    assert [image_id for image_id, _ in summary.failed] == ['b']
    assert [file.name for file in cache.files()] == [file.name for file in expected.files()]
    assert [file.read_bytes() for file in cache.files()] == [file.read_bytes() for file in expected.files()]


def test_an_accelerator_has_its_next_batch_before_it_is_done_with_the_last(tmp_path, image_folder):
    class Pairs(BatchingGenerator):
        on_accelerator, met = True, threading.Barrier(2)

        def generate_many(self, images):
            self.met.wait(timeout=20)
            return super().generate_many(images)

    folder = image_folder('a', 'b')
    summary, cache, _ = run(tmp_path / 'ahead', folder, Pairs(7))
    assert (summary.done, summary.failed) == (2, [])
    _, expected, _ = run(tmp_path / 'one', folder)
    assert [file.read_bytes() for file in cache.files()] == [file.read_bytes() for file in expected.files()]


@pytest.mark.usefixtures('made_ahead')
@pytest.mark.parametrize('many', [1, 5, 10, 100])
@pytest.mark.parametrize('where', [0, 3, 6])
def test_a_panorama_too_large_for_the_memory_fails_alone(tmp_path, image_folder, many, where):
    folder = image_folder('a', 'b', 'c', 'd')
    _, expected, single = run(tmp_path / 'one', folder)
    generator = BatchingGenerator(many, too_large=single.crops[7 + where])
    summary, cache, _ = run(tmp_path / 'many', folder, generator)
    assert [(image_id, 'not enough memory' in reason) for image_id, reason in summary.failed] == [('b', True)]
    assert (summary.done, summary.crops) == (3, 21)
    assert set(cache) == {'a', 'c', 'd'}
    assert all(
        (cache.path / file.name).read_bytes() == file.read_bytes()
        for file in expected.files()
        if file.stem != entry_name('b')[:-3]
    )
    assert not list(cache.path.glob('.claim-*'))


@pytest.mark.usefixtures('made_ahead')
@pytest.mark.parametrize('many', [1, 5, 100])
def test_a_generator_without_any_memory_fails_every_panorama_and_the_run_ends(tmp_path, image_folder, many):
    class Starved(BatchingGenerator):
        def generate_many(self, images):
            raise MemoryError

    summary, cache, _ = run(tmp_path / 'cache', image_folder('a', 'b'), Starved(many))
    assert [(image_id, 'not enough memory' in reason) for image_id, reason in summary.failed] == [
        ('a', True),
        ('b', True),
    ]
    assert len(cache) == 0
    assert not list(cache.path.glob('.claim-*'))


@pytest.mark.usefixtures('made_ahead')
@pytest.mark.parametrize('many', [1, 5, 100])
def test_too_many_masks_in_one_window_fail_its_panorama_alone(tmp_path, image_folder, many, monkeypatch):
    folder = image_folder('a', 'b', 'c')
    noisy = np.asarray(Image.open(folder / 'b.png')).copy()
    noisy[:8, 70:78] = np.arange(64 * 3, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(noisy).save(folder / 'b.png')
    monkeypatch.setattr('stage1_sam_cache.build.panorama.MAX_MASKS', 40)
    summary, cache, _ = run(tmp_path / 'many', folder, BatchingGenerator(many))
    assert [image_id for image_id, _ in summary.failed] == ['b']
    assert 'masks in one window; at most 40' in summary.failed[0][1]
    assert set(cache) == {'a', 'c'}


def test_one_bad_image_does_not_stop_the_others(tmp_path, image_folder):
    folder = image_folder('a', 'b', 'c')
    (folder / 'b.png').write_bytes(b'')
    summary, cache, _ = run(tmp_path / 'cache', folder)
    assert summary.done == 2
    assert [image_id for image_id, _ in summary.failed] == ['b']
    assert 'is empty' in summary.failed[0][1]
    assert set(cache) == {'a', 'c'}


def test_a_damaged_entry_is_made_again(tmp_path, image_folder):
    folder = image_folder('a', 'b')
    _, cache, _ = run(tmp_path / 'cache', folder)
    file = cache.path / entry_name('a')
    sound = file.read_bytes()
    file.write_bytes(sound[:-9])
    summary, cache, _ = run(tmp_path / 'cache', folder)
    assert (summary.done, summary.already_there) == (1, 1)
    assert file.read_bytes() == sound
    assert len(list((cache.path / 'quarantine').glob('*.h5.*'))) == 1


def test_another_image_of_the_same_name_is_a_failure_and_the_old_masks_stay(tmp_path, image_folder, picture):
    folder = image_folder('a', 'b')
    _, cache, _ = run(tmp_path / 'cache', folder)
    before = (cache.path / entry_name('a')).read_bytes()
    Image.fromarray(picture(40, 160, seed=77)).save(folder / 'a.png')
    summary, cache, _ = run(tmp_path / 'cache', folder)
    assert summary.already_there == 1
    assert 'was cached from another image' in summary.failed[0][1]
    assert (cache.path / entry_name('a')).read_bytes() == before


def test_what_another_process_works_on_is_left_for_the_end_and_then_done(tmp_path, image_folder):
    folder = image_folder('a', 'b', 'c')
    generator = ColourGenerator()
    CacheWriter(tmp_path / 'cache', SETTINGS.fingerprint(generator)).claim('a')
    _, cache, generator = run(tmp_path / 'cache', folder, generator)
    assert set(cache) == {'a', 'b', 'c'}
    first = np.asarray(Image.open(folder / 'b.png'))[:, :64]
    np.testing.assert_array_equal(generator.crops[0], first)
    assert not list(cache.path.glob('.claim-*'))


def test_a_file_that_cannot_be_read_now_is_a_failure_and_not_damage(tmp_path, image_folder, monkeypatch):
    folder = image_folder('a', 'b')
    _, cache, _ = run(tmp_path / 'cache', folder)
    file = cache.path / entry_name('a')
    read_bytes = Path.read_bytes

    def stale(path):
        if path.name == file.name:
            raise OSError(116, 'Stale file handle')
        return read_bytes(path)

    monkeypatch.setattr(Path, 'read_bytes', stale)
    summary, cache, _ = run(tmp_path / 'cache', folder)
    assert summary.already_there == 1
    assert 'Stale file handle' in summary.failed[0][1]
    assert file.exists()
    assert [(check.file, check.damaged) for check in cache.verify() if check.problem] == [(file.name, False)]


def test_a_panorama_that_another_process_committed_first_is_not_counted_as_done(tmp_path, image_folder, monkeypatch):
    folder = image_folder('a')
    builder = CacheBuilder(tmp_path / 'cache', SETTINGS, ColourGenerator())
    monkeypatch.setattr(builder.writer, 'is_done', lambda image_id, digest: run(tmp_path / 'cache', folder) and False)
    summary = builder.run(list_folder(folder).samples, show_progress=False)
    assert (summary.done, summary.already_there) == (0, 1)


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(tmp_path, image_folder, monkeypatch):
    folder = image_folder('a', 'b', 'c')
    builder = CacheBuilder(tmp_path / 'cache', SETTINGS, ColourGenerator())
    writer = builder.writer
    commit = writer.commit

    def fill_up(panorama):
        if panorama.image_id == 'b':
            raise WriteError('cannot write b: No space left on device')
        return commit(panorama)

    monkeypatch.setattr(writer, 'commit', fill_up)
    with pytest.raises(WriteError):
        builder.run(list_folder(folder).samples, show_progress=False)
    assert builder.summary.done == 1
    assert set(writer.cache) == {'a'}
    assert not list(writer.path.glob('.claim-*'))


def test_a_wrapped_grid_refuses_a_narrow_image_by_name(tmp_path, image_folder):
    folder = image_folder('narrow', size=(40, 50))
    summary, _, _ = run(tmp_path / 'cache', folder, settings=CacheSettings(window=(40, 64), stride=32, wrap=True))
    assert 'narrow.png' in summary.failed[0][1]
    assert 'cannot wrap around' in summary.failed[0][1]


def test_the_estimate_counts_windows_and_overlaps(picture):
    ticks = iter([0.0, 2.0, 5.0, 9.0])
    generator = ColourGenerator()
    found = estimate(rgb(picture(40, 160)), SETTINGS, generator, clock=lambda: next(ticks))
    assert len(generator.crops) == 3  # one to warm up
    assert found.seconds_per_crop == pytest.approx(3.0)
    assert found.crops == 7
    assert found.bytes_per_panorama > 0
