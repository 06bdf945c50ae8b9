"""Runs against dense masks, and what is derived from them: by hand, then random masks against the literal loops."""

import numpy as np
import pytest
from fuzz import examples
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import painting

from stage1_sam_cache.masks.instance_masks import ORDERS, InstanceMasks

NAN = float('nan')
LABELS = st.integers(-2, 3)


def drawn(*pictures):
    """Masks from pictures in which ``#`` is a pixel of the mask, such as ``'##. / .#.'``."""
    return np.array([[[pixel == '#' for pixel in row.strip()] for row in p.split('/')] for p in pictures])


def nested(*areas):
    """Masks of these areas over one row of 10 pixels; all begin at column 0, so they all overlap."""
    return np.arange(10)[None, None, :] < np.array(areas)[:, None, None]


def painted(masks, order='area_desc'):
    """Which masks lie there, from the bottom to the top, told by their predicted IoU."""
    return masks.in_painting_order(order).predicted_iou.tolist()


@st.composite
def dense_masks(draw, least=0):
    """bool ``(K, h, w)``, empty, full, one-pixel and torn masks among them."""
    shape = draw(st.integers(least, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 7))
    return draw(hnp.arrays(bool, shape, elements=st.booleans(), fill=st.sampled_from([False, True])))


@st.composite
def scored_masks(draw):
    """Masks with scores that often tie and are missing now and then."""
    masks = draw(dense_masks())
    scores = st.lists(st.sampled_from([0.25, 0.5, 0.75, NAN]), min_size=len(masks), max_size=len(masks))
    return masks, draw(scores), draw(scores)


def not_empty(masks):
    return masks[masks.any(axis=(1, 2))]


# --- dense masks and back ---


@given(dense_masks())
@example(np.zeros((0, 3, 4), bool))
@example(np.zeros((3, 2, 2), bool))
@example(np.ones((2, 3, 4), bool))
def test_masks_come_back_as_they_were_without_the_empty_ones(masks):
    runs = InstanceMasks.from_dense(masks)
    assert len(runs) == len(not_empty(masks)) and runs.shape == masks.shape[1:]
    assert runs.masks.dtype == bool and np.array_equal(runs.masks, not_empty(masks))


def test_empty_masks_take_their_scores_along():
    masks = InstanceMasks.from_dense(
        drawn('... / ...', '#.. / ...', '... / ...', '... / .##', '... / ...'),
        predicted_iou=[0.125, 0.25, 0.375, 0.5, 0.625],
        stability=[0.5, 0.25, 1, 0.75, 0],
    )
    assert masks.predicted_iou.tolist() == [0.25, 0.5] and masks.stability.tolist() == [0.25, 0.75]
    assert np.array_equal(masks.masks, drawn('#.. / ...', '... / .##'))


def test_scores_are_single_precision_and_nan_where_there_are_none():
    masks = InstanceMasks.from_dense(np.ones((2, 1, 1), bool), stability=[0.5, 1])
    assert masks.predicted_iou.dtype == masks.stability.dtype == np.float32
    assert np.isnan(masks.predicted_iou).tolist() == [True, True] and masks.stability.tolist() == [0.5, 1]


def test_runs_are_the_horizontal_stretches_of_a_mask():
    masks = InstanceMasks.from_dense(drawn('..... / .##.. / .....', '##### / ..... / ....#'))
    assert masks.runs_per_mask.tolist() == [1, 2]
    assert masks.mask_of_run.tolist() == [0, 1, 1]
    assert masks.rows.tolist() == [1, 0, 2]
    assert masks.starts.tolist() == [1, 0, 4] and masks.ends.tolist() == [3, 5, 5]


def test_the_first_runs_of_all_rows_come_before_the_second_ones():
    # Rows 0 and 2 have two runs each, row 1 one: the left outline downwards, then the right one.
    masks = InstanceMasks.from_dense(drawn('#.# / #.. / #.#'))
    assert list(zip(masks.rows, masks.starts, strict=True)) == [(0, 0), (1, 0), (2, 0), (0, 2), (2, 2)]


