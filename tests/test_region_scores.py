"""Boundary IoU and scores by seam and latitude: by hand, against the literal reference, in the metric, in the tool."""

import json
from math import hypot

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmseg.evaluation import IoUMetric
from reference import region_scores as literal
from scipy.ndimage import binary_erosion
from test_source_training import complaint, load_tool

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill.evaluation.metrics import PerClassIoUMetric
from stage2_distill.evaluation.region_scores import (
    BANDS,
    RegionSettings,
    class_ious,
    contour_distance,
    latitude_bands,
    mean_iou,
    near_contour,
    region_counts,
    seam_columns,
)
from stage2_distill.evaluation.scored_config import use_regions

REGIONS = ('boundary', 'seam', 'elsewhere', *BANDS)
ROAD, CAR, IGNORED = 0, 1, 255


def drawn(picture):
    """A label map: ``.`` road, ``#`` car, ``?`` ignored; rows are parted by ``/``."""
    ids = {'.': ROAD, '#': CAR, '?': IGNORED}
    return np.array([[ids[pixel] for pixel in row.strip()] for row in picture.split('/')], np.uint8)


def marked(picture):
    return np.array([[pixel == 'x' for pixel in row.strip()] for row in picture.split('/')])


@st.composite
def pairs(draw):
    """Prediction and label of 3 classes, with ids that are no class and ignored pixels; a distance of 1 to 3 pixels."""
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    blocks = draw(st.integers(1, 4))
    prediction, label = (
        rng.choice(np.array([0, 1, 2, 255, last], np.uint8), shape).repeat(blocks, 0).repeat(blocks, 1)
        for last in (3, 2)
    )
    prediction, label = (ids[: shape[0], : shape[1]].copy() for ids in (prediction, label))
    return prediction, label, draw(st.integers(1, 3)) / hypot(*shape)


# --- the regions ---


def test_near_the_contour_by_hand():
    labels = drawn('....... / ..###.. / ..###.. / ..###.. / .......')
    everywhere = np.ones(labels.shape, bool)
    expected = marked('.xxxxx. / .xxxxx. / .xx.xx. / .xxxxx. / .xxxxx.')
    assert (near_contour(labels, everywhere, 1, closed=True) == expected).all()
    assert near_contour(labels, everywhere, 2, closed=True).all()


def test_a_car_across_the_seam_has_no_contour_there():
    labels = drawn('##...## / ##...## / ##...##')  # from top to bottom, where its view ends but not the car
    closed = near_contour(labels, labels != IGNORED, 1, closed=True)
    assert (closed == marked('.xx.xx. / .xx.xx. / .xx.xx.')).all()
    half = drawn('##..... / ##..... / ##.....')
    assert (near_contour(half, half != IGNORED, 1, closed=True) == marked('xxx...x / xxx...x / xxx...x')).all()
    assert (near_contour(half, half != IGNORED, 1, closed=False) == marked('.xx.... / .xx.... / .xx....')).all()


def test_ignored_pixels_make_no_contour_and_hide_none():
    labels = drawn('###?....')
    assert (near_contour(labels, labels != IGNORED, 1, closed=False) == marked('........')).all()
    assert (near_contour(labels, labels != IGNORED, 2, closed=False) == marked('..x.x...')).all()


@pytest.mark.parametrize('distance', [1, 2, 5])
def test_near_the_contour_is_what_erosion_takes_from_each_mask(distance):
    # As Cheng et al. define it, for objects that the border of the image does not cut.
    blocks = np.random.default_rng(distance).integers(0, 4, (6, 9), dtype=np.uint8).repeat(7, 0).repeat(7, 1)
    labels = np.pad(blocks, 1, constant_values=9)
    near = near_contour(labels, np.ones(labels.shape, bool), distance, closed=False)
    for c in range(4):
        eroded = binary_erosion(labels == c, np.ones((3, 3)), iterations=distance)
        assert ((near & (labels == c)) == ((labels == c) & ~eroded)).all()


def test_the_distance_is_a_share_of_the_diagonal():
    ratio = RegionSettings().boundary_ratio
    assert contour_distance(400, 2048, ratio) == 10
    assert contour_distance(200, 1024, ratio) == 5
    assert contour_distance(1024, 2048, ratio) == 11
    assert contour_distance(400, 2048, 0.02) == 42
    assert contour_distance(3, 4, 0.01) == 1


