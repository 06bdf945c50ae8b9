"""Boundary maps of networks and their refinement: by hand, then small random overlaps against the literal walk."""

import numpy as np
import pytest
import torch
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import boundaries
from reference import refinement as literal

from stage1_sam_cache.masks.boundary_map import boundary_map
from stage2_distill.boundaries import refinement as boundary_refinement
from stage2_distill.boundaries.label_boundary import hard_boundary, soft_boundary
from stage2_distill.fusion.pixelwise import margins

LABELS = hnp.arrays(
    st.sampled_from([np.uint8, np.int32, np.int64]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.integers(0, 2),
)


def drawn(picture):
    """A map from a picture in which ``#`` is a boundary pixel, such as ``'##. / .#.'``."""
    return torch.tensor([[pixel == '#' for pixel in row.strip()] for row in picture.split('/')])


@given(hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=3, max_side=9)))
def test_both_ways_to_the_largest_so_far_are_pytorchs(values):
    values = torch.from_numpy(values)
    for few_kernels in (False, True):
        found = boundary_refinement.running_max(values, few_kernels)
        assert torch.equal(found, values.cummax(-2).values)


def column(picture):
    """A map of one column, written from top to bottom."""
    return torch.tensor([[pixel == '#'] for pixel in picture])


def with_margin(*margins):
    """Two-class probabilities of one column, the two of each pixel so far apart."""
    margin = torch.tensor(margins)[:, None]
    return torch.stack([(1 + margin) / 2, (1 - margin) / 2])


def refine(b_i, b_j, b_sam, p_i, p_j, *options, **named):
    """Of probabilities, as the references take them."""
    return boundary_refinement.refine(b_i, b_j, b_sam, margins(p_i), margins(p_j), *options, **named)


def sure(like):
    """Probabilities of a window that is sure everywhere."""
    return torch.stack([torch.ones(like.shape), torch.zeros(like.shape)])


def unsure(like):
    return torch.full((2, *like.shape), 0.5)


def eighths(rng, classes, shape):
    """Random distributions in eighths, so that margins are exact and often equal to ``alpha``."""
    counts = rng.multinomial(8, rng.dirichlet(np.full(classes, 0.7)), shape)
    return np.moveaxis(counts, -1, 0) / 8


@st.composite
def overlaps(draw):
    """The maps of both windows and of SAM, empty and full ones among them, and both windows' probabilities."""
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    maps = [torch.tensor(rng.random(shape) < draw(st.sampled_from([0, 0.2, 0.5, 0.8, 1]))) for _ in range(3)]
    classes = draw(st.integers(1, 4))
    return *maps, *(torch.tensor(eighths(rng, classes, shape), dtype=torch.float32) for _ in range(2))


ALPHAS = st.sampled_from([0, 0.125, 0.25, 0.5, 1, 1.5])


def pixels(probabilities):
    """``[y][x]`` is a distribution, as the references take them."""
    return probabilities.double().movedim(-3, -1).tolist()


# --- boundaries of labels ---


def test_an_edge_is_two_pixels_thick_or_one():
    labels = torch.tensor([[1, 1, 2, 2], [1, 1, 2, 2]])
    assert torch.equal(hard_boundary(labels), drawn('.##. / .##.'))
    assert torch.equal(hard_boundary(labels, thickness=1), drawn('.#.. / .#..'))


@given(LABELS, st.sampled_from([1, 2]))
@examples(150)
def test_maps_of_labels_are_the_literal_ones_and_those_of_stage_1(labels, thickness):
    edge = hard_boundary(torch.tensor(labels), thickness)
    assert edge.dtype == torch.bool and edge.tolist() == boundaries.hard(labels.tolist(), thickness)
    assert np.array_equal(edge.numpy(), boundary_map(labels, thickness))


def test_the_maps_of_a_batch_do_not_touch():
    labels = torch.randint(3, (2, 4, 5, 6), generator=torch.Generator().manual_seed(0))
    for thickness in (1, 2):
        edges = hard_boundary(labels, thickness)
        for i, j in np.ndindex(2, 4):
            assert torch.equal(edges[i, j], hard_boundary(labels[i, j], thickness))


@pytest.mark.parametrize('thickness', [0, 3, -1])
def test_another_thickness_is_refused(thickness):
    with pytest.raises(ValueError, match='thickness'):
        hard_boundary(torch.zeros(2, 2, dtype=torch.int64), thickness)
    with pytest.raises(ValueError, match='thickness'):
        soft_boundary(torch.ones(1, 2, 2), thickness=thickness)


# --- boundaries of probabilities ---


