"""Labels of a panorama by way of cached masks: what windows vote, against the loops, and what is refused."""

import numpy as np
import pytest
import torch
from conftest import TINY_GRID
from fuzz import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import init_default_scope
from reference import instance_labels as reference

from stage1_sam_cache.errors import InputSizeError, MaskCacheError
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill import components  # noqa: F401
from stage2_distill.data.cached_masks import CachedMasks
from stage2_distill.errors import ConfigError, Stage2Error
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.omnisam.cached_target import build_with_masks
from stage2_distill.omnisam.instance_labels import RULES, merge_with_masks

ROW = WindowGrid(1, 8, (1, 4), 2)  # windows at 0, 2, 4: columns are seen by 1 1 2 2 2 2 1 1
NONE = np.zeros((0, 1, 4), bool)


def cached(grid, masks):
    """Cached masks of windows from bool ``(K, h, w)`` of each."""
    return CachedMasks(grid, tuple(map(MaskAtoms.from_masks, masks)), ())


def certain(labels, height=5.0, classes=3):
    """Logits ``(C, 1, w)`` with these labels."""
    return torch.zeros(classes, 1, len(labels)).scatter(0, torch.tensor(labels)[None, None], height)


def row_masks(*pictures):
    """Masks of a window of one row, such as ``'##..'``."""
    return np.array([[[pixel == '#' for pixel in picture]] for picture in pictures])