def test_columns_at_the_seam_and_thirds_of_rows():
    assert np.flatnonzero(seam_columns(24, 15)).tolist() == [0, 23]  # centres at 7.5 degrees, then 22.5
    assert seam_columns(1024, 15).sum() == 2 * 43  # 42.67 columns are 15 degrees
    assert seam_columns(7, 180).all()
    assert latitude_bands(7).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert np.bincount(latitude_bands(400)).tolist() == [133, 134, 133]
    assert latitude_bands(1).tolist() == [1]


@given(pairs(), st.booleans(), st.sampled_from([10.0, 15.0, 45.0, 180.0]))
def test_counts_are_those_of_the_literal_reading(pair, closed, degrees):
    prediction, label, ratio = pair
    found = region_counts(prediction, label, 3, closed, RegionSettings(ratio, degrees))
    expected = literal.counts(prediction.tolist(), label.tolist(), 3, closed, ratio, degrees, IGNORED)
    assert {name: counts.tolist() for name, counts in found.items()} == {
        name: [list(part) for part in counts] for name, counts in expected.items()
    }


@given(pairs(), st.integers(0, 11))
def test_where_a_panorama_is_cut_open_matters_to_the_seam_alone(pair, columns):
    prediction, label, ratio = pair
    settings = RegionSettings(ratio)
    found = region_counts(prediction, label, 3, settings=settings)
    turned = region_counts(*(np.roll(ids, columns, axis=1) for ids in pair[:2]), 3, settings=settings)
    assert all((found[name] == turned[name]).all() for name in ('boundary', *BANDS))


@given(pairs(), st.booleans())
def test_what_is_predicted_on_ignored_pixels_does_not_matter(pair, closed):
    prediction, label, ratio = pair
    settings = RegionSettings(ratio)
    changed = np.where(label == IGNORED, 2 - prediction % 3, prediction).astype(np.uint8)
    first, second = (region_counts(ids, label, 3, closed, settings) for ids in (prediction, changed))
    assert all((first[name] == second[name]).all() for name in first)


@given(pairs())
def test_seam_and_elsewhere_and_all_bands_make_up_what_mmseg_counts(pair):
    prediction, label, _ = pair
    found = region_counts(prediction, label, 3)
    whole = IoUMetric.intersect_and_union(torch.from_numpy(prediction), torch.from_numpy(label), 3, IGNORED)
    expected = torch.stack([whole[0], whole[1], whole[3]]).numpy()
    assert (found['seam'] + found['elsewhere'] == expected).all()
    assert (sum(found[name] for name in BANDS) == expected).all()


@given(pairs())
def test_a_perfect_prediction_has_100_in_every_class_that_is_there(pair):
    _, label, ratio = pair
    for counts in region_counts(label, label, 3, settings=RegionSettings(ratio)).values():
        ious = class_ious(counts)
        assert (ious[counts[2] > 0] == 100).all()
        assert np.isnan(ious[counts[2] == 0]).all()


def test_a_class_that_is_only_predicted_is_not_in_the_mean():
    # Half of the road is called a car where no car is; mmseg would take the car in as 0.
    counts = region_counts(drawn('##..'), drawn('....'), 2)['elsewhere']
    assert class_ious(counts)[ROAD] == 50
    assert np.isnan(class_ious(counts)[CAR])
    assert mean_iou(class_ious(counts)) == 50
    assert np.isnan(mean_iou(class_ious(np.zeros((3, 2), np.int64))))


@pytest.mark.parametrize('wrong', [{'boundary_ratio': 0.0}, {'boundary_ratio': float('nan')}, {'seam_degrees': 181.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong)).split("_")[0]}.* above 0'):
        RegionSettings(**wrong)


def test_as_many_classes_as_ids_allow():
    label = np.arange(255, dtype=np.uint8).reshape(1, 255)  # the last is no class
    found = region_counts(label, label, 254)
    assert sum(found[name] for name in BANDS).tolist() == [[1] * 254] * 3


def test_arrays_that_do_not_fit_are_refused():
    label = drawn('..##')
    with pytest.raises(ValueError, match=r'prediction int64 \(1, 4\) and label uint8 \(1, 4\)'):
        region_counts(label.astype(np.int64), label, 2)
    with pytest.raises(ValueError, match=r'\(1, 3\) and label'):
        region_counts(label[:, :3], label, 2)
    with pytest.raises(ValueError, match='255 classes'):
        region_counts(label, label, 255)


