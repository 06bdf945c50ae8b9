"""ToyPASS: the geometry of its cameras, its truth, its files and its tools."""

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from reference.rays import equirectangular_direction, first_hit, pinhole_direction

from stage1_sam_cache.data.catalog import list_dataset
from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.errors import DatasetError
from toypass.dataset.description import prepare
from toypass.dataset.jobs import DatasetPlan, Job, jobs, paths
from toypass.dataset.making import make_all, statistics
from toypass.dataset.scenes import look_at
from toypass.knobs import LOOKS, PRESETS, Counts, preset
from toypass.render.cameras import EquirectangularCamera, PinholeCamera, on_grid
from toypass.render.view import render
from toypass.render.weather import draw_weather
from toypass.things.shapes import box, cylinder
from toypass.things.thing import VOID, Thing
from toypass.world.scene import CLASSES, SKY, Scene
from toypass.world.street import Street

TINY = PRESETS['tiny']


def weather(look='mild', noise=None, seed=0):
    drawn = draw_weather(LOOKS[look], np.random.default_rng(seed))
    return drawn if noise is None else dataclasses.replace(drawn, noise=noise)


def see(scene, camera, look='mild', noise=None):
    return render(scene, camera, weather(look, noise), np.random.default_rng(1))


@pytest.fixture(scope='module')
def street_scene():
    """A whole street: scene, panorama camera, pinhole camera at the same place."""
    _, scene, camera = look_at(TINY, Job('target', 'val', 0), seed=0)
    pinhole = PinholeCamera(96, 192, camera.place, 0.07, 75.0, 2.0)
    return scene, camera, pinhole


def world_of(*things):
    """A scene of a few things: (thing, x, y, z)."""
    street = Street(5, 0, 3, None, (False, False), (0, 0, 0, 0))
    for thing, x, y, z in things:
        street.always(thing, x, y, z)
    return Scene(street, np.random.default_rng(0))


def solid(kind, mesh):
    thing = Thing(kind)
    thing.add('body', 'concrete', mesh)
    return thing


# --- cameras ---


@pytest.mark.parametrize('columns', [1, 37, 128, 511])
@pytest.mark.parametrize('heading', [0.0, 0.3217, 0.9999])
def test_turning_by_k_columns_rolls_the_panorama_by_exactly_k(street_scene, columns, heading):
    scene, camera, _ = street_scene
    camera = dataclasses.replace(camera, height=40, heading=on_grid(heading))
    turned = dataclasses.replace(camera, heading=camera.heading + columns / camera.width)
    before, after = see(scene, camera, noise=0), see(scene, turned, noise=0)
    for name in ('image', 'label', 'instance', 'part', 'depth'):
        np.testing.assert_array_equal(np.roll(getattr(before, name), -columns, 1), getattr(after, name), err_msg=name)
    assert len(np.unique(before.instance)) > 20


def test_known_points_land_on_the_expected_pixels():
    panorama = EquirectangularCamera(200, 1024, (0, 0, 2.0), 0.0, 70.3125)
    assert panorama.project((10, 0, 2)) == pytest.approx((100, 512))  # straight ahead: the middle
    assert panorama.project((0, -10, 2)) == pytest.approx((100, 768))  # to the right: a quarter turn on
    assert panorama.project((0, 10, 2)) == pytest.approx((100, 256))
    assert panorama.project((10, -10, 2)) == pytest.approx((100, 640))
    # 2 m below at 10 m: atan(0.2) = 11.3099 degrees, 200 / 70.3125 rows each
    assert panorama.project((10, 0, 0)) == pytest.approx((100 + 11.30993 * 200 / 70.3125, 512), abs=1e-3)
    turned = dataclasses.replace(panorama, heading=0.25)  # looks along -y
    assert turned.project((0, -10, 2)) == pytest.approx((100, 512))
    pinhole = PinholeCamera(256, 512, (1, 0, 1.4), 0.0, 90.0)  # focal length 256 pixels
    assert pinhole.project((11, 0, 1.4)) == pytest.approx((128, 256))
    assert pinhole.project((11, -5, 1.4)) == pytest.approx((128, 384))
    assert pinhole.project((11, 0, 3.4)) == pytest.approx((128 - 51.2, 256))
    assert dataclasses.replace(pinhole, pitch=5.0).project((11, 0, 1.4))[0] == pytest.approx(128 + 22.397, abs=1e-3)
    with pytest.raises(ValueError, match='behind'):
        pinhole.project((-5, 0, 1.4))