def test_the_soft_map_is_the_largest_total_variation_to_a_neighbour():
    p = torch.tensor([[[0.5, 0.75, 0.0]], [[0.25, 0.25, 0.5]], [[0.25, 0.0, 0.5]]])
    torch.testing.assert_close(soft_boundary(p), torch.tensor([[0.25, 0.75, 0.75]]))
    torch.testing.assert_close(soft_boundary(p, thickness=1), torch.tensor([[0.25, 0.75, 0.0]]))
    torch.testing.assert_close(soft_boundary(p, radius=2), torch.tensor([[0.5, 0.0, 0.5]]))


@given(overlaps(), st.sampled_from([1, 2]), st.sampled_from([1, 2, 3, 9]))
@examples(150)
def test_soft_maps_are_the_literal_ones(overlap, thickness, radius):
    p = overlap[3]
    edge = soft_boundary(p, radius, thickness)
    expected = boundaries.soft(pixels(p), thickness, radius)
    torch.testing.assert_close(edge, torch.tensor(expected), check_dtype=False)
    assert edge.shape == p.shape[1:] and edge.min() >= 0 and edge.max() <= 1


@given(LABELS, st.sampled_from([1, 2]))
def test_the_soft_map_of_one_hot_distributions_is_the_hard_map_of_their_labels(labels, thickness):
    labels = torch.tensor(labels).long()
    one_hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 0).float()
    assert torch.equal(soft_boundary(one_hot, thickness=thickness), hard_boundary(labels, thickness).float())


def test_flat_regions_have_no_soft_boundary_however_uncertain():
    for p in ([0.5, 0.5], [0.25, 0.75], [1 / 3, 1 / 3, 1 / 3]):
        flat = torch.tensor(p)[:, None, None].expand(-1, 4, 5)
        assert not soft_boundary(flat).any()


@pytest.mark.parametrize('shape', [(1, 1), (2, 2), (1, 2)])
def test_a_crop_without_pixels_at_the_radius_has_no_soft_boundary(shape):
    p = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)).softmax(0)
    assert not soft_boundary(p, radius=2).any() and soft_boundary(p, radius=2).shape == shape


def test_soft_maps_of_a_batch_do_not_touch():
    p = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).softmax(2)
    for radius in (1, 2):
        edges = soft_boundary(p, radius)
        assert edges.shape == (2, 3, 5, 6)
        for i, j in np.ndindex(2, 3):
            assert torch.equal(edges[i, j], soft_boundary(p[i, j], radius))


@pytest.mark.parametrize(('thickness', 'radius'), [(1, 1), (2, 1), (2, 2)])
def test_the_soft_map_is_differentiable(thickness, radius):
    logits = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: soft_boundary(s.softmax(0), radius, thickness), [logits])


@pytest.mark.parametrize('radius', [0, -1])
def test_a_radius_that_is_not_positive_is_refused(radius):
    with pytest.raises(ValueError, match='radius'):
        soft_boundary(torch.ones(1, 2, 2), radius=radius)


# --- refinement by hand ---


def test_pixels_on_which_all_maps_agree_stay_though_the_assistant_is_unsure():
    b = drawn('.#. / .#. / .#.')
    assert torch.equal(refine(b, b, b, unsure(b), unsure(b)), b)


def test_a_pixel_moves_to_the_nearest_sam_pixel_of_its_column_where_a_window_is_unsure():
    b_i, b_sam = column('.#......'), column('....#..#')
    for p_i, p_j in [(sure, unsure), (unsure, sure), (unsure, unsure)]:
        assert torch.equal(refine(b_i, b_i, b_sam, p_i(b_i), p_j(b_i)), column('....#...'))


def test_a_pixel_stays_where_both_windows_are_sure():
    b_i, b_sam = column('.#......'), column('....#..#')
    assert torch.equal(refine(b_i, b_i, b_sam, sure(b_i), sure(b_i)), b_i)


def test_the_margin_counts_at_sams_pixel_and_not_at_the_assistants():
    b_i, b_sam = column('#...'), column('..#.')
    elsewhere, there = with_margin(0.0, 0.0, 1.0, 0.0), with_margin(1.0, 1.0, 0.0, 1.0)
    assert torch.equal(refine(b_i, b_i, b_sam, elsewhere, elsewhere), b_i)
    assert torch.equal(refine(b_i, b_i, b_sam, there, sure(b_i)), b_sam)


@pytest.mark.parametrize(('margin', 'moves'), [(0.0, True), (0.125, True), (0.25, False), (0.5, False)])
def test_the_margin_must_be_below_alpha(margin, moves):
    b_i, b_sam = column('#..'), column('..#')
    p = with_margin(1.0, 1.0, margin)
    assert torch.equal(refine(b_i, b_i, b_sam, p, sure(b_i), alpha=0.25), b_sam if moves else b_i)


