"""Orders of windows, their patches, and the labels that their predictions are merged to."""

import weakref
from functools import partial
from math import log

import numpy as np
import pytest
import torch
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from reference import omnisam as reference
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stage1_sam_cache.errors import InputSizeError
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.errors import ConfigError, Stage2Error
from stage2_distill.omnisam.merging import RULES, merge
from stage2_distill.omnisam.patches import cut_label_patches, cut_patches, window_logits
from stage2_distill.omnisam.sequence import Lap, draw_orders, in_order, laps

ROW = WindowGrid(1, 8, (1, 4), 2)  # windows at 0, 2, 4: columns are seen by 1 1 2 2 2 2 1 1


# --- orders ---


def test_the_authors_nine_windows_and_eleven_around_the_seam():
    grid = WindowGrid(400, 2048, (400, 512), 192)
    assert grid.starts == [0, 192, 384, 576, 768, 960, 1152, 1344, 1536]
    covered = np.zeros(2048, int)
    for start in grid.starts:
        covered[start : start + 512] += 1
    assert set(covered) == {1, 2, 3} and covered[0] == covered[-1] == 1
    ring = WindowGrid(400, 2048, (400, 512), 192, wrap=True)
    assert len(ring.starts) == 11 and ring.starts == [round(i * 2048 / 11) for i in range(11)]


def test_laps_of_a_prediction():
    assert laps('forward', 3) == [Lap((0, 1, 2))]
    assert laps('both', 3) == [Lap((0, 1, 2)), Lap((2, 1, 0))]
    (lap,) = laps('ring', 3, start=1)
    assert lap.windows == (1, 2, 0, 1, 2, 0) and len(lap) == 6
    assert lap.counted == (1, 2, 0), 'the first time around only fills the memory'
    with pytest.raises(ConfigError, match="laps='backward' is not one of 'forward', 'both', 'ring'"):
        laps('backward', 3)


@given(st.integers(1, 6), st.integers(1, 7), st.booleans(), st.integers(0, 9))
@examples(10)
def test_drawn_orders_visit_every_window_along_the_panorama(batch, n, wrap, seed):
    orders = draw_orders(batch, n, wrap, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(orders, draw_orders(batch, n, wrap, generator=torch.Generator().manual_seed(seed)))
    allowed = [[(start + i) % n for i in range(n)] for start in range(n if wrap else 1)]
    allowed += [order[::-1] for order in allowed]
    assert all(order in allowed for order in orders.tolist())


def test_each_sample_is_reversed_and_started_for_itself():
    orders = draw_orders(400, 5, generator=torch.Generator().manual_seed(0))
    assert 150 < (orders[:, 0] == 4).sum() < 250
    assert draw_orders(2, 3, reverse=0).tolist() == [[0, 1, 2]] * 2
    assert draw_orders(2, 3, reverse=1).tolist() == [[2, 1, 0]] * 2
    assert len(set(draw_orders(400, 5, wrap=True)[:, 0].tolist())) == 5


def test_an_order_keeps_patch_and_labels_of_a_window_together():
    grid = WindowGrid(2, 10, (2, 4), 3)
    columns = torch.arange(10).expand(2, 2, 10)
    panoramas = columns[:, None].expand(2, 3, 2, 10).double() + torch.tensor([0.0, 100.0]).view(2, 1, 1, 1)
    orders = torch.tensor([[0, 1, 2], [2, 1, 0]])
    patches = in_order(cut_patches(panoramas, grid, 4), orders)
    labels = in_order(cut_label_patches(columns, grid, 4), orders)
    assert patches.shape == (2, 3, 3, 4, 4)
    assert labels[:, :, 0].tolist() == [
        [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]],
        [[6, 7, 8, 9], [3, 4, 5, 6], [0, 1, 2, 3]],
    ]
    offset = torch.tensor([0.0, 100.0]).view(2, 1, 1, 1)
    assert torch.allclose(patches[:, :, 0] - offset, labels.double()), 'patches are of the windows of their labels'
    assert in_order(labels, orders.tolist()).equal(in_order(labels, orders))


# --- patches ---