@given(st.tuples(*[st.floats(-50, 50)] * 3), st.floats(0, 1), st.booleans(), st.floats(-10, 10))
def test_a_ray_through_a_points_pixel_leads_to_the_point(point, heading, is_panorama, pitch):
    place = (0.3, -1.2, 2.1)
    away = np.subtract(point, place)
    assume(np.hypot(*away[:2]) > 0.5)
    if is_panorama:
        camera = EquirectangularCamera(200, 1024, place, heading, 70.0)
    else:
        camera = PinholeCamera(256, 512, place, heading, 80.0, pitch)
        a, p = 2 * np.pi * heading, np.deg2rad(pitch)
        assume(away @ (np.cos(p) * np.cos(a), -np.cos(p) * np.sin(a), np.sin(p)) > 0.05 * np.linalg.norm(away))
    row, column = camera.project(point)
    ray = camera.rays([row], [column])[0]
    np.testing.assert_allclose(ray, away / np.linalg.norm(away), atol=2e-5)


@pytest.mark.parametrize(
    'camera',
    [
        EquirectangularCamera(200, 1024, (0, 0, 2.0), 0.4, 70.0),
        PinholeCamera(256, 512, (0, 0, 1.4), 0.41, 80.0, 3.0),
    ],
)
def test_a_thing_is_drawn_where_its_points_are_projected(camera):
    ahead = 2 * np.pi * camera.heading
    centre = (9 * np.cos(ahead - 0.15), -9 * np.sin(ahead - 0.15), 2.4)
    scene = world_of((solid('car', box((0.5, 0.5, 0.5))), *centre))
    seen = see(scene, camera)
    row, column = (int(value) for value in camera.project(centre))
    assert seen.label[row, column] == CLASSES.index('car')
    rows, columns = np.nonzero(seen.instance)
    corners = [camera.project(np.add(centre, np.subtract(c, 0.5) * 0.5)) for c in np.ndindex(2, 2, 2)]
    (top, left), (bottom, right) = np.min(corners, axis=0), np.max(corners, axis=0)
    # A pixel is drawn if its middle is covered, so the box may end up to one pixel inside its corners.
    assert rows.min() == pytest.approx(top, abs=1)
    assert rows.max() + 1 == pytest.approx(bottom, abs=1)
    assert columns.min() == pytest.approx(left, abs=1)
    assert columns.max() + 1 == pytest.approx(right, abs=1)
    assert seen.depth[row, column] == pytest.approx(9, abs=0.5)


def _pole_columns(seen):
    rows, columns = np.nonzero(seen.label == CLASSES.index('pole'))
    found = np.unique(rows)
    assert len(found) > 60
    return found, np.array([columns[rows == row].mean() for row in found])


def test_verticals_stay_vertical_in_the_panorama_and_straight_in_the_pinhole():
    scene = world_of((solid('pole', cylinder(0.12, 40, (0, 0, 0))), 6, -3.2, 0))
    place = (0, 0, 2.0)
    _, columns = _pole_columns(see(scene, EquirectangularCamera(200, 1024, place, 0.0, 70.0)))
    assert np.ptp(columns) == 0
    _, columns = _pole_columns(see(scene, PinholeCamera(256, 512, place, 0.0, 80.0)))
    assert np.ptp(columns) == 0
    rows, columns = _pole_columns(see(scene, PinholeCamera(256, 512, place, 0.0, 80.0, pitch=8.0)))
    line = np.polyval(np.polyfit(rows, columns, 1), rows)
    assert np.ptp(columns) > 5  # they converge
    assert np.abs(columns - line).max() < 0.6


def test_left_and_right_borders_of_a_panorama_join(street_scene):
    # A wide thing right behind the camera is cut by the border and goes on at the other side.
    scene = world_of((solid('bus', box((2, 8, 3))), -8, 0, 1.5))
    seen = see(scene, EquirectangularCamera(100, 512, (0, 0, 2.0), 0.0, 70.0))
    middle = seen.instance[50]
    assert middle[0] == middle[-1] == 1
    assert middle[256] == 0
    assert len(np.flatnonzero(np.diff(middle.astype(int)))) == 2  # one piece
    # In a street, the step over the border is like any other step.
    scene, camera, _ = street_scene
    steps, borders = [], []
    for heading in np.arange(12) / 12:
        seen = see(scene, dataclasses.replace(camera, height=60, heading=heading), noise=0)
        image = seen.image.astype(float)
        steps += [np.abs(image[:, i] - image[:, i + 1]).mean() for i in range(0, camera.width - 1, 7)]
        borders.append(np.abs(image[:, 0] - image[:, -1]).mean())
    assert np.mean(borders) < 2 * np.mean(steps)
    assert max(borders) <= np.quantile(steps, 0.999)


