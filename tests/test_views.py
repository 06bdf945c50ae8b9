"""Views of labelled panoramas, masks for photogrammetry, levelled and cropped panoramas in predict.py."""

import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from py360convert import c2e
from test_levelling import blobs, crop, save

from stage1_sam_cache.data.gpano import facts_of
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.geometry.resampling import resample
from stage1_sam_cache.geometry.sphere import SphereArea, camera_to_level
from stage2_distill.commands import predict
from stage2_distill.deployment import levelling
from stage2_distill.deployment.photogrammetry_masks import class_ids, ignore_mask, mask_name
from stage2_distill.deployment.views import CUBE, View, cube_views, cut_view, perspective_views, whole_sphere
from stage2_distill.errors import ConfigError

CLASSES = ['road', 'traffic light', 'traffic sign', 'person', 'car']


def direction_of(view, row, column, size):
    """Longitude and latitude, in degrees, of a view's pixel, the textbook's pinhole camera."""
    tangent = np.tan(np.radians(view.fov / 2))
    right, up = ((column + 0.5) / size * 2 - 1) * tangent, (1 - (row + 0.5) / size * 2) * tangent
    pitch, yaw = np.radians(view.pitch), np.radians(view.yaw)
    ahead, lifted = np.cos(pitch) - up * np.sin(pitch), np.sin(pitch) + up * np.cos(pitch)
    longitude = np.degrees(yaw + np.arctan2(right, ahead))
    return (longitude + 180) % 360 - 180, np.degrees(np.arctan2(lifted, np.hypot(ahead, right)))


