"""What can be said about masks without labels: IoU of pairs, overlap agreement, and the table of the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from reference import agreement as literal
from test_instance_masks import dense_masks

from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.commands import inspect_cache
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.errors import MissingCacheError
from stage1_sam_cache.geometry.windows import WindowGrid
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.masks.overlap_agreement import overlap_agreement
from stage1_sam_cache.masks.pairwise_iou import pairwise_iou
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator, FelzenszwalbSettings


@given(dense_masks(), st.data())
@examples(60)
def test_the_iou_of_every_pair_is_that_of_the_dense_masks(one, data):
    other = one[np.array(data.draw(st.lists(st.integers(0, len(one) - 1), max_size=4)) if len(one) else [], int)]
    other = np.roll(other, data.draw(st.integers(0, 2)), axis=2)
    one, other = (masks[masks.any(axis=(1, 2))] for masks in (one, other))
    found = pairwise_iou(InstanceMasks.from_dense(one), InstanceMasks.from_dense(other))
    assert found.shape == (len(one), len(other))
    np.testing.assert_allclose(found, [[(a & b).sum() / (a | b).sum() for b in other] for a in one] or found)
    with pytest.raises(ValueError, match='masks of'):
        pairwise_iou(InstanceMasks.from_dense(one), InstanceMasks.from_dense(np.ones((1, 9, 9), bool)))


# Plain; a padded last window; across the seam; with rows of windows; across the seam where two windows meet twice.
GRIDS = [
    WindowGrid(4, 12, (4, 6), 3),
    WindowGrid(3, 5, (4, 6), 3),
    WindowGrid(4, 12, (4, 6), 4, True),
    WindowGrid(6, 9, (4, 6), (2, 3), True),
    WindowGrid(4, 8, (4, 6), 4, True),
]


@given(st.sampled_from(GRIDS), st.integers(0, 2**32 - 1), st.integers(1, 5))
@examples(60)
def test_overlap_agreement_is_that_of_the_literal_reading(grid, seed, min_area):
    rng = np.random.default_rng(seed)
    dense = []
    for window in grid.windows:
        masks = rng.random((rng.integers(0, 4), *grid.window)) < rng.choice([0.1, 0.5, 0.9])
        valid = grid.valid(window)
        masks[:, valid.height :], masks[:, :, valid.width :] = False, False
        dense.append(masks[masks.any(axis=(1, 2))])
    found = overlap_agreement([InstanceMasks.from_dense(masks) for masks in dense], grid, min_area)
    np.testing.assert_allclose(sorted(found), literal.agreement(dense, grid, min_area))


def test_agreement_of_known_masks():
    grid = WindowGrid(1, 6, (1, 4), 2)  # two windows share columns 2 and 3
    first, second = np.array([[[0, 1, 1, 1]], [[1, 1, 0, 0]]], bool), np.array([[[1, 0, 0, 0]]], bool)
    windows = [InstanceMasks.from_dense(masks) for masks in (first, second)]
    # There, the first window has one mask of two pixels, and the second one of them: IoU 1/2, both ways.
    assert overlap_agreement(windows, grid, min_area=1).tolist() == [0.5, 0.5]
    assert overlap_agreement(windows, grid, min_area=2).tolist() == [0.5]
    none = InstanceMasks.from_dense(np.zeros((0, 1, 4), bool))
    assert overlap_agreement([windows[0], none], grid, min_area=1).tolist() == [0.0]
    with pytest.raises(ValueError, match='masks of 1 windows for a grid of 2'):
        overlap_agreement(windows[:1], grid)


class Adapted(FelzenszwalbMaskGenerator):
    """Felzenszwalb's masks with the scores and the identity of an adapted SAM; the first mask has no score."""

    @property
    def identity(self):
        return {'name': 'adapted_sam', 'model': 'vit_b', 'adapter': {'sha256': '0123456789abcdef'}}

    def generate(self, image):
        masks = super().generate(image)
        scores = np.full(len(masks), 0.5, np.float32)
        scores[0] = np.nan
        return replace(masks, predicted_iou=scores, stability=np.full(len(masks), 0.9, np.float32))


def test_caches_are_compared_without_labels(tmp_path, image_folder, capsys):
    samples = list_folder(image_folder('a', 'b')).samples
    settings = CacheSettings((40, 64), 32)
    plain = FelzenszwalbMaskGenerator(FelzenszwalbSettings(scales=(50.0,), min_size=20))
    for root, generator in (('plain', plain), ('adapted', Adapted(plain.settings))):
        CacheBuilder(tmp_path / root, settings, generator).run(samples, show_progress=False)
    figures = tmp_path / 'new' / 'figures.json'
    roots = [str(tmp_path / root) for root in ('plain', 'adapted')]
    assert inspect_cache.main(['quality', *roots, '--limit', '1', '--json', str(figures)]) == 0
    told = capsys.readouterr()
    one, two = json.loads(figures.read_text())
    assert (one['generator'], one['predicted_iou'], one['panoramas']) == ('felzenszwalb', None, 1)
    assert (two['predicted_iou'], two['stability']) == (0.5, pytest.approx(0.9))
    assert 0 < one['agreement'] == two['agreement'] < 1 and one['coverage'] == 1
    lines = [line for line in told.out.splitlines() if line.startswith('| ')]
    end = f'{100 * one["agreement"]:.1f} |'
    assert f'| felzenszwalb | 1 | {one["masks_per_window"]:.1f} | 100.0 | - | - | {end}' in lines[1]
    assert (
        f'| adapted_sam vit_b, adapter 01234567 | 1 | {two["masks_per_window"]:.1f} | 100.0 | 50.0 | 90.0 |' in lines[2]
    )
    assert 'alone it proves nothing' in told.out and 'measuring' in told.err

    next((tmp_path / 'plain').glob('*/b-*.h5')).write_bytes(b'')
    assert inspect_cache.main(['quality', *roots]) == 2  # what is sound is still in the table
    told = capsys.readouterr()
    assert 'error: ' in told.err and 'adapted_sam' in told.out and 'felzenszwalb' not in told.out
    with pytest.raises(MissingCacheError, match='no mask cache here'):
        inspect_cache.main(['quality', str(tmp_path / 'none')])