# --- truth ---


def test_labels_instances_and_depth_are_what_a_ray_through_the_pixel_hits(street_scene):
    scene, panorama, pinhole = street_scene
    corners, table = scene.corners.astype(np.float64), scene.triangles
    rng = np.random.default_rng(3)
    for camera in (panorama, pinhole):
        seen = see(scene, camera)
        agreed = tried = 0
        for row, column in zip(rng.integers(camera.height, size=30), rng.integers(camera.width, size=30), strict=True):
            shape = row, column, camera.height, camera.width, camera.heading
            if camera is panorama:
                direction = equirectangular_direction(*shape, camera.vertical_fov)
            else:
                direction = pinhole_direction(*shape, camera.fov, camera.pitch)
            hit, distance = first_hit(np.array(camera.place), direction, corners)
            expected = (SKY, 0, 0) if hit < 0 else (table.label[hit], table.instance[hit], table.part[hit])
            found = seen.label[row, column], seen.instance[row, column], seen.part[row, column]
            tried += 1
            # In float32 a ray may just pass an edge that it just meets in float64.
            agreed += tuple(map(int, found)) == tuple(map(int, expected)) and (
                (np.isinf(distance) and np.isinf(seen.depth[row, column]))
                or seen.depth[row, column] == pytest.approx(distance, rel=1e-3)
            )
        assert agreed >= tried - 1


def test_every_part_is_of_one_instance_and_every_instance_of_one_class(street_scene):
    scene, camera, _ = street_scene
    seen = see(scene, camera)
    assert ((seen.instance == 0) == (seen.label == SKY)).all()
    assert ((seen.part == 0) == (seen.label == SKY)).all()
    for finer, coarser in ((seen.part, seen.instance), (seen.instance, seen.label)):
        pairs = np.unique(np.stack([finer.ravel(), coarser.ravel()]), axis=1)
        assert len(np.unique(pairs[0])) == pairs.shape[1]
    assert len(np.unique(seen.part)) > len(np.unique(seen.instance)) > 20


def test_void_things_are_ignored():
    seen = see(world_of((solid(VOID, box((1, 1, 1))), 4, 0, 2)), EquirectangularCamera(32, 64, (0, 0, 2), 0.0, 90.0))
    assert set(np.unique(seen.label)) == {SKY, IGNORE}


def test_a_look_changes_colours_alone(street_scene):
    scene, camera, _ = street_scene
    source, strong = see(scene, camera, 'source'), see(scene, camera, 'strong')
    for name in ('label', 'instance', 'part', 'depth'):
        np.testing.assert_array_equal(getattr(source, name), getattr(strong, name))
    assert np.abs(source.image.astype(float) - strong.image).mean() > 10


def test_the_sun_throws_shadows():
    ground = solid('road', box((200, 200, 0.2), (0, 0, -0.1)))
    camera = EquirectangularCamera(64, 256, (0, 0, 2), 0.0, 80.0)
    sunny = dataclasses.replace(
        weather('source', noise=0),
        sun=2.0,
        ambient=0.3,
        sun_direction=np.array([-0.6, 0, 0.8], np.float32),
    )
    row, column = (int(value) for value in camera.project((8, 0, 0)))
    bright = render(world_of((ground, 0, 0, 0)), camera, sunny, np.random.default_rng(0)).image[row, column]
    screen = solid('building', box((0.2, 6, 3), (0, 0, 1.5)))
    scene = world_of((ground, 0, 0, 0), (screen, -1.5, 0, 4.0))  # its shadow lies on x = 1.5 to 3.75
    row, column = (int(value) for value in camera.project((3.2, 0, 0)))
    dark = render(scene, camera, sunny, np.random.default_rng(0)).image[row, column]
    assert dark.mean() < 0.7 * bright.mean()


# --- the data set ---