@given(dense_masks())
def test_runs_are_maximal_and_sorted_by_mask_then_rank_in_their_row_then_row(masks):
    runs = InstanceMasks.from_dense(masks)
    keys, seen = [], {}
    as_given = list(zip(runs.mask_of_run.tolist(), runs.rows.tolist(), runs.starts.tolist(), strict=True))
    for mask, row, start in sorted(as_given):
        rank = seen[mask, row] = seen.get((mask, row), -1) + 1
        keys.append((mask, rank, row, start))
    assert as_given == [(mask, row, start) for mask, _, row, start in sorted(keys)]
    # Maximal: the pixels left and right of a run are not in the mask.
    for mask, row, start, end in zip(runs.mask_of_run, runs.rows, runs.starts, runs.ends, strict=True):
        line = not_empty(masks)[mask, row]
        assert start < end and line[start:end].all()
        assert (start == 0 or not line[start - 1]) and (end == len(line) or not line[end])


def test_no_masks_at_all_are_a_window_without_coverage():
    masks = InstanceMasks.from_dense(np.zeros((0, 2, 3), bool), predicted_iou=[], stability=[])
    assert len(masks) == 0 and masks.masks.shape == (0, 2, 3)
    assert masks.area.tolist() == [] and masks.bbox.shape == (0, 4)
    assert masks.id_map.tolist() == [[0, 0, 0], [0, 0, 0]] and masks.coverage == 0
    assert len(masks.in_painting_order()) == 0


def test_a_one_pixel_mask_and_a_full_window_mask():
    masks = InstanceMasks.from_dense(drawn('... / ..#', '### / ###'))
    assert masks.area.tolist() == [1, 6]
    assert masks.bbox.tolist() == [[2, 1, 1, 1], [0, 0, 3, 2]]
    assert masks.coverage == 1


@pytest.mark.parametrize('shape', [(4,), (4, 5), (1, 2, 3, 4)])
def test_an_array_that_is_no_stack_of_masks_is_refused(shape):
    with pytest.raises(ValueError, match=r'\(K, h, w\)'):
        InstanceMasks.from_dense(np.ones(shape, bool))


@pytest.mark.parametrize('name', ['predicted_iou', 'stability'])
@pytest.mark.parametrize('scores', [[], [0.5], [0.5, 0.5, 0.5]])
def test_a_score_list_of_another_length_is_refused(name, scores):
    with pytest.raises(ValueError, match=f'{len(scores)} values of {name} for 2 masks'):
        InstanceMasks.from_dense(np.ones((2, 3, 4), bool), **{name: scores})


# --- what is derived ---


@given(dense_masks())
def test_area_box_and_pixels_are_those_of_the_full_extent(masks):
    runs = InstanceMasks.from_dense(masks)
    literal = [painting.pixels_of(mask) for mask in not_empty(masks).tolist()]
    assert runs.area.tolist() == [len(pixels) for pixels in literal]
    assert runs.bbox.tolist() == [painting.bounding_box(mask) for mask in not_empty(masks).tolist()]
    per_mask = np.split(runs.pixels, np.cumsum(runs.area)[:-1]) if literal else []
    assert [sorted(divmod(int(p), masks.shape[2]) for p in part) for part in per_mask] == literal


@given(dense_masks())
def test_the_id_map_shows_the_last_mask_painted_on_each_pixel(masks):
    runs = InstanceMasks.from_dense(masks)
    assert runs.id_map.dtype == np.uint16
    assert runs.id_map.tolist() == painting.id_map(not_empty(masks).tolist(), *masks.shape[1:])


@given(dense_masks())
def test_coverage_is_the_share_of_pixels_under_any_mask(masks):
    assert InstanceMasks.from_dense(masks).coverage == pytest.approx(masks.any(axis=0).mean())


def test_a_later_mask_hides_an_earlier_one_but_not_its_area():
    masks = InstanceMasks.from_dense(drawn('.... / ##..', '#... / ####'))
    assert masks.id_map.tolist() == [[2, 0, 0, 0], [2, 2, 2, 2]]
    assert masks.area.tolist() == [2, 5] and masks.coverage == 5 / 8


# --- painting order ---


