"""The real SAM code path, with a small untrained SAM: what SAM sees, what comes back, and its weights."""

import hashlib
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from segment_anything.utils.transforms import ResizeLongestSide

from stage1_sam_cache import WeightsError
from stage1_sam_cache.build.panorama import make_masks
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.data.images import RgbImage
from stage1_sam_cache.sam import weights as sam_weights
from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
from stage1_sam_cache.sam.settings import LEVELS, SamSettings
from stage1_sam_cache.sam.weights import PUBLISHED, find_weights, load_sam

# An untrained SAM is sure of nothing, so nothing is filtered by score.
KEEP_ALL = SamSettings(points_per_side=4, pred_iou_thresh=-100.0, stability_score_thresh=0.0)


@pytest.fixture
def tiny_weights(tmp_path, tiny_sam, monkeypatch):
    """The small SAM as an architecture of its own, and a file of its weights."""
    monkeypatch.setitem(sam_weights.ARCHITECTURES, 'tiny', type('Tiny', (), {'__new__': lambda cls: _fresh()}))
    path = tmp_path / 'tiny.pth'
    torch.save(tiny_sam.state_dict(), path)
    return path


def _fresh():
    from conftest import build_tiny_sam

    return build_tiny_sam()


def test_a_red_image_reaches_sam_as_red(tiny_sam):
    seen = []
    tiny_sam.image_encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    red = np.zeros((40, 64, 3), np.uint8)
    red[..., 0] = 255
    SamMaskGenerator(tiny_sam, 'tiny', '0' * 64, KEEP_ALL).generate(red)
    # SAM's own normalisation: (pixel - mean) / standard deviation, in the order red, green, blue.
    expected = (np.array([255, 0, 0]) - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    np.testing.assert_allclose(seen[0][0, :, 10, 10].numpy(), expected, rtol=1e-5)


def test_masks_scores_and_boxes_are_those_of_sams_own_generator(tiny_sam, picture):
    from segment_anything import SamAutomaticMaskGenerator

    image = picture(40, 64)
    ours = SamMaskGenerator(tiny_sam, 'tiny', '0' * 64, KEEP_ALL).generate(image)
    records = SamAutomaticMaskGenerator(tiny_sam, **asdict(KEEP_ALL)).generate(image)
    records = [record for record in records if record['area']]
    assert len(ours) == len(records) > 0
    for i, record in enumerate(records):
        np.testing.assert_array_equal(ours.masks[i], record['segmentation'])
        assert ours.area[i] == record['area']
        assert ours.predicted_iou[i] == pytest.approx(record['predicted_iou'])
        assert ours.stability[i] == pytest.approx(record['stability_score'])
        left, top, width, height = record['bbox']  # from first to last pixel, not counting the last
        assert ours.bbox[i].tolist() == [left, top, width + 1, height + 1]


@pytest.mark.parametrize('level', LEVELS)
def test_each_window_and_each_overlap_is_one_run_of_sam(tiny_sam, picture, level, monkeypatch):
    sizes = []
    original = ResizeLongestSide.apply_image
    monkeypatch.setattr(
        ResizeLongestSide, 'apply_image', lambda self, image: sizes.append(image.shape) or original(self, image)
    )
    generator = SamMaskGenerator(tiny_sam, 'tiny', '0' * 64, KEEP_ALL, level=level)
    settings = CacheSettings(window=(40, 64), stride=32)
    panorama = make_masks('x', RgbImage(picture(40, 160), '0' * 64), settings, generator)
    assert sizes == [(40, 64, 3)] * 4 + [(40, 32, 3)] * 3
    assert len(panorama.windows) == 4
    assert len(panorama.overlaps) == 3
    sizes.clear()
    make_masks('x', RgbImage(picture(40, 160), '0' * 64), replace(settings, overlap_source='window'), generator)
    assert sizes == [(40, 64, 3)] * 4


def test_every_setting_of_sams_generator_is_one_of_ours_with_the_same_default():
    from inspect import signature

    from segment_anything import SamAutomaticMaskGenerator

    theirs = {name: item.default for name, item in signature(SamAutomaticMaskGenerator).parameters.items()}
    for fixed in ('model', 'point_grids', 'output_mode'):
        del theirs[fixed]
    assert asdict(SamSettings()) == theirs


def test_no_mask_at_all_is_an_empty_list(tiny_sam, picture):
    masks = SamMaskGenerator(tiny_sam, 'tiny', '0' * 64, replace(KEEP_ALL, pred_iou_thresh=100.0)).generate(
        picture(40, 64)
    )
    assert len(masks) == 0
    assert masks.masks.shape == (0, 40, 64)
    assert not masks.id_map.any()


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (33, 7)])
def test_crops_of_any_size_are_taken(tiny_sam, picture, shape):
    masks = SamMaskGenerator(tiny_sam, 'tiny', '0' * 64, KEEP_ALL).generate(picture(*shape))
    assert masks.shape == shape