SMALL = dataclasses.replace(
    TINY,
    world=dataclasses.replace(TINY.world, street_trees=(1, 3), parked_cars=(2, 4), pedestrians=(2, 4)),
    counts=Counts(3, 1, 2, 1),
    pinhole=dataclasses.replace(TINY.pinhole, height=32, width=64),
    panorama=dataclasses.replace(TINY.panorama, height=25, width=128),
)


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob('*.*')}


def make_small(out, workers=1, seed=5, knobs=SMALL, **options):
    plan = DatasetPlan(out, knobs, seed, **options)
    prepare(plan)
    return statistics(make_all(plan, workers))


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp('toypass') / 'data'
    return out, make_small(out, depth=True)


@pytest.mark.long
def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers_and_after_a_stop(small, tmp_path):
    out, _ = small
    expected = files_of(out)
    make_small(tmp_path / 'two', workers=2, depth=True)
    assert files_of(tmp_path / 'two') == expected
    for name in sorted(expected)[::3]:
        if name != 'toypass.json':
            (tmp_path / 'two' / name).unlink()
    make_small(tmp_path / 'two', workers=1, depth=True)  # each process of more takes seconds to start
    assert files_of(tmp_path / 'two') == expected
    make_small(tmp_path / 'other', seed=6)
    other = files_of(tmp_path / 'other')
    pictures = [name for name in other if 'leftImg8bit' in name]
    assert len(pictures) == 8
    assert all(other[name] != expected[name] for name in pictures)


def test_scenes_of_different_splits_and_numbers_differ(small):
    out, _ = small
    labels = [path.read_bytes() for path in out.rglob('*labelTrainIds.png') if 'source_look' not in path.as_posix()]
    assert len(labels) == len(set(labels)) == 7


def test_the_catalogue_finds_all_splits_and_their_labels(small):
    out, _ = small
    found = {
        (name, split): list_dataset(name, split, out)
        for name, splits in (('toypass', ('train', 'val', 'val_source_look')), ('toypass_source', ('train', 'val')))
        for split in splits
    }
    assert {key: len(listing.samples) for key, listing in found.items()} == {
        ('toypass', 'train'): 2,
        ('toypass', 'val'): 1,
        ('toypass', 'val_source_look'): 1,
        ('toypass_source', 'train'): 3,
        ('toypass_source', 'val'): 1,
    }
    for (name, split), listing in found.items():
        assert all((sample.label is None) == ((name, split) == ('toypass', 'train')) for sample in listing.samples)
    assert not list((out / 'target/gtFine').glob('train*'))  # the truth of training panoramas lies apart


def test_the_source_look_shows_the_same_scenes(small):
    out, _ = small
    one, other = (out / f'target/gtFine/{split}/cs/1_labelTrainIds.png' for split in ('val', 'val_source_look'))
    assert one.read_bytes() == other.read_bytes()
    one, other = (out / f'target/leftImg8bit/{split}/cs/1.png' for split in ('val', 'val_source_look'))
    assert one.read_bytes() != other.read_bytes()


def test_what_the_files_hold(small):
    out, _ = small
    plan = DatasetPlan(out, SMALL, 5, depth=True)
    for job in jobs(SMALL):
        files = paths(plan, job)
        size = (64, 32) if job.domain == 'source' else (128, 25)
        content = {}
        for name, path in files.items():
            with Image.open(path) as image:
                assert image.size == size
                content[name] = np.asarray(image)
        assert content['image'].dtype == np.uint8
        assert content['image'].shape == (*size[::-1], 3)
        assert content['label'].dtype == np.uint8
        assert set(np.unique(content['label'])) <= {*range(19), IGNORE}
        assert content['instances'].dtype == content['parts'].dtype == content['depth'].dtype == np.uint16
        sky = content['label'] == SKY
        assert ((content['instances'] == 0) == sky).all()
        assert ((content['depth'] == 0) == sky).all()
        assert 50 < content['depth'][~sky].min() < content['depth'].max() <= 65535


def test_the_description_holds_every_knob_and_the_pixels_per_degree(small):
    out, _ = small
    found = json.loads((out / 'toypass.json').read_text())
    assert found['seed'] == 5
    assert found['world']['periods'] == SMALL.world.periods
    assert found['looks']['mild']['noise'] == list(LOOKS['mild'].noise)
    assert found['pinhole']['fov'] == [60.0, 90.0]
    assert found['panorama']['vertical_fov'] == 70.3125
    assert found['pixels_per_degree'] == {'source': [64 / 90, 64 / 60], 'target': 128 / 360}