@st.composite
def panoramas(draw):
    """A grid, predictions of its windows for one or two laps in any order, and masks of each window."""
    height, width = draw(st.integers(1, 3)), draw(st.integers(4, 8))
    window = (draw(st.integers(1, 4)), draw(st.integers(2, width)))
    stride = tuple(draw(st.integers((side + 2) // 3, side)) for side in window)
    grid = WindowGrid(height, width, window, stride, draw(st.booleans()))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    order = draw(st.permutations(list(range(len(grid.windows))) * draw(st.integers(1, 2))))
    classes = draw(st.integers(1, 4))
    predictions = [(w, torch.tensor(rng.normal(size=(classes, *window)), dtype=torch.float32)) for w in order]
    masks = [rng.random((draw(st.integers(0, 4)), *window)) < 0.5 for _ in grid.windows]
    return grid, predictions, [each[each.any((1, 2))] for each in masks]


@given(panoramas(), st.sampled_from(RULES), st.sampled_from([None, 0.4, 0.9, -1]))
@examples(60)
def test_the_rules_equal_the_loops(drawn, rule, threshold):
    grid, predictions, masks = drawn
    expected = reference.merged(predictions, grid, masks, rule)
    assume(all(pixel is not None for row in expected for pixel in row))
    merged = merge_with_masks(iter(predictions), grid, cached(grid, masks), rule, threshold, ignored=99)
    assert merged.labels.dtype == torch.int64 and merged.confidence.dtype == torch.float32
    confidence = torch.tensor([[float(share) for _, share in row] for row in expected])
    assert torch.allclose(merged.confidence, confidence)
    kept = torch.tensor([[share > (threshold or 0) for _, share in row] for row in expected])
    labels = torch.tensor([[label for label, _ in row] for row in expected])
    assert torch.equal(merged.labels, labels.where(kept, 99))
    assert merged.ignored_share == pytest.approx(1 - kept.double().mean().item())


def test_a_mask_takes_one_label_and_what_it_is_unsure_of_is_ignored():
    predictions = [(0, certain([1, 1, 1, 2])), (1, certain([0, 0, 2, 2])), (2, certain([2, 2, 2, 2]))]
    masks = cached(ROW, [row_masks('####'), NONE, row_masks('##..')])
    merged = merge_with_masks(predictions, ROW, masks)
    assert merged.labels.tolist() == [[1, 1, 1, 1, 2, 2, 255, 255]]
    # The second window has no mask, so that it is never reliable, whatever it says.
    assert merged.confidence.tolist() == [[1, 1, 0.5, 0.5, 0.5, 0.5, 0, 0]]
    assert merged.ignored_share == 2 / 8
    kept = merge_with_masks(predictions, ROW, masks, threshold=-1)
    assert kept.labels.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]] and kept.ignored_share == 0
    assert merge_with_masks(predictions, ROW, masks, threshold=0.5).labels[0, 2:6].tolist() == [255] * 4


def test_a_reliable_window_outvotes_two_that_are_not():
    grid = WindowGrid(1, 8, (1, 6), 1)  # three windows; columns 2 to 5 are seen by all
    predictions = [(0, certain([0] * 6)), (1, certain([2] * 6, 9.0)), (2, certain([2] * 6, 9.0))]
    none = np.zeros((0, 1, 6), bool)
    merged = merge_with_masks(predictions, grid, cached(grid, [row_masks('######'), none, none]))
    assert merged.labels[0].tolist() == [0] * 6 + [255] * 2
    assert merged.confidence[0, 2:6].tolist() == pytest.approx([1 / 3] * 4)


def test_ctcf_does_not_rely_on_a_mask_of_many_labels_and_ssa_does():
    grid = WindowGrid(1, 4, (1, 4), 4)
    masks = cached(grid, [row_masks('####')])
    half, quarter = certain([0, 0, 1, 2]), certain([0, 1, 2, 3], classes=4)
    for rule in RULES:  # half of a small mask is enough for both
        assert merge_with_masks([(0, half)], grid, masks, rule).labels.tolist() == [[0, 0, 0, 0]]
    assert merge_with_masks([(0, quarter)], grid, masks, 'ctcf').labels.tolist() == [[255] * 4]
    assert merge_with_masks([(0, quarter)], grid, masks, 'ssa').labels.tolist() == [[0] * 4]


@pytest.mark.parametrize('rule', RULES)
def test_equal_laps_and_other_orders_change_nothing(rule):
    grid = WindowGrid(2, 12, (2, 5), 3, wrap=True)
    rng = np.random.default_rng(1)
    logits = [torch.tensor(rng.normal(size=(3, 2, 5)), dtype=torch.float32) for _ in grid.windows]
    masks = cached(grid, [rng.random((3, 2, 5)) < 0.6 for _ in grid.windows])
    once = merge_with_masks(enumerate(logits), grid, masks, rule)
    for order in ((0, 1, 2, 3, 3, 2, 1, 0), (2, 3, 0, 1)):
        other = merge_with_masks([(window, logits[window]) for window in order], grid, masks, rule)
        assert torch.equal(other.labels, once.labels) and torch.equal(other.confidence, once.confidence)
    joined = merge_with_masks(enumerate(logits), grid, masks.joined(), rule)  # as a sample has them
    assert torch.equal(joined.labels, once.labels)


def test_what_does_not_fit_is_refused_in_one_line():
    whole = [(window, certain([0, 0, 0, 0])) for window in range(3)]
    masks = cached(ROW, [NONE] * 3)
    with pytest.raises(ConfigError, match="rule 'most' is not one of 'ctcf', 'ssa'; choose"):
        merge_with_masks(whole, ROW, masks, 'most')
    with pytest.raises(MaskCacheError, match='by the rule ssa need cached masks; give the data set a cache and Load'):
        merge_with_masks(whole, ROW, None, 'ssa')
    with pytest.raises(MaskCacheError, match=r'the cache has windows .*, the model '):
        merge_with_masks(whole, WindowGrid(1, 8, (1, 4), 4), masks)
    with pytest.raises(InputSizeError, match='logits of 1x5 pixels for windows of 1x4'):
        merge_with_masks([(0, certain([0] * 5))], ROW, masks)
    with pytest.raises(Stage2Error, match='window 3 of a grid of 3'):
        merge_with_masks([*whole, (3, whole[0][1])], ROW, masks)
    for wrong in ([], whole[:2], [*whole, whole[0]]):
        with pytest.raises(Stage2Error, match='; predict every window of the grid once per lap'):
            merge_with_masks(wrong, ROW, masks)


# --- the cache ---


def target(data, **changes):
    """A run that labels tiny panoramas, with windows for pinhole images as well, and its data set."""
    steps = [{'type': 'LoadPanorama'}, {'type': 'LoadCachedMasks'}, {'type': 'PackPanorama'}]
    images = {'type': 'CatalogueDataset', 'name': 'toypass', 'split': 'train', 'root': str(data), 'labelled': False}
    grid = [{'window': (128, 128), 'stride': 64}, TINY_GRID]
    return Config({'model': {'grid': grid}}), {**images, 'pipeline': steps, **changes}


def test_the_cache_is_checked_and_its_masks_label_a_panorama(tiny_toypass, tiny_caches):
    init_default_scope('mmseg')
    config, settings = target(tiny_toypass[0], cache=str(tiny_caches['train']))
    dataset = build_with_masks(settings, config, 'target')
    sample = dataset[0]['data_samples']
    grid = sample.cached_masks.grid
    assert (grid.height, grid.width, grid.window) == (100, 512, (100, 128))
    rng = torch.Generator().manual_seed(0)
    predictions = [(window, torch.randn(5, *grid.window, generator=rng)) for window in range(len(grid.windows))]
    merged = merge_with_masks(predictions, grid, sample.cached_masks, 'ssa')
    assert merged.ignored_share == 0  # Felzenszwalb's masks cover all
    noise = merge_with_masks(predictions, grid, sample.cached_masks, 'ctcf')
    assert noise.ignored_share > 0.9


@pytest.mark.parametrize(
    ('change', 'error', 'said'),
    [
        ({'cache': None}, ConfigError, 'target has no cache; make masks with tools/cache_sam.py and the windows of'),
        ({'pipeline': [{'type': 'LoadPanorama'}]}, ConfigError, 'the pipeline of target loads none; put LoadCachedM'),
        (
            {'cache': 'nowhere'},
            MaskCacheError,
            r'nowhere.*; run tools/cache_sam.py --dataset toypass .*--window 100x128',
        ),
        ({'split': 'val'}, MaskCacheError, '4 of 4 training images are not in the cache'),
    ],
)
def test_a_cache_that_does_not_do_is_refused_in_one_line(tiny_toypass, tiny_caches, change, error, said):
    init_default_scope('mmseg')
    config, settings = target(tiny_toypass[0], **{'cache': str(tiny_caches['train']), **change})
    with pytest.raises(error, match=said) as caught:
        build_with_masks(settings, config, 'target')
    assert '\n' not in str(caught.value)


def test_a_cache_of_other_windows_or_another_generator_is_refused(tiny_toypass, tiny_caches):
    init_default_scope('mmseg')
    config, settings = target(tiny_toypass[0], cache=str(tiny_caches['train']))
    config.model.grid = {**TINY_GRID, 'stride': 48}
    with pytest.raises(MaskCacheError, match=r'grid.stride is \[100, 64\], not \[100, 48\].*; run tools/cache_sam.py'):
        build_with_masks(settings, config, 'target')
    config, _ = target(tiny_toypass[0])
    config.expected_cache = {'generator': {'name': 'sam'}, 'boundary': {'source': 'crop'}}  # boundaries are not read
    with pytest.raises(MaskCacheError, match=r"settings: generator.name is 'felzenszwalb', not 'sam'; run"):
        build_with_masks(settings, config, 'target')
    config.expected_cache = {'generater': {'name': 'sam'}}
    with pytest.raises(ConfigError, match=r'expected_cache.generater is no setting of a cache'):
        build_with_masks(settings, config, 'target')