def test_small_masks_lie_on_top_of_large_ones():
    masks = InstanceMasks.from_dense(nested(2, 9, 5), predicted_iou=[0.25, 0.5, 0.75])
    assert painted(masks) == [0.5, 0.75, 0.25]
    assert masks.in_painting_order().id_map.tolist() == [[3, 3, 2, 2, 2, 1, 1, 1, 1, 0]]


def test_area_asc_puts_whole_objects_on_top():
    masks = InstanceMasks.from_dense(nested(2, 9, 5), predicted_iou=[0.25, 0.5, 0.75])
    assert painted(masks, 'area_asc') == [0.25, 0.75, 0.5]
    assert masks.in_painting_order('area_asc').id_map.tolist() == [[3] * 9 + [0]]


def test_score_puts_the_best_predicted_iou_on_top_whatever_the_areas():
    masks = InstanceMasks.from_dense(nested(9, 2, 5), predicted_iou=[0.75, 0.25, 0.5])
    assert painted(masks, 'score') == [0.25, 0.5, 0.75]


@pytest.mark.parametrize('order', ORDERS)
def test_among_equal_areas_the_better_predicted_iou_lies_on_top(order):
    masks = InstanceMasks.from_dense(nested(4, 4, 4), predicted_iou=[0.5, 0.75, 0.25], stability=[1, 0, 1])
    assert painted(masks, order) == [0.25, 0.5, 0.75]


@pytest.mark.parametrize('order', ORDERS)
def test_among_equal_predicted_ious_the_stabler_lies_on_top(order):
    masks = InstanceMasks.from_dense(nested(4, 4, 4), predicted_iou=[0.5] * 3, stability=[0.5, 1, 0.25])
    assert masks.in_painting_order(order).stability.tolist() == [0.25, 0.5, 1]


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('scores', [None, [0.5] * 3, [NAN] * 3])
def test_among_equal_scores_the_later_lies_on_top(order, scores):
    masks = InstanceMasks.from_dense(drawn('##. / ...', '#.. / #..', '... / .##'), scores, scores)
    assert np.array_equal(masks.in_painting_order(order).masks, masks.masks)


@pytest.mark.parametrize('order', ORDERS)
def test_a_missing_score_is_the_worst(order):
    masks = InstanceMasks.from_dense(nested(4, 4, 4), [0.25, NAN, 0.5], [NAN, 1, 0.5])
    ordered = masks.in_painting_order(order)
    assert np.isnan(ordered.predicted_iou).tolist() == [True, False, False]
    assert ordered.predicted_iou[1:].tolist() == [0.25, 0.5]


@pytest.mark.parametrize('order', ORDERS)
def test_masks_without_predicted_iou_are_told_apart_by_stability(order):
    masks = InstanceMasks.from_dense(nested(4, 4, 4), stability=[0.75, 0.25, 0.5])
    assert masks.in_painting_order(order).stability.tolist() == [0.25, 0.5, 0.75]


@pytest.mark.parametrize('order', ['', 'area', 'AREA_DESC', 'visible'])
def test_an_unknown_order_is_refused(order):
    with pytest.raises(ValueError, match='area_desc, area_asc, score'):
        InstanceMasks.from_dense(nested(4)).in_painting_order(order)


@given(scored_masks(), st.sampled_from(ORDERS))
@examples(200)
def test_masks_are_painted_in_the_literal_order_with_their_own_scores(scored, order):
    masks, predicted_iou, stability = scored
    ordered = InstanceMasks.from_dense(masks, predicted_iou, stability).in_painting_order(order)
    expected = painting.painting_order(masks.tolist(), predicted_iou, stability, order)
    assert np.array_equal(ordered.masks, masks[expected])
    np.testing.assert_array_equal(ordered.predicted_iou, np.array(predicted_iou, np.float32)[expected])
    np.testing.assert_array_equal(ordered.stability, np.array(stability, np.float32)[expected])
    assert ordered.id_map.tolist() == painting.id_map(masks[expected].tolist(), *masks.shape[1:])


@given(scored_masks(), st.sampled_from(ORDERS))
def test_masks_in_painting_order_stay_as_they_are(scored, order):
    once = InstanceMasks.from_dense(*scored).in_painting_order(order)
    assert np.array_equal(once.in_painting_order(order).masks, once.masks)