def test_statistics_count_pixels_and_images(small):
    _, found = small
    assert sorted(found) == ['source train', 'source val', 'target train', 'target val']
    assert found['source train']['pixels'].sum() == 3 * 32 * 64
    assert found['target val']['pixels'].sum() == 25 * 128
    assert found['source train']['images'][0] == 3  # there is road in every one


def test_other_knobs_or_a_strange_folder_are_refused_by_name(small, tmp_path):
    out, _ = small
    before = files_of(out)
    with pytest.raises(DatasetError, match=r'other knobs \(seed 5 instead of 6\)'):
        make_small(out, seed=6)
    with pytest.raises(DatasetError, match=r'target_look mild instead of source'):
        make_small(out, knobs=dataclasses.replace(SMALL, target_look='source'))
    assert files_of(out) == before
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/letter.txt').write_text('dear')
    with pytest.raises(DatasetError, match=r'holds files, but no toypass\.json'):
        make_small(tmp_path / 'mine')
    (tmp_path / 'mine/toypass.json').write_text('{')
    with pytest.raises(DatasetError, match='cannot be read'):
        make_small(tmp_path / 'mine')


def test_knobs_of_the_command_line():
    assert preset('full').panorama.pixels_per_degree() == pytest.approx(2048 / 360)
    assert (preset('full').panorama.height, preset('demo').panorama.height) == (400, 200)
    wide = preset('demo', 'source', source_pixels_per_degree=13.65, panorama_width=512)
    assert (wide.pinhole.height, wide.pinhole.width) == (512, 1024)
    assert (wide.panorama.height, wide.panorama.width) == (100, 512)
    assert wide.target_look == 'source'


# --- the tools ---


def test_tiny_has_every_class_and_says_so(tiny_toypass):
    out, finished = tiny_toypass
    assert finished.returncode == 0, finished.stderr
    assert '20 scenes in' in finished.stdout
    assert '20/20' in finished.stderr  # the progress bar
    assert 'pixels per degree: source 2.8 to 4.3, target 1.4' in finished.stdout
    assert 'shows no' not in finished.stderr
    lines = {line[:14].strip(): line[14:] for line in finished.stdout.splitlines()}
    for name in CLASSES:
        shares = [float(word) for word in lines[name].replace('(', ' ').replace(')', ' ').split()]
        assert len(shares) == 8
        assert min(shares) > 0, name
    assert not list(out.rglob('.tmp-*'))
    assert len(list(out.rglob('*.png'))) == 12 * 4 + 4 * 4 + 4 * 6


def test_a_domain_can_be_made_by_itself():
    both, target = jobs(SMALL), jobs(SMALL, ['target'])
    assert target == [job for job in both if job.domain == 'target']
    assert 0 < len(target) < len(both)


def test_a_worker_that_dies_is_told(tmp_path):
    plan = DatasetPlan(tmp_path / 'x', SMALL, 0)
    prepare(plan)
    made = make_all(plan, workers=2)
    next(made)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(DatasetError, match='a worker died'):
        list(made)


def test_ctrl_c_ends_the_tool_and_its_workers(tmp_path):
    tool = str(ROOT / 'tools/make_toypass.py')
    command = [sys.executable, tool, '--out', str(tmp_path / 'x'), '--preset', 'tiny', '--workers', '2']
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not list(tmp_path.rglob('*_instances.png')):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130, errors
    assert 'Traceback' not in errors
    assert errors.strip().endswith('interrupted')


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (('--preset', 'huge'), 'invalid choice'),
        (('--panorama-width', '1000'), '1000 is not a power of two'),
        (('--workers', '0'), "'0' is not a whole number above 0"),
        (('--seed', '-1'), "'-1' is not a whole number from 0"),
        (('--source-pixels-per-degree', '500'), 'between 0.5 and 60'),
        (('--out', ''), 'the path is empty'),
    ],
)
def test_a_wrong_flag_is_one_line(run_tool, arguments, expected):
    finished = run_tool('make_toypass.py', *arguments)
    assert finished.returncode == 2
    assert len(finished.stderr.strip().splitlines()) == 1
    assert expected in finished.stderr