def test_alpha_is_0_3_unless_told():
    b_i, b_sam = column('#..'), column('..#')
    for margin, expected in [(0.29, b_sam), (0.31, b_i)]:
        assert torch.equal(refine(b_i, b_i, b_sam, with_margin(1.0, 1.0, margin), sure(b_i)), expected)


def test_the_margin_is_that_of_the_two_largest_of_all_classes():
    b_i, b_sam = column('#.'), column('.#')
    p = torch.tensor([[0.125, 0.125], [0.5, 0.5], [0.375, 0.375]])[:, :, None]  # 0.125 apart
    assert torch.equal(refine(b_i, b_i, b_sam, p, p, alpha=0.25), b_sam)
    assert torch.equal(refine(b_i, b_i, b_sam, p, p, alpha=0.125), b_i)


def test_several_pixels_may_move_to_one():
    b_i, b_sam = column('##.#.'), column('..#..')
    assert torch.equal(refine(b_i, b_i, b_sam, unsure(b_i), unsure(b_i)), b_sam)


def test_of_two_sam_pixels_at_the_same_distance_the_upper_is_taken_or_the_lower():
    b_i, b_sam = column('..#..'), column('#...#')
    p = unsure(b_i)
    assert torch.equal(refine(b_i, b_i, b_sam, p, p), column('#....'))
    assert torch.equal(refine(b_i, b_i, b_sam, p, p, tie='down'), column('....#'))


@pytest.mark.parametrize(('max_search', 'moves'), [(None, True), (0, False), (2, False), (3, True), (100, True)])
def test_the_search_can_be_bounded(max_search, moves):
    b_i, b_sam = column('#.....'), column('...#..')
    p = unsure(b_i)
    assert torch.equal(refine(b_i, b_i, b_sam, p, p, max_search=max_search), b_sam if moves else b_i)


def test_pixels_of_columns_without_sam_boundary_stay():
    b_i, b_sam = drawn('##. / ... / ...'), drawn('... / ... / #..')
    p = unsure(b_i)
    assert torch.equal(refine(b_i, b_i, b_sam, p, p), drawn('.#. / ... / #..'))


def test_the_walk_is_over_window_i_or_over_both():
    b_i, b_j, b_sam = column('#......'), column('......#'), column('..#.#..')
    p = unsure(b_i)
    assert torch.equal(refine(b_i, b_j, b_sam, p, p), column('..#....'))
    assert torch.equal(refine(b_i, b_j, b_sam, p, p, iterate='both'), b_sam)


def test_windows_above_each_other_are_searched_along_the_row():
    b_i, b_sam = drawn('.#... / .....'), drawn('....# / .#...')
    p = unsure(b_i)
    assert torch.equal(refine(b_i, b_i, b_sam, p, p, axis='rows'), drawn('....# / .....'))
    assert torch.equal(refine(b_i, b_i, b_sam, p, p), drawn('..... / .#...'))


# --- refinement at large ---

SETTINGS = st.fixed_dictionaries(
    {
        'alpha': ALPHAS,
        'iterate': st.sampled_from(['i', 'both']),
        'max_search': st.sampled_from([None, 0, 1, 2, 3, 100]),
        'tie': st.sampled_from(['up', 'down']),
    }
)


@given(overlaps(), SETTINGS)
@examples(400)
def test_refinement_is_the_literal_walk_whatever_the_settings(overlap, chosen):
    b_i, b_j, b_sam, p_i, p_j = overlap
    expected = literal.refine(b_i.tolist(), b_j.tolist(), b_sam.tolist(), pixels(p_i), pixels(p_j), **chosen)
    refined = refine(*overlap, **chosen)
    assert refined.dtype == torch.bool and refined.tolist() == expected
    turned = refine(*(part.transpose(-1, -2) for part in overlap), axis='rows', **chosen)
    assert torch.equal(turned.transpose(-1, -2), refined)


@given(overlaps(), ALPHAS, st.sampled_from([None, 1]))
def test_refined_pixels_are_no_more_than_the_assistants_and_lie_on_its_or_sams(overlap, alpha, max_search):
    b_i, _, b_sam, _, _ = overlap
    refined = refine(*overlap, alpha=alpha, max_search=max_search)
    assert refined.sum() <= b_i.sum() and not (refined & ~(b_i | b_sam)).any()


@given(overlaps(), SETTINGS)
def test_without_sam_boundary_the_assistants_stays(overlap, chosen):
    b_i, b_j, b_sam, p_i, p_j = overlap
    refined = refine(b_i, b_j, torch.zeros_like(b_sam), p_i, p_j, **chosen)
    assert torch.equal(refined, b_i | b_j if chosen['iterate'] == 'both' else b_i)