@pytest.mark.parametrize(
    'view',
    [*cube_views(64), View('tilted', 300, -35, 70, 50), View('wide', 20, 10, 120, 41)],
    ids=lambda view: view.name,
)
def test_views_show_what_lies_in_their_direction(view):
    columns, rows = np.meshgrid(np.arange(360, dtype=np.uint8), np.arange(180, dtype=np.uint8))
    columns = np.arange(360)[None].repeat(180, 0)
    places = np.stack([rows, (columns % 256).astype(np.uint8), (columns // 256).astype(np.uint8)], axis=2)  # 1 degree
    seen = np.stack([cut_view(np.ascontiguousarray(places[..., i]), view, nearest=True) for i in range(3)], axis=2)
    assert seen.shape == (view.size, view.size, 3)
    for row, column in np.ndindex(view.size, view.size):
        longitude, latitude = direction_of(view, row, column, view.size)
        found = seen[row, column].astype(int)
        assert abs(found[0] - (90 - latitude - 0.5)) < 0.52
        away = (found[1] + 256 * found[2] - (longitude + 179.5) + 180) % 360 - 180
        assert abs(away) * np.cos(np.radians(latitude)) < 0.52


def test_labels_go_to_a_cube_and_back_the_same_but_along_edges():
    labels = blobs(256, 512, SphereArea.full(256, 512))
    faces = {name: cut_view(labels, view, nearest=True) for name, view in zip(CUBE, cube_views(), strict=True)}
    assert {face.shape for face in faces.values()} == {(128, 128)}
    keys = dict(zip('FRBLUD', CUBE, strict=True))
    back = c2e({key: faces[name] for key, name in keys.items()}, 256, 512, mode='nearest', cube_format='dict')
    edges = np.zeros(labels.shape, bool)
    for rows, columns in ((0, 1), (1, 0), (1, 1), (1, -1)):
        for turn in (1, 2, 3):
            for sign in (1, -1):
                edges |= labels != np.roll(labels, (sign * turn * rows, sign * turn * columns), (0, 1))
    assert (back == labels).mean() > 0.97
    assert (back == labels)[~edges].mean() > 0.999
    assert 0.02 < edges.mean() < 0.4


def test_names_say_where_views_look_and_sizes_follow_the_panorama():
    views = perspective_views([0, -90, 22.5, 360], [0, -30], fov=60)
    assert [view.name for view in views] == [
        *('yaw000_pitch+00', 'yaw270_pitch+00', 'yaw022.5_pitch+00'),
        *('yaw000_pitch-30', 'yaw270_pitch-30', 'yaw022.5_pitch-30'),
    ]
    with pytest.raises(ImageError, match='a view of 170 degrees would have 46817 rows and columns; give --view-size'):
        View('x', 0, 0, 170).size_for(16384)
    assert [view.size_for(2048) for view in (cube_views()[0], views[0], View('x', 0, 0, 90, 100))] == [512, 296, 100]


def test_a_band_is_completed_by_what_is_not_shown():
    labels = np.full((70, 360), 7, np.uint8)
    sphere = whole_sphere(labels, SphereArea.band(70, 360), None, labels=True)
    assert sphere.shape == (180, 360)
    assert (sphere[55:125] == 7).all()
    assert (np.delete(sphere, np.s_[55:125], axis=0) == 255).all()
    assert not whole_sphere(np.full((70, 360, 3), 9, np.uint8), SphereArea.band(70, 360), None, labels=False)[:55].any()


def test_masks_are_black_where_a_class_is_ignored_or_nothing_is_shown():
    assert ignore_mask(np.array([[0, 3, 4, 255]], np.uint8), [3, 4]).tolist() == [[255, 0, 0, 0]]
    assert mask_name('a/street.jpg', 'colmap') == 'a/street.jpg.png'
    assert mask_name('a/street.jpg', 'metashape') == 'a/street_mask.png'
    for words in (['person', 'traffic light'], ['Traffic_Light', 'person'], ['person', 'traffic', 'light']):
        assert class_ids(words, CLASSES) == [1, 3]
    with pytest.raises(ConfigError, match="no class 'traffic'; known: road, traffic light, traffic sign, person, car"):
        class_ids(['person', 'traffic'], CLASSES)
    with pytest.raises(ConfigError, match='--mask-classes names no class; known: road'):
        class_ids([' '], CLASSES)


def test_a_tilted_panorama_is_seen_level_and_its_labels_are_turned_back():
    sphere = SphereArea.full(64, 128)
    upright = blobs(64, 128, sphere)
    tilted = resample(upright, sphere, sphere, camera_to_level(20, 15), nearest=True)
    facts = facts_of({'PosePitchDegrees': '20', 'PoseRollDegrees': '15'}, (64, 128))
    seen = []

    def label(pixels, name, closed):
        seen.append(pixels[..., 0])
        return pixels[..., 0] // 20, f'{name} {closed}'

    labels, how = levelling.label_level(label, np.repeat(tilted[..., None] * 20, 3, 2), 'a', facts)
    assert how == 'a True, level'
    assert (labels == tilted).mean() > 0.9
    assert (seen[0] // 20 == upright).mean() > 0.9 > (tilted == upright).mean()

    def label_surely(pixels, name, closed):
        return np.stack([pixels[..., 0] // 20, pixels[..., 0]]), name

    both, _ = levelling.label_level(label_surely, np.repeat(tilted[..., None] * 20, 3, 2), 'a', facts)
    assert np.array_equal(both[0], labels)
    assert np.array_equal(both[1] // 20, labels)


@pytest.fixture
def student():
    """A student as predict.py takes it."""
    return (
        ROOT / 'mmseg_configs/source/segformer_b0_toypass.py',
        ROOT / 'stage2_distill/weights/segformer_b0.safetensors',
    )


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_predict_writes_views_and_masks_once_and_from_labels_that_are_there(run_tool, tmp_path, student, picture):
    save(tmp_path / 'in/a/street.jpg', picture(64, 128))
    Image.fromarray(picture(48, 128, seed=1)).save(tmp_path / 'in/plain.png')
    out = tmp_path / 'out'
    flags = (*student, '--images', tmp_path / 'in', '--out', out, '--device', 'cpu')
    plain = run_tool('predict.py', *flags)
    assert plain.returncode == 0, plain.stderr
    labels = {name: (out / f'labels/{name}.png').read_bytes() for name in ('a/street', 'plain')}
    more = ('--views', 'cube', '--mask-classes', 'car', 'vegetation', 'traffic', 'light')
    made = run_tool('predict.py', *flags, *more)
    assert made.returncode == 0, made.stderr
    assert '2 of 2 images:' in made.stdout
    assert f'views in {out}/views, masks in {out}/masks' in made.stdout
    assert {name: (out / f'labels/{name}.png').read_bytes() for name in labels} == labels  # kept, not made again
    files = {path.relative_to(out).as_posix() for path in out.rglob('*.png')}
    assert {name for name in files if name.startswith('masks')} == {*('masks/a/street.jpg.png', 'masks/plain.png.png')}
    assert {name for name in files if 'street' in name and name.startswith('views')} == {
        f'views/{kind}/{face}/a/street.png{end}'
        for kind, end in (('images', ''), ('labels', ''), ('masks', '.png'))
        for face in CUBE
    }
    ids = read(out / 'labels/a/street.png')
    mask = read(out / 'masks/a/street.jpg.png')
    assert set(np.unique(mask)) <= {0, 255}
    assert np.array_equal(mask == 0, np.isin(ids, [6, 8, 13]))
    face = read(out / 'views/labels/front/a/street.png')
    assert np.array_equal(face, cut_view(ids, cube_views()[0], nearest=True))
    up = read(out / 'views/labels/up/plain.png')
    assert (up == 255).any()
    assert not read(out / 'views/masks/up/plain.png.png')[up == 255].any()
    (out / 'views/images/left/plain.png').unlink()
    again = run_tool('predict.py', *flags, *more)
    assert '2 of 2 images (1 already there)' in again.stdout
    # Its own views are not labelled, and a file of somebody else is not replaced.
    (out / 'masks/plain.png.png').write_bytes((tmp_path / 'in/plain.png').read_bytes())
    refused = run_tool('predict.py', *flags, *more)
    assert refused.returncode == 1
    assert 'masks/plain.png.png exists and does not say what made it' in refused.stderr
    own = run_tool('predict.py', *student, '--images', out / 'views', '--out', tmp_path / 'other')
    assert own.returncode == 2
    assert 'are the output of tools/predict.py' in own.stderr


def test_level_and_wrap_follow_each_panorama(run_tool, tmp_path, student, picture):
    pixels = picture(64, 256)
    save(tmp_path / 'in/part.jpg', pixels, **crop(50, 58, 256, 64, 360, 180))
    Image.fromarray(read(tmp_path / 'in/part.jpg')).save(tmp_path / 'in/full.png')
    save(tmp_path / 'in/tilted.jpg', pixels, PoseRollDegrees=25, PosePitchDegrees=-20)
    found = {}
    for name, extra in (
        ('wrap', ['--wrap']),
        ('open', []),
        ('level', ['--level', '--confidence', '--format', 'png', 'coco']),
    ):
        out = tmp_path / name
        done = run_tool('predict.py', *student, '--images', tmp_path / 'in', '--out', out, '--device', 'cpu', *extra)
        assert done.returncode == 0, done.stderr
        part = (
            f'note: {tmp_path}/in/part.jpg shows 256 of 360 degrees, so its left and right border do not meet; --wrap'
        )
        assert (part in done.stderr) == (name == 'wrap')
        tilted = f'note: {tmp_path}/in/tilted.jpg is not level (pitch -20, roll 25 degrees); --level levels'
        assert (tilted in done.stderr) == (name != 'level')
        found[name] = {image: read(out / f'labels/{image}.png') for image in ('part', 'full', 'tilted')}
    assert '3 images in' in done.stdout  # level and cropped ones are this run's
    assert 'another student or mode' not in done.stdout
    assert read(tmp_path / 'level/confidence/tilted.png').shape == (64, 256)
    assert np.array_equal(found['wrap']['part'], found['open']['part'])
    assert not np.array_equal(found['wrap']['full'], found['open']['full'])
    assert np.array_equal(found['open']['part'], found['open']['full'])
    assert np.array_equal(found['level']['full'], found['open']['full'])
    assert found['level']['tilted'].shape == (64, 256)
    assert not np.array_equal(found['level']['tilted'], found['open']['tilted'])
    # The same folder without --level: labels of the tilted panorama are made again, the others kept.
    flags = ('--images', tmp_path / 'in', '--out', tmp_path / 'level', '--device', 'cpu')
    run_tool('predict.py', *student, *flags)
    assert np.array_equal(read(tmp_path / 'level/labels/tilted.png'), found['open']['tilted'])


def test_flags_that_make_no_sense_are_one_line(run_tool, tmp_path, student, picture, capsys, monkeypatch):
    Image.fromarray(picture(32, 64)).save(tmp_path / 'a.png')
    common = [*map(str, student), '--images', str(tmp_path / 'a.png'), '--out', str(tmp_path / 'out')]
    for flags, words in (
        (['--view-fov', '90'], '--view-fov goes with --views perspective'),
        (['--views', 'perspective', '--view-pitch', '95'], '--view-pitch goes from -90 to 90 degrees'),
        (['--views', 'perspective', '--view-yaw', 'nan'], '--view-yaw goes from -360 to 360 degrees'),
        (['--views', 'perspective', '--view-fov', '180'], '--view-fov goes from 1 to 170'),
        (['--view-size', '90'], '--view-size goes with --views'),
    ):
        with pytest.raises(SystemExit, match='2'):
            predict.main([*common, *flags])
        assert words in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'py360convert', None)  # as if it were not installed
    with pytest.raises(ConfigError, match='--views needs py360convert; pip install py360convert'):
        predict.main([*common, '--views', 'cube'])
    refused = run_tool('predict.py', *common, '--mask-classes', 'dragon')
    assert refused.returncode == 2
    assert "error: --mask-classes: there is no class 'dragon'; known: road, sidewalk, building" in refused.stderr
    assert 'Traceback' not in refused.stderr