# --- the metric ---


def score(metric, classes, *images, predictor='pred_sem_seg'):
    """What the metric says of pairs of prediction and label."""
    metric.dataset_meta = {'classes': classes}
    for prediction, label in images:
        prediction, label = (torch.from_numpy(ids.astype(np.int64))[None] for ids in (prediction, label))
        metric.process({}, [{predictor: {'data': prediction}, 'gt_sem_seg': {'data': label}}])
    return metric.compute_metrics(metric.results)


def test_regions_are_off_by_default_and_change_no_other_score():
    images = [(drawn('.#.. / .###'), drawn('..#. / ??##')), (drawn('#### / ....'), drawn('##.. / ....'))]
    plain = score(PerClassIoUMetric(), ('road', 'car'), *images)
    assert list(plain) == ['aAcc', 'mIoU', 'mAcc', 'images', 'IoU.road', 'IoU.car']
    more = score(PerClassIoUMetric(regions={}), ('road', 'car'), *images)
    assert {name: more[name] for name in plain} == plain
    new = {f'{region}_{name}' for region in REGIONS for name in ('mIoU', 'IoU.road', 'IoU.car')}
    assert set(more) - set(plain) == new
    pinhole = score(PerClassIoUMetric(regions={}, closed=False), ('road', 'car'), *images)
    assert set(pinhole) - set(plain) == {'boundary_mIoU', 'boundary_IoU.road', 'boundary_IoU.car'}
    assert all(type(value) is float for value in more.values())


def test_pixels_are_summed_over_images_before_they_are_divided():
    # Columns of 90 degrees; the first and the last are the seam. Car there: 1 of 1, then 1 of 3.
    images = [(drawn('#...'), drawn('#...')), (drawn('#... / ....'), drawn('#..# / #...'))]
    found = score(PerClassIoUMetric(regions={'seam_degrees': 45.0}), ('road', 'car'), *images)
    assert found['seam_IoU.car'] == pytest.approx(100 * 2 / 4)
    assert found['seam_IoU.road'] == pytest.approx(100 * 2 / 4)
    assert found['seam_mIoU'] == pytest.approx(50)
    assert found['elsewhere_mIoU'] == 100
    assert np.isnan(found['elsewhere_IoU.car'])
    assert found['middle_IoU.car'] == 100  # an image of one row is all in the middle


def test_regions_are_scored_in_the_data_sets_own_classes():
    space = LABEL_SPACES['wildpass8'].classes  # car truck bus road sidewalk ...
    metric = PerClassIoUMetric(model_space='cityscapes19', predictor='ta_tile', regions={'seam_degrees': 45.0})
    # Cityscapes: road 0, sidewalk 1, building 2, car 13; the building is no class of WildPASS
    image = np.array([[13, 0, 1, 2]], np.uint8), np.array([[0, 3, 4, 0]], np.uint8)
    image[1][0, 0] = 0  # car
    found = score(metric, space, image, predictor='ta_tile')
    assert found['seam_IoU.car'] == 50
    assert found['elsewhere_mIoU'] == 100
    assert found['boundary_IoU.car'] == 50


@pytest.mark.parametrize('config', ['toypass', 'cityscapes'])
def test_plain_networks_name_the_classes_they_predict(config):
    # Without, their predictions would be compared by number with labels of other classes.
    found = Config.fromfile(ROOT / f'mmseg_configs/source/segformer_b0_{config}.py').test_evaluator
    assert found.model_space == 'cityscapes19'


# --- the tool ---

SOURCE = ROOT / 'mmseg_configs/source/segformer_b0_toypass.py'
WEIGHTS = ROOT / 'stage2_distill/weights/segformer_b0.safetensors'
QUICK = ('--cfg-options', 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')


@pytest.fixture
def scored(tmp_path, monkeypatch, capsys):
    """Runs tools/test.py here; returns what it printed and the JSON file."""
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.chdir(ROOT)  # the configs name the weights from here

    def run(*arguments):
        monkeypatch.setattr('sys.argv', ['test.py', *map(str, arguments), '--work-dir', str(tmp_path)])
        assert load_tool('test').main() == 0
        return capsys.readouterr().out, json.loads((tmp_path / 'scores.json').read_text())

    return run


def table(text):
    """The cells of the last Markdown table."""
    lines = [line for line in text.splitlines() if line.startswith('|')]
    start = max(i for i, line in enumerate(lines) if line.startswith('|---'))
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in [lines[start - 1], *lines[start + 1 :]]]