def test_windows_become_square_patches_and_their_logits_windows_again():
    grid = WindowGrid(10, 40, (10, 16), 12)
    panoramas = torch.rand(2, 3, 10, 40, generator=torch.Generator().manual_seed(0))
    patches = cut_patches(panoramas, grid, 32)
    assert patches.shape == (2, 3, 3, 32, 32)
    assert window_logits(patches, grid).shape == (2, 3, 3, 10, 16)
    assert (window_logits(patches, grid)[1, 2] - panoramas[1, :, :, 24:]).abs().mean() < 0.1
    square = WindowGrid(10, 40, (10, 10), 10)
    assert torch.equal(cut_patches(panoramas, square, 10)[:, 1], panoramas[..., 10:20]), 'not resized'
    assert window_logits(patches[..., :10, :10], square).shape == (2, 3, 3, 10, 10)
    with pytest.raises(InputSizeError, match='logits of 32x16 pixels are not of square patches'):
        window_logits(patches[..., :16], grid)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 12), st.integers(0, 99))
@examples(15)
def test_labels_are_resized_to_the_nearest_pixel_and_ignored_in_padding(height, width, size, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 20, (height, width))
    grid = WindowGrid(height, width, (height, width), width)
    (patch,) = cut_label_patches(torch.from_numpy(labels)[None], grid, size)[0]
    assert patch.tolist() == reference.nearest(labels.tolist(), size, size)
    padded = WindowGrid(height, width, (height + 1, width), width)
    (patch,) = cut_label_patches(torch.from_numpy(labels)[None], padded, height + 1)[0]
    assert (patch[-1] == 255).all() and not (patch[:-1] == 255).any()


# --- merging ---