@given(overlaps())
def test_with_alpha_0_nothing_moves(overlap):
    assert torch.equal(refine(*overlap, alpha=0), overlap[0])


@given(overlaps())
def test_with_alpha_above_1_every_pixel_moves_that_not_all_agree_on(overlap):
    b_i, _, b_sam, _, _ = overlap
    refined = refine(*overlap, alpha=1.5)
    assert not (refined & ~b_sam)[:, b_sam.any(0)].any()
    assert torch.equal(refined[:, ~b_sam.any(0)], b_i[:, ~b_sam.any(0)])


@given(overlaps(), ALPHAS, st.sampled_from([None, 0, 1]), st.sampled_from(['up', 'down']))
def test_pixels_on_sams_boundary_stay_though_the_other_window_has_none(overlap, alpha, max_search, tie):
    b_i, _, b_sam, _, _ = overlap
    refined = refine(*overlap, alpha=alpha, max_search=max_search, tie=tie)
    assert not (b_i & b_sam & ~refined).any()


@given(overlaps(), SETTINGS)
def test_the_other_windows_boundary_makes_no_difference_to_one_walk(overlap, chosen):
    # All maps agree only where SAM has a pixel; that is then the nearest one, so a move would end where it began.
    b_i, b_j, b_sam, p_i, p_j = overlap
    chosen = {**chosen, 'iterate': 'i'}
    assert torch.equal(refine(b_i, ~b_j, b_sam, p_i, p_j, **chosen), refine(*overlap, **chosen))


@given(overlaps(), SETTINGS)
def test_an_assistant_without_boundary_has_no_refined_one(overlap, chosen):
    b_i, _, b_sam, p_i, p_j = overlap
    empty = torch.zeros_like(b_i)
    assert not refine(empty, empty, b_sam, p_i, p_j, **chosen).any()


@given(overlaps(), SETTINGS)
def test_walking_over_both_is_the_union_of_two_walks_and_knows_no_first_window(overlap, chosen):
    b_i, b_j, b_sam, p_i, p_j = overlap
    one_way = {**chosen, 'iterate': 'i'}
    union = refine(b_i, b_j, b_sam, p_i, p_j, **one_way) | refine(b_j, b_i, b_sam, p_j, p_i, **one_way)
    for ordered in (overlap, (b_j, b_i, b_sam, p_j, p_i)):
        assert torch.equal(refine(*ordered, **{**chosen, 'iterate': 'both'}), union)


@pytest.mark.parametrize('iterate', ['i', 'both'])
@pytest.mark.parametrize('axis', ['columns', 'rows'])
def test_overlaps_of_a_batch_do_not_touch(iterate, axis):
    rng = np.random.default_rng(0)
    maps = [torch.tensor(rng.random((2, 3, 6, 5)) < 0.3) for _ in range(3)]
    probabilities = [torch.tensor(eighths(rng, 3, (2, 3, 6, 5))).movedim(0, 2).float() for _ in range(2)]
    refined = refine(*maps, *probabilities, iterate=iterate, axis=axis)
    assert refined.shape == (2, 3, 6, 5)
    for i, j in np.ndindex(2, 3):
        own = refine(*(part[i, j] for part in maps + probabilities), iterate=iterate, axis=axis)
        assert torch.equal(refined[i, j], own)


def test_the_maps_that_come_in_stay_as_they_are():
    rng = np.random.default_rng(1)
    maps = [torch.tensor(rng.random((6, 5)) < 0.4) for _ in range(3)]
    before = [part.clone() for part in maps]
    refine(*maps, unsure(maps[0]), unsure(maps[0]), iterate='both')
    assert all(torch.equal(part, copy) for part, copy in zip(maps, before, strict=True))


def test_autocast_and_gradients_stay_outside():
    b = column('#..#')
    p = with_margin(0.1, 0.2, 0.9, 0.25).requires_grad_()
    plain = refine(b, b, column('.#.#'), p, p)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(refine(b, b, column('.#.#'), p, p), plain)
    assert not plain.requires_grad


@pytest.mark.parametrize('name', ['iterate', 'tie', 'axis'])
def test_an_unknown_setting_is_refused(name):
    b = column('#..')
    with pytest.raises(ValueError, match=name):
        refine(b, b, b, unsure(b), unsure(b), **{name: 'left'})


@pytest.mark.parametrize('part', range(5))
def test_maps_and_probabilities_of_different_overlaps_are_refused(part):
    b = drawn('##. / ...')
    parts = [b, b, b, unsure(b), unsure(b)]
    parts[part] = parts[part][..., :2]
    with pytest.raises(ValueError, match='different overlaps'):
        refine(*parts)