def test_the_tool_prints_and_writes_the_regions_of_panoramas(scored, tiny_toypass):
    data, _ = tiny_toypass
    flags = ('--dataset', 'toypass', '--data-root', data, '--mode', 'whole', 'tile', '--regions')
    text, found = scored(SOURCE, WEIGHTS, *flags, '--label-space', 'cityscapes13', '--seam-degrees', '20', *QUICK)
    assert '| mode | input scale 1 |' in text
    head, *body = table(text)
    assert head == ['mode', 'input scale', 'mIoU', 'boundary IoU', 'seam', 'top', 'middle', 'bottom']
    assert found['regions'] == {'boundary_ratio': 0.005, 'seam_degrees': 20}
    keys = ['mIoU', *(f'{name}_mIoU' for name in ('boundary', 'seam', *BANDS))]
    assert body == [[row['mode'], '1', *(f'{row[key]:.2f}' for key in keys)] for row in found['scores']]
    assert [row['mode'] for row in found['scores']] == ['whole', 'tile']
    for row in found['scores']:
        assert 0 < row['boundary_mIoU'] < row['mIoU']
        classes = [row[f'boundary_IoU.{name}'] for name in LABEL_SPACES['cityscapes13'].classes]
        assert row['boundary_mIoU'] == pytest.approx(np.mean([iou for iou in classes if iou is not None]))


def test_the_tool_scores_boundaries_alone_where_there_is_no_seam(scored, tiny_toypass):
    data, _ = tiny_toypass
    flags = ('--dataset', 'toypass_source', '--data-root', data / 'source', '--regions')
    text, found = scored(SOURCE, WEIGHTS, *flags, *QUICK)
    assert table(text)[0] == ['mode', 'input scale', 'mIoU', 'boundary IoU']
    assert 'not panoramas' in text
    assert not any(name.startswith(('seam', *BANDS)) for name in found['scores'][0])


def test_the_tool_scores_the_regions_of_each_predictor(scored, tiny_toypass):
    data, _ = tiny_toypass
    flags = ('--predictor', 'student', 'ta_tile', '--regions', *QUICK, f'test_dataloader.dataset.root={data}')
    text, found = scored(
        ROOT / 'mmseg_configs/goodsam_b0_toypass.py', *flags, 'model.grid.window=(100,128)', 'model.grid.stride=64'
    )
    student, tiled = found['scores']
    assert [row[0] for row in table(text)[1:]] == ['student', 'ta_tile']
    assert student['boundary_mIoU'] != tiled['boundary_mIoU']  # another network, in windows
    plain = {name for name in student if '_mIoU' not in name and '_IoU.' not in name}
    assert plain == {'mode', 'input_scale', 'aAcc', 'mIoU', 'mAcc', *(name for name in plain if name[:4] == 'IoU.')}


def test_mistakes_with_regions_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    for flags, expected in (
        (('--seam-degrees', '20'), '--seam-degrees goes with --regions'),
        (('--regions', '--boundary-ratio', '0'), 'the boundary ratio has to be above 0, not 0.0'),
    ):
        assert complaint('test', monkeypatch, SOURCE, WEIGHTS, *flags) == '2'
        assert expected in capsys.readouterr().err
    for option, expected in (
        ('test_evaluator.type=IoUMetric', 'the config scores by IoUMetric'),
        ('test_dataloader.dataset.type=BaseSegDataset', '--regions needs images of the catalogue'),
    ):
        assert expected in complaint('test', monkeypatch, SOURCE, WEIGHTS, '--regions', '--cfg-options', option)


@pytest.mark.parametrize(
    ('name', 'split', 'panorama'),
    [('densepass', 'val', True), ('stanford2d3d', 'val', True), ('stanford2d3d', 'pinhole_val', False),
     ('cityscapes', 'val', False)],
)  # fmt: skip
def test_the_catalogue_says_what_has_a_seam(name, split, panorama):
    config = Config.fromfile(SOURCE)
    config.test_dataloader.dataset = {'type': 'CatalogueDataset', 'name': name, 'split': split}
    use_regions(config, RegionSettings())
    assert config.test_evaluator.closed == panorama
    assert config.test_evaluator.regions == {'boundary_ratio': 0.005, 'seam_degrees': 15.0}