@st.composite
def predicted(draw):
    """A grid, and predictions of all its windows for one or two laps in any order; equal logits are common."""
    height, width = draw(st.integers(1, 3)), draw(st.integers(4, 8))
    window = (draw(st.integers(1, 4)), draw(st.integers(1, width)))
    stride = tuple(draw(st.integers((side + 2) // 3, side)) for side in window)  # up to three windows along an axis
    grid = WindowGrid(height, width, window, stride, draw(st.booleans()))
    order = draw(st.permutations(list(range(len(grid.windows))) * draw(st.integers(1, 2))))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    classes = draw(st.integers(1, 4))
    logits = [torch.randint(-3, 4, (classes, *window), generator=generator) / 2 for _ in order]
    return grid, list(zip(order, logits, strict=True))


@given(predicted(), st.sampled_from(RULES), st.sampled_from([0.0, 0.3, 0.6]))
@examples(40)
def test_merging_equals_the_loops(drawn, rule, threshold):
    grid, predictions = drawn
    merged = merge(iter(predictions), grid, rule, threshold, ignored=99)
    scores = torch.tensor(reference.merged_scores(predictions, grid, rule), dtype=torch.float64)
    best = scores.amax(-1)
    assert merged.labels.dtype == torch.int64 and merged.confidence.dtype == torch.float32
    assert torch.allclose(merged.confidence.double(), best, atol=1e-5)
    labelled = merged.labels != 99
    assert not (labelled ^ (best > threshold))[(best - threshold).abs() > 1e-5].any()
    chosen = scores.gather(-1, merged.labels.where(labelled, 0)[..., None])[..., 0]
    assert torch.allclose(chosen[labelled], best[labelled], atol=1e-5)  # a class of the highest score
    assert merged.ignored_share == pytest.approx((~labelled).double().mean().item())


def certain(labels, probability=0.9, classes=3):
    """Logits ``(C, 1, w)`` that give each pixel's label a probability."""
    logits = torch.zeros(classes, 1, len(labels))
    top = log(probability / (1 - probability) * (classes - 1))
    return logits.scatter(0, torch.tensor(labels)[None, None], top)


def test_a_pixel_seen_once_has_its_only_label():
    predictions = [(0, certain([1, 1, 1, 1])), (1, certain([2, 2, 0, 0])), (2, certain([0, 0, 0, 0], 0.6))]
    for rule in RULES:
        merged = merge(predictions, ROW, rule, threshold=0)
        assert merged.labels[0, [0, 1, 6, 7]].tolist() == [1, 1, 0, 0], rule
        expected = [0.9, 0.9, 0.6, 0.6] if rule != 'vote' else [1.0] * 4
        assert merged.confidence[0, [0, 1, 6, 7]].tolist() == pytest.approx(expected), rule


def test_what_windows_dispute_or_doubt_is_ignored_and_the_share_is_told():
    predictions = [(0, certain([1, 1, 1, 1])), (1, certain([2, 1, 0, 0])), (2, certain([0, 0, 0, 0], 0.8))]
    merged = merge(predictions, ROW)
    assert merged.labels.tolist() == [[1, 1, 255, 1, 255, 255, 255, 255]]
    assert merged.confidence[0].tolist() == pytest.approx([0.9, 0.9, 0, 0.9, 0.8, 0.8, 0.8, 0.8])
    assert merged.ignored_share == 5 / 8
    shifted = merge([(window, logits + 50) for window, logits in predictions], ROW)
    assert torch.equal(merged.labels, shifted.labels), 'the threshold is one of probabilities, not of logits'


def test_a_tied_vote_goes_to_the_highest_logit():
    first, second = torch.tensor([[2.0], [1.0]]), torch.tensor([[0.0], [3.0]])
    grid = WindowGrid(1, 8, (1, 8), 8)
    predictions = [(0, value[:, :, None].expand(2, 1, 8)) for value in (first, second)]
    assert merge(predictions, grid, 'vote').labels.unique().tolist() == [1]
    assert merge(predictions[::-1], grid, 'vote').labels.unique().tolist() == [1]
    outvoted = merge([*predictions, predictions[0]], grid, 'vote')
    assert outvoted.labels.unique().tolist() == [0] and outvoted.confidence.unique().tolist() == pytest.approx([2 / 3])


def test_a_sum_grows_with_the_number_of_windows_and_a_mean_does_not():
    grid = WindowGrid(1, 8, (1, 6), 1)  # three windows; columns 2 to 5 are seen by all
    predictions = [(window, certain([0] * 6, 0.4)) for window in range(3)] * 2
    summed, mean = merge(predictions, grid, 'sum', 0.85), merge(predictions, grid, 'mean', 0.85)
    assert summed.labels.tolist() == [[255, 255, 0, 0, 0, 0, 255, 255]]
    assert summed.confidence[0, 3] == pytest.approx(1.2) and mean.confidence[0, 3] == pytest.approx(0.4)
    assert mean.ignored_share == 1


@pytest.mark.parametrize('rule', RULES)
def test_equal_laps_and_other_orders_change_nothing(rule):
    grid = WindowGrid(2, 12, (2, 5), 3, wrap=True)
    generator = torch.Generator().manual_seed(1)
    logits = [torch.randn(3, 2, 5, generator=generator) for _ in grid.windows]
    once = merge(enumerate(logits), grid, rule, 0.5)
    for order in ((0, 1, 2, 3, 3, 2, 1, 0), (2, 3, 0, 1)):
        other = merge([(window, logits[window]) for window in order], grid, rule, 0.5)
        assert torch.equal(other.labels, once.labels)
        assert torch.allclose(other.confidence, once.confidence)
    half = merge([(window, logits[window].bfloat16()) for window in range(4)], grid, rule, 0.5)
    assert half.confidence.dtype == torch.float32


class Largest(TorchDispatchMode):
    """Counts the elements of the largest tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return out


@pytest.mark.parametrize('rule', RULES)
def test_predictions_are_used_up_one_by_one(rule):
    grid, alive = WindowGrid(4, 40, (4, 10), 5), []

    def predict():
        for lap in laps('both', len(grid.windows)):
            for window in lap.windows:
                assert not any(reference() is not None for reference in alive)
                logits = torch.zeros(3, 4, 10)
                alive.append(weakref.ref(logits))
                yield window, logits
                del logits

    with Largest() as largest:
        merge(predict(), grid, rule)
    assert len(alive) == 14 and largest.elements <= 3 * 4 * 40


def test_predictions_that_do_not_fit_are_refused():
    whole = [(window, certain([0, 0, 0, 0])) for window in range(3)]
    merged = partial(merge, grid=ROW)
    with pytest.raises(ConfigError, match="rule 'most' is not one of 'unanimous', 'vote', 'mean', 'sum'; choose"):
        merged(whole, rule='most')
    with pytest.raises(InputSizeError, match='logits of 1x5 pixels for windows of 1x4; resize them with'):
        merged([(0, certain([0] * 5))])
    with pytest.raises(Stage2Error, match='window 3 of a grid of 3; use the grid'):
        merged([*whole, (3, whole[0][1])])
    for wrong in ([], whole[:2], [*whole, whole[0]]):
        with pytest.raises(Stage2Error, match='; predict every window of the grid once per lap'):
            merged(wrong)
