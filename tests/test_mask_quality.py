"""Scores of masks against ToyPASS's truth: by hand, against a literal reading, and from the command line."""

import json

import numpy as np
import pytest
from conftest import TINY_WINDOWS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stage1_sam_cache import open_cache
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.system.digests import sha256_of
from toypass.truth.mask_quality import best_overlaps, confusion, label_by_truth, mean_iou
from toypass.truth.truth_masks import TruthMaskGenerator, encode

SHAPE = (6, 8)
segments = hnp.arrays(np.int64, SHAPE, elements=st.integers(0, 3))
dense_masks = hnp.arrays(np.bool_, st.tuples(st.integers(0, 4), *map(st.just, SHAPE)))


@given(segments, dense_masks)
def test_every_segment_has_the_iou_of_its_best_mask(truth, dense):
    found = best_overlaps(InstanceMasks.from_dense(dense), truth)
    for i, name in enumerate(np.unique(truth)):
        segment = truth == name
        assert found.area[i] == segment.sum()
        ious = [(mask & segment).sum() / (mask | segment).sum() for mask in dense if mask.any()]
        assert found.best[i] == pytest.approx(max(ious, default=0))


@given(hnp.arrays(np.int64, SHAPE, elements=st.sampled_from([0, 1, 2, 255])), dense_masks)
def test_masks_take_their_most_frequent_true_class(labels, dense):
    masks = InstanceMasks.from_dense(dense)
    expected = np.full(SHAPE, 255)
    for mask in dense:
        if mask.any():
            expected[mask] = np.bincount(labels[mask & (labels < 255)], minlength=3).argmax()
    np.testing.assert_array_equal(label_by_truth(masks, labels, 3), expected)


def test_miou_counts_what_no_mask_covers_as_wrong():
    truth = np.array([[0, 0, 1, 1, 255]])
    found = np.array([[0, 255, 1, 0, 0]])
    matrix = confusion(truth, found, 2)
    assert matrix.tolist() == [[1, 0, 1], [1, 1, 0]]
    assert mean_iou(matrix) == pytest.approx(100 * (1 / 3 + 1 / 2) / 2)


def test_the_truth_generator_gives_back_what_was_encoded():
    wholes = np.array([[1, 1, 300], [1, 1, 300]], np.uint16)
    parts = np.array([[1, 2, 300], [1, 2, 300]], np.uint16)
    masks = TruthMaskGenerator(('instances', 'parts')).generate(encode([wholes, parts]))
    expected = {wholes.tobytes() for wholes in (wholes == 1, wholes == 300, parts == 1, parts == 2)}
    assert {mask.tobytes() for mask in masks.masks} == expected


def test_true_masks_are_perfect_and_felzenszwalbs_are_not(tiny_toypass, tiny_caches, run_tool, tmp_path):
    data, _ = tiny_toypass
    for done in (4, 0):
        made = run_tool('cache_truth.py', '--data-root', data, '--split', 'val', *TINY_WINDOWS, '--out', tmp_path / 'c')
        assert made.returncode == 0, made.stderr
        assert made.stdout.startswith(f'{done} done, {4 - done} already there')
    assert open_cache(tmp_path / 'c').fingerprint.settings['generator']['name'] == 'truth'
    found = tmp_path / 'found.json'
    scored = run_tool('score_masks.py', tmp_path / 'c', tiny_caches['val'], '--data', data, '--json', found)
    assert scored.returncode == 0, scored.stderr
    truth, felzenszwalb = json.loads(found.read_text())
    assert (truth['mean_iou'], truth['recall_75'], truth['ceiling_miou']) == (1, 1, 100)
    assert 0 < felzenszwalb['recall_75'] <= felzenszwalb['recall_50'] < 1
    assert 10 < felzenszwalb['mean_iou'] * 100 < felzenszwalb['ceiling_miou'] < 100
    assert f'| felzenszwalb [50.0] | {100 * felzenszwalb["mean_iou"]:.1f} |' in scored.stdout
    windows = ('--window', '100x128', '--stride', '64')
    source = ('cache_truth.py', '--data-root', data, '--domain', 'source', '--split', 'val', *windows)
    made = run_tool(*source, '--out', tmp_path / 's')
    assert made.returncode == 0, made.stderr
    # The ids, and the digests of the images, are those of a cache that SAM makes of the folder of images.
    images = list_folder(data / 'source/leftImg8bit/val').samples
    cached = {record['id']: record['image_sha256'] for record in open_cache(tmp_path / 's').manifest()}
    assert cached == {sample.id: sha256_of(sample.image) for sample in images}
    scored = run_tool('score_masks.py', tmp_path / 's', '--data', data, '--domain', 'source', '--json', found)
    assert scored.returncode == 0, scored.stderr
    (truth,) = json.loads(found.read_text())
    assert (truth['mean_iou'], truth['recall_75'], truth['ceiling_miou'], truth['images']) == (1, 1, 100, len(images))
    refused = run_tool(*source, '--wrap', '--out', tmp_path / 's')
    assert refused.returncode == 2 and '--wrap: source images do not show 360 degrees' in refused.stderr
    other = run_tool('score_masks.py', tiny_caches['val'], '--data', data, '--split', 'train')
    assert other.returncode == 2
    assert 'does not exist; is the cache one of ToyPASS, and of this --domain and --split?' in other.stderr