def test_browse_dataset_shows_images_with_labels_over_them(tiny_toypass, run_tool, tmp_path):
    out, _ = tiny_toypass
    sheet = tmp_path / 'pictures/val.png'
    shown = run_tool(
        'browse_dataset.py', '--dataset', 'toypass', '--split', 'val', '--data-root', out, '--count', '2', '--width',
        '512', '--opacity', '1', '--out', sheet,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    with Image.open(sheet) as image:
        pixels = np.asarray(image)
    # One column of two cells: caption, image and label of 100 rows each.
    top = 6 + 24
    with Image.open(out / 'target/leftImg8bit/val/cs/1.png') as image:
        np.testing.assert_array_equal(pixels[top : top + 100, 6:518], np.asarray(image))
    with Image.open(out / 'target/gtFine/val/cs/1_labelTrainIds.png') as label:
        road = np.asarray(label) == 0
    assert (pixels[top + 100 : top + 200, 6:518][road] == (128, 64, 128)).all()
    assert pixels.shape == (6 + 2 * (24 + 200 + 6) + -(-20 // (524 // 150)) * 24 + 6, 524, 3)


def test_browse_dataset_shows_images_without_labels_and_refuses_unknown_ids(tiny_toypass, run_tool, tmp_path):
    out, _ = tiny_toypass
    flags = ('--dataset', 'toypass', '--data-root', out, '--out', tmp_path / 'a.png')
    shown = run_tool('browse_dataset.py', *flags, '--ids', 'Elmira/1')
    assert shown.returncode == 0, shown.stderr
    refused = run_tool('browse_dataset.py', *flags, '--ids', 'Elmira/999')
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: there is no image 'Elmira/999'")
    missing = run_tool('browse_dataset.py', '--dataset', 'toypass', '--data-root', tmp_path / 'none')
    assert missing.returncode == 2
    assert 'make_toypass.py' in missing.stderr
    (tmp_path / 'file').touch()
    for wrong, message in (
        (('--out', tmp_path / 'a.xyz'), 'is not the name of a picture'),
        (('--out', tmp_path), 'is not the name of a picture'),
        (('--out', tmp_path / 'file/a.png'), 'give another --out'),
        (('--width', 1_000_000), '--width 64 to 8192'),
    ):
        refused = run_tool('browse_dataset.py', *flags, *wrong)
        assert refused.returncode == 2
        assert message in refused.stderr


def test_browse_dataset_reads_raw_ids_and_stanford_instances(run_tool, tmp_path):
    def write(name, pixels):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    grey = np.full((20, 80, 3), 90, np.uint8)
    write('area_5a/pano/rgb/camera_1_rgb.png', grey)
    ids = np.zeros((20, 80, 3), np.uint8)
    ids[:, :40, 2] = 1  # the second name: a chair
    write('area_5a/pano/semantic/camera_1_semantic.png', ids)
    flags = ('--dataset', 'stanford2d3d', '--split', 'val', '--data-root', tmp_path, '--opacity', '1', '--width', '80')
    refused = run_tool('browse_dataset.py', *flags, '--out', tmp_path / 'a.png')
    assert refused.returncode == 2
    assert 'semantic_labels.json' in refused.stderr
    (tmp_path / 'semantic_labels.json').write_text('["table_1_x", "chair_1_hall"]')
    shown = run_tool('browse_dataset.py', *flags, '--out', tmp_path / 'a.png')
    assert shown.returncode == 0, shown.stderr
    with Image.open(tmp_path / 'a.png') as image:
        pixels = np.asarray(image)
    assert tuple(pixels[6 + 24 + 20 + 5, 6 + 5]) == (91, 255, 0)
    assert tuple(pixels[6 + 24 + 20 + 5, 6 + 60]) == (90, 0, 255)


def test_pairs_of_presets_grow():
    for small_one, large in pairwise(('tiny', 'demo', 'full')):
        assert PRESETS[small_one].panorama.width < PRESETS[large].panorama.width


def test_the_preset_of_the_demo_has_the_first_scenes_of_the_large_one():
    quick, demo = PRESETS['quick'], PRESETS['demo']
    assert (quick.panorama, quick.world, quick.target_look) == (demo.panorama, demo.world, demo.target_look)
    assert quick.counts.target_train < demo.counts.target_train
    assert quick.counts.target_val < demo.counts.target_val