@pytest.mark.parametrize(
    'wrong',
    [
        {'points_per_side': 0},
        {'points_per_batch': 0},
        {'crop_n_layers': -1},
        {'min_mask_region_area': -1},
        {'pred_iou_thresh': float('nan')},
        {'stability_score_offset': float('inf')},
        {'box_nms_thresh': float('nan')},
        {'crop_nms_thresh': -0.1},
        {'crop_overlap_ratio': 5.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r'have to be|cannot be negative'):
        SamSettings(**wrong)


# weights


def test_weights_load_with_their_digest_and_give_the_same_masks(tiny_weights, tiny_sam, picture):
    sam, digest = load_sam('tiny', tiny_weights, official=False)
    assert digest == hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    image = picture(40, 64)
    one = SamMaskGenerator(tiny_sam, 'tiny', digest, KEEP_ALL).generate(image)
    two = SamMaskGenerator(sam, 'tiny', digest, KEEP_ALL).generate(image)
    np.testing.assert_array_equal(one.masks, two.masks)


def test_published_weights_are_fetched_checked_and_then_found(tmp_path, tiny_weights, monkeypatch):
    digest = hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    published = sam_weights.PublishedWeights('sam_tiny.pth', tiny_weights.as_uri(), digest)
    monkeypatch.setitem(PUBLISHED, 'tiny', published)
    path = find_weights('tiny', tmp_path / 'checkpoints')
    assert path == tmp_path / 'checkpoints' / 'sam_tiny.pth'
    assert load_sam('tiny', path)[1] == digest
    tiny_weights.unlink()  # the second time nothing is fetched
    assert find_weights('tiny', tmp_path / 'checkpoints') == path


def test_weights_that_several_processes_ask_for_are_fetched_once(tmp_path, tiny_weights, monkeypatch):
    digest = hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    monkeypatch.setitem(PUBLISHED, 'tiny', sam_weights.PublishedWeights('t.pth', tiny_weights.as_uri(), digest))
    fetched = []
    fetch = torch.hub.download_url_to_file

    def slowly(url, target, **options):
        fetched.append(url)
        time.sleep(0.3)
        fetch(url, target, **options)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', slowly)
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: find_weights('tiny', tmp_path / 'checkpoints'), range(3)))
    assert set(paths) == set((tmp_path / 'checkpoints').iterdir())
    assert len(fetched) == 1


def test_what_is_fetched_with_another_digest_is_not_kept(tmp_path, tiny_weights, monkeypatch):
    published = sam_weights.PublishedWeights('sam_tiny.pth', tiny_weights.as_uri(), 'f' * 64)
    monkeypatch.setitem(PUBLISHED, 'tiny', published)
    with pytest.raises(WeightsError, match='is not the published file'):
        find_weights('tiny', tmp_path / 'checkpoints')
    assert not list((tmp_path / 'checkpoints').iterdir())


def test_without_a_network_one_line_names_file_address_digest_and_place(tmp_path, monkeypatch):
    nowhere = PUBLISHED['vit_b']._replace(url=(tmp_path / 'nothing.pth').as_uri())
    monkeypatch.setitem(PUBLISHED, 'vit_b', nowhere)
    with pytest.raises(WeightsError) as problem:
        find_weights('vit_b', tmp_path / 'checkpoints')
    text = str(problem.value)
    assert '\n' not in text
    for part in (str(tmp_path / 'checkpoints' / nowhere.file), nowhere.url, nowhere.sha256):
        assert part in text


def test_the_file_names_carry_the_published_names():
    assert {name: weights.url.rsplit('/', 1)[1] for name, weights in PUBLISHED.items() if weights.url} == {
        'vit_h': 'sam_vit_h_4b8939.pth',
        'vit_l': 'sam_vit_l_0b3195.pth',
        'vit_b': 'sam_vit_b_01ec64.pth',
    }
    assert all(len(weights.sha256) == 64 for weights in PUBLISHED.values())


def test_official_weights_with_another_digest_are_refused_before_they_are_opened(tmp_path):
    path = tmp_path / PUBLISHED['vit_b'].file
    path.write_bytes(b'not weights')
    with pytest.raises(WeightsError, match='a damaged or other file'):
        load_sam('vit_b', path)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), 'w'))


@pytest.mark.parametrize('form', ['torch', 'pickle', 'legacy'])
def test_code_in_a_checkpoint_is_never_run(tmp_path, tiny_weights, form):
    path, target = tmp_path / 'hostile.pth', tmp_path / 'was_run'
    if form == 'pickle':
        path.write_bytes(pickle.dumps({'a': Hostile(target)}, protocol=2))
    else:
        torch.save({'a': Hostile(target)}, path, _use_new_zipfile_serialization=form == 'torch')
    with pytest.raises(WeightsError, match=r'holds more than weights.*code in it is not run; .*--trust-checkpoint'):
        load_sam('tiny', path, official=False)
    assert not target.exists()


@pytest.mark.parametrize(
    'content', [b'', b'garbage', {}, {'image_encoder.pos_embed': torch.zeros(1)}, [1], 'half', 'shapes', 'strings']
)
def test_a_wrong_checkpoint_is_one_clear_line(tmp_path, tiny_weights, tiny_sam, content):
    path = tmp_path / 'wrong.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == 'half':
        path.write_bytes(tiny_weights.read_bytes()[:5000])
    else:
        if content == 'shapes':
            content = {name: torch.zeros(3) for name in tiny_sam.state_dict()}
        elif content == 'strings':
            content = dict.fromkeys(tiny_sam.state_dict(), 'weights')
        torch.save(content, path)
    with pytest.raises(WeightsError) as problem:
        load_sam('tiny', path, official=False)
    assert '\n' not in str(problem.value)
    assert str(path) in str(problem.value)


def test_a_missing_checkpoint_is_one_clear_line(tmp_path, tiny_weights):
    with pytest.raises(WeightsError, match='cannot be read'):
        load_sam('tiny', tmp_path / 'missing.pth', official=False)
    with pytest.raises(WeightsError, match='has no published weights'):
        find_weights('tiny', tmp_path)