# --- label maps ---


def label_maps():
    shape = st.tuples(st.integers(1, 5), st.integers(1, 6))
    return shape.flatmap(lambda s: st.lists(hnp.arrays(np.int64, s, elements=LABELS), min_size=1, max_size=4))


def test_every_label_is_a_mask_zero_and_negative_ones_too():
    masks = InstanceMasks.from_label_maps([np.array([[0, 0, 7], [-1, 0, 7]])])
    assert np.array_equal(masks.masks, drawn('... / #..', '##. / .#.', '..# / ..#'))
    assert np.isnan(masks.predicted_iou).all() and np.isnan(masks.stability).all()


def test_a_region_that_stands_in_two_maps_is_taken_once():
    coarse = np.array([[1, 1, 2, 2]])
    fine = np.array([[5, 6, 9, 9]])  # the right half is the coarse map's label 2
    masks = InstanceMasks.from_label_maps([coarse, fine])
    assert np.array_equal(masks.masks, drawn('##..', '..##', '#...', '.#..'))


def test_a_region_that_stands_in_all_of_three_maps_is_taken_once():
    maps = [np.array([[0, 0, 1]]), np.array([[0, 1, 2]]), np.array([[3, 3, 0]])]
    masks = InstanceMasks.from_label_maps(maps)
    assert np.array_equal(masks.masks, drawn('##.', '..#', '#..', '.#.'))


def test_a_disconnected_label_is_one_region():
    masks = InstanceMasks.from_label_maps([np.array([[1, 2, 1], [1, 2, 1]])])
    assert np.array_equal(masks.masks, drawn('#.# / #.#', '.#. / .#.'))
    assert masks.area.tolist() == [4, 2]


def test_a_region_that_runs_from_one_row_into_the_next_is_two_runs():
    masks = InstanceMasks.from_label_maps([np.array([[0, 1], [1, 0]])])
    assert masks.runs_per_mask.tolist() == [2, 2]
    assert np.array_equal(masks.masks, drawn('#. / .#', '.# / #.'))


@given(label_maps())
@examples(200)
def test_label_maps_give_each_different_region_once(maps):
    masks = InstanceMasks.from_label_maps(maps)
    expected = painting.regions_of([labels.tolist() for labels in maps])
    assert [set(painting.pixels_of(mask)) for mask in masks.masks.tolist()] == expected


@given(label_maps())
def test_the_regions_of_a_label_map_cover_the_window(maps):
    assert InstanceMasks.from_label_maps(maps).coverage == 1


@given(label_maps())
def test_label_maps_and_dense_masks_make_the_same_runs(maps):
    masks = InstanceMasks.from_label_maps(maps)
    dense = InstanceMasks.from_dense(masks.masks)
    for name in ('runs_per_mask', 'rows', 'starts', 'ends'):
        assert np.array_equal(getattr(masks, name), getattr(dense, name))


def test_an_id_map_holds_65535_masks_and_no_more():
    most = InstanceMasks.from_label_maps([np.arange(65535).reshape(255, 257)])
    assert most.id_map.max() == 65535 and len(np.unique(most.id_map)) == 65535
    too_many = InstanceMasks.from_label_maps([np.arange(65536).reshape(256, 256)])
    with pytest.raises(ValueError, match='65536 masks'):
        _ = too_many.id_map


# --- padding ---


@given(scored_masks(), st.integers(0, 3), st.integers(0, 3))
def test_padding_adds_bare_ground_below_and_right(scored, below, right):
    dense, predicted_iou, stability = scored
    masks = InstanceMasks.from_dense(dense, predicted_iou, stability)
    h, w = masks.shape
    before = masks.id_map  # computed before, to see that it is not carried over
    padded = masks.padded_to((h + below, w + right))
    assert np.array_equal(padded.masks, np.pad(masks.masks, ((0, 0), (0, below), (0, right))))
    assert np.array_equal(padded.id_map, np.pad(before, ((0, below), (0, right))))
    assert np.array_equal(padded.area, masks.area) and np.array_equal(padded.bbox, masks.bbox)
    np.testing.assert_array_equal(padded.predicted_iou, masks.predicted_iou)
    assert masks.shape == (h, w)
