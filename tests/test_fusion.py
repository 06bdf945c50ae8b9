"""Mask atoms and the three fusions: by hand, then small random windows against the literal loops."""

import numpy as np
import pytest
import torch
from fuzz import examples
from hypothesis import example, given
from hypothesis import strategies as st
from reference import ctcf as literal
from reference import sepl as literal_sepl
from reference import ssa as literal_ssa

from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage2_distill.fusion import ctcf, sepl, ssa
from stage2_distill.fusion.mask_atoms import MaskAtoms

FUSIONS = [ctcf.fuse, ssa.fuse, sepl.fuse]
ENTROPIES = ['region_mean', 'mean_dist', 'spatial', 'binary']
FLOATS = [torch.float32, torch.float16, torch.bfloat16]
SURE = 1e4  # as a logit: a softmax of exactly 1 and an entropy of exactly 0


def drawn(*pictures):
    """Masks from pictures in which ``#`` is a pixel of the mask, such as ``'##. / .#.'``."""
    return np.array([[[pixel == '#' for pixel in row.strip()] for row in p.split('/')] for p in pictures])


def labelled(picture, classes=None, sureness=SURE):
    """Logits whose labels are the digits of a picture; ``sureness`` is that of all pixels, or by label."""
    labels = torch.tensor([[int(digit) for digit in row.strip()] for row in picture.split('/')])
    one_hot = torch.nn.functional.one_hot(labels, classes or int(labels.max()) + 1).movedim(-1, 0).float()
    by_label = torch.tensor([sureness] * len(one_hot) if np.isscalar(sureness) else sureness)
    return one_hot * by_label[labels]


def distributed(*pixels):
    """Logits of a window of one row whose pixels have these distributions over the classes."""
    return torch.tensor(pixels).T[:, None].log()


def rows_of(*counts):
    """One mask a row, which fills it; and logits in which row k begins with ``counts[k]`` unsure pixels of label 0.

    The others are of label 1 and sure of it, so that label 1 is what the entropy chooses.
    """
    areas = torch.tensor([area for _, area in counts])[:, None]
    zeros = torch.tensor([zero for zero, _ in counts])[:, None]
    column = torch.arange(int(areas.max()))
    masks = torch.zeros(len(counts), len(counts), len(column), dtype=torch.bool)
    masks[range(len(counts)), range(len(counts))] = column < areas
    logits = torch.stack([torch.ones(masks.shape[1:]), torch.where(column < zeros, 0, SURE)])
    return masks, logits


def first_pixels(fused):
    """Label and weight that each row's mask was painted with."""
    return list(zip(fused.labels[:, 0].tolist(), fused.weight[:, 0].tolist(), strict=True))


RELIABLE, CHOSEN = (0, 1.0), (1, 0.0)  # of the masks of ``rows_of``: by its share, or by entropy


@st.composite
def masks_of(draw, height, width):
    """bool ``(K, h, w)`` without empty ones; now and then one that covers everything, or one that comes twice."""
    dense = np.random.default_rng(draw(st.integers(0, 2**32))).random((draw(st.integers(0, 4)), height, width))
    masks = list(dense < draw(st.sampled_from([0.1, 0.4, 0.8])))
    masks += [np.ones((height, width), bool)] * draw(st.booleans())
    masks = [mask for mask in masks if mask.any()]
    masks += masks[:1] * draw(st.booleans())
    return np.array(draw(st.permutations(masks)), bool).reshape(-1, height, width)


@st.composite
def windows(draw):
    """Masks, and logits in which ties are frequent and all logits are equal now and then."""
    height, width, classes = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.integers(-2, 3, (classes, height, width)) * draw(st.sampled_from([0.0, 0.3, 1.0, 1.0, 3.0, 1e4]))
    return draw(masks_of(height, width)), torch.tensor(logits).to(draw(st.sampled_from(FLOATS)))


def random_window(seed, classes=5, height=13, width=17, count=6):
    """A window without ties: masks that are shares of noise, and normal logits."""
    rng = np.random.default_rng(seed)
    masks = rng.random((count, height, width)) < rng.random((count, 1, 1)) * 0.6 + 0.1
    return masks, torch.tensor(rng.normal(size=(classes, height, width)), dtype=torch.float32)


def assert_same(fused, other):
    assert torch.equal(fused.labels, other.labels) and torch.equal(fused.weight, other.weight)
    assert (fused.soft is None) == (other.soft is None)
    if fused.soft is not None:
        torch.testing.assert_close(fused.soft, other.soft)


# --- atoms ---


def sets_of(masks):
    """For each pixel, row by row, which masks lie there."""
    return [frozenset(np.flatnonzero(masks[:, y, x]).tolist()) for y, x in np.ndindex(masks.shape[1:])]


@given(st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(lambda size: masks_of(*size)))
@example(np.zeros((0, 2, 3), bool))
@example(np.ones((3, 2, 3), bool))
def test_pixels_are_one_atom_exactly_if_they_lie_in_the_same_masks(masks):
    atoms = MaskAtoms.from_masks(masks)
    sets, numbers = sets_of(masks), atoms.atom_map.flatten().tolist()
    assert len(set(zip(sets, numbers, strict=True))) == len(set(sets)) == len(set(numbers)) == atoms.atoms
    assert sorted(set(numbers)) == list(range(atoms.atoms))
    pairs = set(zip(atoms.atom_of_pair.tolist(), atoms.mask_of_pair.tolist(), strict=True))
    for atom, lying in set(zip(numbers, sets, strict=True)):
        assert {mask for other, mask in pairs if other == atom} == lying
        assert atoms.top[atom] == max(lying, default=-1)
    assert atoms.windows == 1 and atoms.masks == len(masks) and len(pairs) == len(atoms.mask_of_pair)
    assert np.array_equal(atoms.covered[0].numpy(), masks.any(0))


def test_arrays_tensors_and_cached_masks_make_the_same_atoms():
    masks = drawn('##.. / ....', '.### / ...#')
    made = [MaskAtoms.from_masks(kind) for kind in (masks, torch.tensor(masks), InstanceMasks.from_dense(masks))]
    for name in ('atom_map', 'atom_of_pair', 'mask_of_pair', 'top', 'window_of_mask'):
        assert all(torch.equal(getattr(made[0], name), getattr(other, name)) for other in made[1:])
        assert getattr(made[0], name).dtype == torch.int64


@given(st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(lambda size: masks_of(*size)), st.booleans())
def test_sums_over_masks_are_sums_over_their_pixels(masks, vectors):
    values = 1 + torch.arange(masks.shape[1] * masks.shape[2]).reshape(1, *masks.shape[1:])
    values = torch.stack([values, values**2], 1) if vectors else values
    atoms = MaskAtoms.from_masks(masks)
    for support in ('full', 'visible'):
        extents = literal.extents(masks, *masks.shape[1:], support)
        expected = [sum(values[0, ..., y, x] for y, x in pixels) + 0 * values[0, ..., 0, 0] for pixels in extents]
        assert atoms.sum_masks(atoms.sum_atoms(values), support).tolist() == [each.tolist() for each in expected]


@given(st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(lambda size: masks_of(*size)))
def test_the_last_mask_is_painted_over_the_others(masks):
    bare = torch.full((1, *masks.shape[1:]), -7)
    expected = bare.clone()
    for number, mask in enumerate(masks):
        expected[0][torch.tensor(mask)] = number * 10
    assert torch.equal(MaskAtoms.from_masks(masks).paint(torch.arange(len(masks)) * 10, bare), expected)


def test_painting_no_masks_gives_a_copy():
    bare = torch.zeros(1, 2, 2)
    painted = MaskAtoms.from_masks(np.zeros((0, 2, 2), bool)).paint(torch.zeros(0), bare)
    painted += 1
    assert not bare.any()


def test_flipped_atoms_are_the_atoms_of_flipped_masks():
    parts = [random_window(seed)[0] for seed in range(3)]
    logits = torch.stack([random_window(seed)[1] for seed in range(3)])
    flipped = MaskAtoms.stack([MaskAtoms.from_masks(masks) for masks in parts]).flipped()
    afresh = MaskAtoms.stack([MaskAtoms.from_masks(masks[:, :, ::-1]) for masks in parts])
    assert_same(ctcf.fuse(flipped, logits), ctcf.fuse(afresh, logits))
    assert torch.equal(flipped.covered, afresh.covered)


def test_a_stack_numbers_masks_and_atoms_through_all_windows():
    parts = [MaskAtoms.from_masks(masks) for masks in (drawn('#..', '.##'), np.zeros((0, 1, 3), bool), drawn('##.'))]
    stack = MaskAtoms.stack(parts)
    assert (stack.windows, stack.masks, stack.atoms) == (3, 3, 2 + 1 + 2)
    assert stack.window_of_mask.tolist() == [0, 0, 2]
    assert stack.top[stack.atom_map].tolist() == [[[0, 1, 1]], [[-1, -1, -1]], [[2, 2, -1]]]


class AllOnes:
    """A generator of random numbers that aren't: masks beside each other then have the same hash."""

    def integers(self, low, high, count, dtype):
        return np.ones(count, dtype)


def test_colliding_hashes_are_noticed_and_drawn_again(monkeypatch):
    masks = drawn('##...', '...##', '#...#')
    expected = MaskAtoms.from_masks(masks)
    draw, seeds = np.random.default_rng, []

    def collide_at_first(seed):
        seeds.append(seed)
        return AllOnes() if len(seeds) < 3 else draw(seed)

    monkeypatch.setattr(np.random, 'default_rng', collide_at_first)
    atoms = MaskAtoms.from_masks(masks)
    assert len(set(seeds)) == 3 and atoms.atoms == expected.atoms == 5
    assert torch.equal(atoms.top[atoms.atom_map], expected.top[expected.atom_map])


def test_masks_whose_hashes_always_collide_are_not_taken_for_one(monkeypatch):
    monkeypatch.setattr(np.random, 'default_rng', lambda seed: AllOnes())
    with pytest.raises(AssertionError, match='colliding'):
        MaskAtoms.from_masks(drawn('##...', '...##'))


@pytest.mark.parametrize(
    'masks', [np.zeros((1, 2, 3), bool), drawn('#.', '..'), torch.zeros(2, 2, 2, dtype=torch.bool)]
)
def test_an_empty_mask_is_refused(masks):
    with pytest.raises(ValueError, match='without a pixel'):
        MaskAtoms.from_masks(masks)


@pytest.mark.parametrize('shape', [(2, 3), (1, 1, 2, 3)])
def test_masks_that_are_not_three_dimensional_are_refused(shape):
    with pytest.raises(ValueError, match='K, h, w'):
        MaskAtoms.from_masks(np.ones(shape, bool))


def test_a_stack_of_none_or_of_different_windows_is_refused():
    with pytest.raises(ValueError, match='one size'):
        MaskAtoms.stack([])
    with pytest.raises(ValueError, match='one size'):
        MaskAtoms.stack([MaskAtoms.from_masks(np.ones((1, 2, width), bool)) for width in (3, 4)])


def test_an_unknown_support_is_refused_without_masks_too():
    for masks in (np.ones((1, 2, 2), bool), np.zeros((0, 2, 2), bool)):
        atoms = MaskAtoms.from_masks(masks)
        with pytest.raises(ValueError, match='support'):
            atoms.sum_masks(torch.zeros(atoms.atoms), 'seen')


# --- CTCF by hand ---


def test_a_mask_on_one_label_takes_it_and_is_reliable():
    fused = ctcf.fuse(drawn('.##. / .##.'), labelled('0220 / 0220'))
    assert fused.labels.tolist() == [[0, 2, 2, 0]] * 2 and fused.weight.tolist() == [[0, 1, 1, 0]] * 2
    assert (fused.labels.dtype, fused.weight.dtype, fused.soft) == (torch.int64, torch.float32, None)


def test_a_60_to_40_split_is_reliable_at_areas_50_and_5000_but_not_at_500():
    fused = ctcf.fuse(*rows_of((30, 50), (300, 500), (3000, 5000)))
    assert first_pixels(fused) == [RELIABLE, CHOSEN, RELIABLE]


@pytest.mark.parametrize('area', [98, 99, 100, 101, 999, 1000, 1001, 1002])
def test_medium_masks_are_those_of_100_to_1000_pixels(area):
    fused = ctcf.fuse(*rows_of((round(0.6 * area), area)))
    assert first_pixels(fused) == [CHOSEN if 100 <= area <= 1000 else RELIABLE]


@pytest.mark.parametrize(
    ('theta', 'areas'), [(0.7, range(100, 1001, 10)), (0.6, range(100, 1001, 5)), (0.9, range(100, 1001, 10))]
)
def test_a_share_of_exactly_theta_is_enough_and_one_pixel_less_is_not(theta, areas):
    exact = [(round(theta * area), area) for area in areas]
    less = [(count - 1, area) for count, area in exact]
    assert set(first_pixels(ctcf.fuse(*rows_of(*exact), theta_medium=theta))) == {RELIABLE}
    assert set(first_pixels(ctcf.fuse(*rows_of(*less), theta_medium=theta))) == {CHOSEN}


@pytest.mark.parametrize(
    ('theta', 'areas'), [(0.7, range(100, 1001, 10)), (0.6, range(100, 1001, 5)), (0.9, range(100, 1001, 10))]
)
def test_a_share_of_exactly_theta_is_not_enough_if_it_is_to_be_exceeded(theta, areas):
    exact = [(round(theta * area), area) for area in areas]
    more = [(count + 1, area) for count, area in exact]
    chosen = {'theta_medium': theta, 'theta_inclusive': False}
    assert set(first_pixels(ctcf.fuse(*rows_of(*exact), **chosen))) == {CHOSEN}
    assert set(first_pixels(ctcf.fuse(*rows_of(*more), **chosen))) == {RELIABLE}


@pytest.mark.parametrize('area', [2, 10, 98, 1002, 1100])
def test_half_of_a_small_or_large_mask_is_enough(area):
    assert first_pixels(ctcf.fuse(*rows_of((area // 2, area)))) == [RELIABLE]
    # Label 1 is then the most frequent one, but exactly half of both must be exceeded.
    assert first_pixels(ctcf.fuse(*rows_of((area // 2, area)), theta_inclusive=False)) == [CHOSEN]


@pytest.mark.parametrize('area', range(2, 100))
def test_a_relative_area_of_exactly_a_bound_is_medium(area):
    masks = (np.arange(100) < area)[None, None]
    logits = labelled('1' + '0' * 99)
    chosen = {'area_unit': 'relative', 'theta_medium': 1.0, 'theta_other': 0.0}  # reliable if it is not medium
    share = area / 100
    for bounds, medium in [((share, share), 1), ((0, share), 1), ((0, share - 1e-9), 0), ((share + 1e-9, 1), 0)]:
        assert ctcf.fuse(masks, logits, area_range=bounds, **chosen).weight[0, 0] == 1 - medium


@pytest.mark.parametrize(
    ('width', 'area', 'medium'), [(512, 25, True), (512, 24, False), (512, 250, True), (512, 251, False)]
)
def test_areas_can_be_counted_in_pixels_of_sams_input(width, area, medium):
    masks, logits = rows_of((round(0.6 * area), area))
    pad = (0, width - masks.shape[2])
    masks, logits = torch.nn.functional.pad(masks, pad), torch.nn.functional.pad(logits, pad)
    fused = ctcf.fuse(masks, logits, area_unit='sam_input')  # 4 of them are one pixel of a window 512 wide
    assert first_pixels(fused) == [CHOSEN if medium else RELIABLE]
    # The longer side counts, whichever it is.
    turned = ctcf.fuse(masks.transpose(1, 2), logits.transpose(1, 2), area_unit='sam_input')
    assert torch.equal(turned.labels.T, fused.labels) and torch.equal(turned.weight.T, fused.weight)


def test_a_mask_of_one_pixel_takes_its_label():
    fused = ctcf.fuse(drawn('.#.'), labelled('012'), area_range=(1, 1))
    assert fused.labels.tolist() == [[0, 1, 2]] and fused.weight.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize('fuse', FUSIONS)
def test_without_masks_the_assistants_labels_stay_and_nothing_is_reliable(fuse):
    _, logits = random_window(0)
    fused = fuse(np.zeros((0, *logits.shape[1:]), bool), logits)
    assert torch.equal(fused.labels, logits.argmax(0)) and not fused.weight.any()


def test_of_equally_frequent_labels_the_first_is_taken():
    fused = ctcf.fuse(drawn('####'), labelled('2211'))
    assert fused.labels.tolist() == [[1] * 4] and fused.weight.tolist() == [[1] * 4]


@pytest.mark.parametrize('entropy', ENTROPIES)
@pytest.mark.parametrize('logit', [0.0, 1e4, -1e4])
def test_equal_logits_give_the_first_class(entropy, logit):
    fused = ctcf.fuse(drawn('##.'), torch.full((3, 1, 3), logit), entropy=entropy, theta_other=1.0)
    assert fused.labels.tolist() == [[0, 0, 0]] and fused.weight.tolist() == [[1, 1, 0]]


@pytest.mark.parametrize('fuse', FUSIONS)
def test_with_one_class_there_is_one_label(fuse):
    fused = fuse(drawn('##.', '.#.'), torch.zeros(1, 1, 3))
    assert fused.labels.tolist() == [[0, 0, 0]] and fused.weight.tolist() == [[1, 1, 0]]


MIXED = {'area_range': (1, 1000), 'theta_medium': 1.0}  # no mask of two labels is reliable


@pytest.mark.parametrize(('entropy', 'label'), [('region_mean', 0), ('mean_dist', 1), ('spatial', 1)])
def test_the_definitions_of_entropy_differ(entropy, label):
    # region_mean: 0.436 and 0.500. mean_dist: that of (0.775, 0.225), 0.533, and again 0.500.
    # spatial, before division by log 4: 1.181 for label 0 and 1.144 for label 1.
    logits = distributed((0.95, 0.05), (0.6, 0.4), (0.2, 0.8), (0.2, 0.8))
    fused = ctcf.fuse(drawn('####'), logits, entropy=entropy, **MIXED)
    assert fused.labels.tolist() == [[label] * 4] and not fused.weight.any()


def test_the_binary_entropy_favours_an_improbable_label():
    # Label 2 is the rarest and the least sure of its own pixel, but elsewhere it is all but excluded.
    pixels = [(0.7, 0.295, 0.005)] * 3 + [(0.295, 0.7, 0.005)] * 2 + [(0.3, 0.3, 0.4)]
    fused = {kind: ctcf.fuse(drawn('######'), distributed(*pixels), entropy=kind, **MIXED) for kind in ENTROPIES}
    assert fused['binary'].labels.unique().tolist() == [2]
    assert fused['region_mean'].labels.unique().tolist() == [0]


def test_the_spatial_entropy_favours_a_label_in_a_corner():
    # All pixels are equally sure, but the probability of label 1 lies in one of them.
    logits = distributed(*[(0.95, 0.05)] * 3, (0.05, 0.95))
    label = {
        kind: ctcf.fuse(drawn('####'), logits, entropy=kind, **MIXED).labels.unique().tolist() for kind in ENTROPIES
    }
    assert label['spatial'] == [1] and label['region_mean'] == [0]


def test_only_the_three_most_frequent_labels_are_candidates():
    logits = labelled('0000111223', sureness=[1.0, 2.0, 3.0, SURE])
    assert ctcf.fuse(drawn('##########'), logits, **MIXED).labels.unique().tolist() == [2]


def test_of_equally_frequent_labels_the_first_classes_are_candidates():
    logits = labelled('4433221100', sureness=[1.0, 2.0, 3.0, 4.0, SURE])
    assert ctcf.fuse(drawn('##########'), logits, **MIXED).labels.unique().tolist() == [2]


def test_a_label_that_is_nowhere_in_the_mask_is_no_candidate():
    # Label 2 is improbable everywhere, which makes its binary entropy the lowest, and it is outside the mask.
    logits = distributed((0.6, 0.399, 0.001), (0.399, 0.6, 0.001), (0.001, 0.001, 0.998))
    assert ctcf.fuse(drawn('##.'), logits, entropy='binary', **MIXED).labels[0, 0] in (0, 1)


@pytest.mark.parametrize('entropy', ['region_mean', 'mean_dist'])
@pytest.mark.parametrize('counts', [(2, 1), (3, 2), (7, 5), (49, 48), (500, 300), (90000, 70000)])
@pytest.mark.parametrize('sureness', [SURE, 1.0, 0.3])
def test_of_equally_sure_labels_the_more_frequent_is_taken(entropy, counts, sureness):
    more, less = counts
    logits = labelled('1' * more + '0' * less, sureness=sureness)
    masks = np.ones((1, 1, more + less), bool)
    fused = ctcf.fuse(masks, logits, entropy=entropy, theta_medium=1.0, theta_other=1.0)
    assert fused.labels.unique().tolist() == [1] and not fused.weight.any()


def test_of_equally_sure_and_frequent_labels_the_first_is_taken():
    assert ctcf.fuse(drawn('####'), labelled('2211'), **MIXED).labels.unique().tolist() == [1]


@pytest.mark.parametrize(('least', 'label'), [(0.0, 1), (0.07, 1), (0.08, 0)])
def test_labels_below_the_least_share_are_no_candidates(least, label):
    fused = ctcf.fuse(*rows_of((93, 100)), theta_medium=1.0, min_candidate_lcr=least)  # 7 of 100 are of label 1
    assert fused.labels.unique().tolist() == [label] and not fused.weight.any()


@pytest.mark.parametrize('area', [30, 99, 100, 700])
def test_a_label_of_exactly_the_least_share_is_a_candidate(area):
    for count in range(1, area // 2):
        chosen = {'theta_medium': 1.0, 'theta_other': 1.0, 'min_candidate_lcr': count / area}
        assert first_pixels(ctcf.fuse(*rows_of((area - count, area)), **chosen)) == [CHOSEN]


def test_without_candidates_the_most_frequent_label_is_taken():
    fused = ctcf.fuse(*rows_of((6, 10)), theta_other=1.0, min_candidate_lcr=0.9)
    assert first_pixels(fused) == [(0, 0.0)]


def test_later_masks_lie_on_top_but_earlier_ones_count_in_full():
    # The first mask's visible part is 2 of 3 pixels of label 1; in full it is 3 of 5 of label 0.
    masks, logits = drawn('#####', '...##'), labelled('01100')
    full, visible = (ctcf.fuse(masks, logits, support=support) for support in ('full', 'visible'))
    assert full.labels.tolist() == [[0, 0, 0, 0, 0]] and visible.labels.tolist() == [[1, 1, 1, 0, 0]]


def test_the_visible_area_decides_what_is_medium():
    masks, logits = drawn('#####', '...##'), labelled('01100')
    fused = ctcf.fuse(masks, logits, support='visible', area_range=(3, 3), theta_medium=1.0)
    assert fused.weight.tolist() == [[0, 0, 0, 1, 1]]


@pytest.mark.parametrize('support', ['full', 'visible'])
@pytest.mark.parametrize('entropy', ENTROPIES)
def test_a_wholly_hidden_mask_changes_nothing(support, entropy):
    masks, logits = random_window(3)
    top = masks.any(0)
    hidden = np.concatenate([top[None] & (np.arange(17) < 5), masks, top[None]])
    chosen = {'support': support, 'entropy': entropy, 'output': 'soft'}
    assert_same(ctcf.fuse(hidden, logits, **chosen), ctcf.fuse(top[None], logits, **chosen))


def test_bare_pixels_take_the_assistants_label_are_left_out_or_take_the_nearest_masks():
    masks, logits = drawn('##.....', '......#'), labelled('2210123')
    label = {how: ctcf.fuse(masks, logits, uncovered=how).labels.tolist()[0] for how in ('ta', 'ignore', 'nearest')}
    assert label['ta'] == [2, 2, 1, 0, 1, 2, 3]
    assert label['ignore'] == [2, 2, 255, 255, 255, 255, 3]
    assert label['nearest'] == [2, 2, 2, 2, 3, 3, 3] or label['nearest'] == [2, 2, 2, 2, 2, 3, 3]
    for how in label:
        assert ctcf.fuse(masks, logits, uncovered=how).weight.tolist() == [[1, 1, 0, 0, 0, 0, 1]]


def test_nearest_is_measured_in_a_straight_line():
    masks = drawn('.....# / ...... / ...... / ......', '...... / ...... / ...... / #.....')
    labels = ctcf.fuse(masks, labelled('000002 / 000000 / 000000 / 100000'), uncovered='nearest').labels
    assert labels[:, 0].tolist() == [1, 1, 1, 1] and labels[:, 5].tolist() == [2, 2, 2, 2]
    assert labels[0].tolist() == [1, 1, 2, 2, 2, 2]  # (0, 2): 3 to the right; 13 ** 0.5 to the mask below


@pytest.mark.parametrize('how', ['ta', 'nearest'])
def test_without_masks_nothing_is_nearest(how):
    fused = ctcf.fuse(np.zeros((0, 1, 3), bool), labelled('012'), uncovered=how, output='soft')
    assert fused.labels.tolist() == [[0, 1, 2]] and torch.equal(fused.soft, torch.eye(3)[:, None])


def test_each_window_of_a_batch_finds_the_nearest_masks_of_its_own():
    masks = [drawn('#....'), np.zeros((0, 1, 5), bool), drawn('....#', '...#.')]
    atoms = MaskAtoms.stack([MaskAtoms.from_masks(each) for each in masks])
    fused = ctcf.fuse(atoms, torch.stack([labelled('40123')] * 3), uncovered='nearest')
    assert fused.labels.tolist() == [[[4, 4, 4, 4, 4]], [[4, 0, 1, 2, 3]], [[2, 2, 2, 2, 3]]]


def test_the_soft_output_raises_the_chosen_label_to_the_largest_other():
    # Means are 0.5, 0.3, 0.2. Label 1, which lies most in one place, is chosen and raised to 0.5: 1.2 in all.
    logits = distributed((0.75, 0.05, 0.2), (0.65, 0.15, 0.2), (0.1, 0.7, 0.2))
    fused = ctcf.fuse(drawn('###'), logits, entropy='spatial', output='soft', **MIXED)
    assert fused.labels.tolist() == [[1, 1, 1]]
    expected = torch.tensor([0.5, 0.5, 0.2]) / 1.2
    torch.testing.assert_close(fused.soft, expected[:, None, None].expand(3, 1, 3))


def test_the_soft_output_of_a_reliable_mask_is_the_mean_as_it_is():
    fused = ctcf.fuse(drawn('##.'), distributed((0.75, 0.25), (0.875, 0.125), (0.25, 0.75)), output='soft')
    torch.testing.assert_close(fused.soft[:, 0], torch.tensor([[0.8125, 0.8125, 0.25], [0.1875, 0.1875, 0.75]]))


# --- CTCF at large ---

SETTINGS = st.fixed_dictionaries(
    {
        'theta_medium': st.sampled_from([0.5, 0.6, 0.7, 1.0]),
        'theta_other': st.sampled_from([0.5, 0.6, 0.75, 1.0]),
        'area_range': st.sampled_from([(100, 1000), (2, 5), (4, 4), (0.2, 0.6), (1e5, 3e5)]),
        'area_unit': st.sampled_from(['window', 'sam_input', 'relative']),
        'theta_inclusive': st.booleans(),
        'entropy': st.sampled_from(ENTROPIES),
        'min_candidate_lcr': st.sampled_from([0.0, 0.2, 0.3, 0.4]),
        'support': st.sampled_from(['full', 'visible']),
        'uncovered': st.sampled_from(['ta', 'ignore', 'nearest']),
    }
)


@given(windows(), SETTINGS)
@examples(400)
def test_ctcf_is_the_literal_fusion_whatever_the_settings(window, chosen):
    masks, logits = window
    fused = ctcf.fuse(masks, logits, output='soft', **chosen)
    allowed, weight = literal.fuse(masks.tolist(), logits.double().tolist(), **chosen)
    assert fused.weight.tolist() == weight
    for y, x in np.ndindex(masks.shape[1:]):
        label = fused.labels[y, x].item()
        assert label in allowed[y][x]
        # Where several pixels are the nearest, the one that gave the label need not be the one in the reference.
        if allowed[y][x][label] is not None and (chosen['uncovered'] != 'nearest' or masks[:, y, x].any()):
            assert fused.soft[:, y, x].tolist() == pytest.approx(allowed[y][x][label], abs=1e-5)
    assert_same(ctcf.fuse(masks, logits, **chosen), fused._replace(soft=None))


@given(windows(), SETTINGS)
def test_soft_labels_are_distributions_whose_largest_is_the_label(window, chosen):
    masks, logits = window
    fused = ctcf.fuse(masks, logits, output='soft', **chosen)
    torch.testing.assert_close(fused.soft.sum(0), torch.ones(masks.shape[1:]))
    counted = fused.labels != 255
    own = fused.soft.gather(0, fused.labels.where(counted, 0)[None])[0]
    assert (fused.soft.dtype, fused.soft.requires_grad) == (torch.float32, False)
    assert torch.equal(own[counted], fused.soft.amax(0)[counted])


@given(st.integers(0, 2**32), st.permutations(range(6)))
@examples(50)
def test_the_stored_order_of_masks_does_not_matter(seed, order):
    masks, logits = random_window(seed)
    scores = np.arange(6) / 8
    stored = InstanceMasks.from_dense(masks, scores)
    other = InstanceMasks.from_dense(masks[order], scores[order])
    for fuse in FUSIONS:
        assert_same(fuse(stored.in_painting_order(), logits), fuse(other.in_painting_order(), logits))


def test_identical_masks_count_once():
    masks, logits = random_window(1)
    for fuse in FUSIONS:
        assert_same(fuse(np.repeat(masks, 3, axis=0), logits), fuse(masks, logits))


@pytest.mark.parametrize(('fuse', 'label'), [(ctcf.fuse, 2), (ssa.fuse, 2), (sepl.fuse, 1)])
def test_a_mask_that_covers_everything_is_painted_everywhere(fuse, label):
    # SEPL gives it to the first class that is there, because all of that class's region is in it.
    fused = fuse(np.ones((1, 2, 3), bool), labelled('221 / 212'))
    assert fused.labels.tolist() == [[label] * 3] * 2 and fused.weight.tolist() == [[1, 1, 1]] * 2


# --- the baselines by hand ---


def test_ssa_gives_every_mask_the_majority_of_the_original_map():
    # The second mask counts the labels below it as they were, not as the first mask was painted.
    fused = ssa.fuse(drawn('#####..', '...##..'), labelled('0001233'))
    assert fused.labels.tolist() == [[0, 0, 0, 1, 1, 3, 3]]
    assert fused.weight.tolist() == [[1, 1, 1, 1, 1, 0, 0]]


def test_ssa_knows_no_threshold():
    fused = ssa.fuse(*rows_of((201, 400)))
    assert first_pixels(fused) == [RELIABLE]


def test_ssa_can_count_what_is_visible():
    masks, logits = drawn('#####', '...##'), labelled('01100')
    assert ssa.fuse(masks, logits).labels.tolist() == [[0] * 5]
    assert ssa.fuse(masks, logits, support='visible').labels.tolist() == [[1, 1, 1, 0, 0]]


def test_sepl_gives_a_class_the_masks_of_which_it_has_more_than_half():
    # Of the first mask label 1 has 3 of 5; of the second labels 1 and 2 have half each, which is not enough.
    fused = sepl.fuse(drawn('#####......', '.....##....'), labelled('01112120000'))
    assert fused.labels.tolist() == [[1, 1, 1, 1, 1, 1, 2, 0, 0, 0, 0]]
    assert fused.weight.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ('inside', 'region', 'taken'), [(17, 20, True), (16, 20, False), (34, 40, True), (33, 40, False)]
)
def test_sepl_gives_a_class_the_masks_that_hold_85_percent_of_its_region(inside, region, taken):
    # A mask of 100 pixels, of which less than half are of label 0; labels 1 and 2 have 30 or more, also not half.
    rest = 100 - inside
    picture = '0' * inside + '1' * (rest // 2) + '2' * (rest - rest // 2) + '0' * (region - inside) + '12' * 50
    masks = (np.arange(len(picture)) < 100)[None, None]
    fused = sepl.fuse(masks, labelled(picture))
    assert fused.labels[0, :100].eq(0).all() == taken and fused.weight[0, :100].eq(taken).all()


def test_sepl_uses_a_mask_once_and_the_first_class_takes_it():
    # Label 0 has all of its region in the mask, label 1 more than half of the mask.
    assert sepl.fuse(drawn('#####.'), labelled('001112')).labels.tolist() == [[0, 0, 0, 0, 0, 2]]


def test_sepl_paints_later_classes_over_earlier_ones_whatever_the_order_of_masks():
    masks, logits = drawn('..###', '####.'), labelled('00111')
    for order in ([0, 1], [1, 0]):
        # Half of the second mask is of label 0, but that is all of its region.
        assert sepl.fuse(masks[order], logits).labels.tolist() == [[0, 0, 1, 1, 1]]


def test_sepl_leaves_pixels_that_no_class_was_painted_on():
    masks, logits = drawn('##..'), labelled('1212')  # no label has more than half of the mask or most of its region
    assert sepl.fuse(masks, logits).labels.tolist() == [[1, 2, 1, 2]]
    assert sepl.fuse(masks, logits, unassigned='ignore').labels.tolist() == [[255, 255, 1, 2]]
    assert not sepl.fuse(masks, logits).weight.any()


def test_as_released_sepl_takes_the_masks_of_earlier_classes_for_bare_ground():
    # Label 0 takes the mask; at label 1's turn no mask covers its pixel in it any more.
    masks, logits = drawn('###.'), labelled('0011')
    assert sepl.fuse(masks, logits).labels.tolist() == [[0, 0, 0, 1]]
    assert sepl.fuse(masks, logits, coverage='remaining').labels.tolist() == [[0, 0, 1, 1]]


# --- the baselines at large ---


@given(windows(), st.sampled_from(['full', 'visible']))
@examples(150)
def test_ssa_is_the_literal_fusion(window, support):
    masks, logits = window
    fused = ssa.fuse(masks, logits, support=support)
    labels, weight = literal_ssa.fuse(masks.tolist(), logits.double().tolist(), support)
    assert fused.labels.tolist() == labels and fused.weight.tolist() == weight


@given(windows(), st.sampled_from(['ta', 'ignore']), st.sampled_from(['all', 'remaining']))
@examples(250)
def test_sepl_is_the_literal_fusion(window, unassigned, coverage):
    masks, logits = window
    fused = sepl.fuse(masks, logits, unassigned=unassigned, coverage=coverage)
    labels, weight = literal_sepl.fuse(masks.tolist(), logits.double().tolist(), unassigned, coverage)
    assert fused.labels.tolist() == labels and fused.weight.tolist() == weight


# --- all of them ---


@pytest.mark.parametrize('fuse', FUSIONS)
@pytest.mark.parametrize('chosen', [{}, {'output': 'soft', 'entropy': 'mean_dist', 'uncovered': 'nearest'}])
def test_a_batch_of_windows_gives_what_its_windows_give(fuse, chosen):
    chosen = chosen if fuse is ctcf.fuse else {}
    parts = [random_window(seed, count=seed) for seed in range(5)]
    atoms = MaskAtoms.stack([MaskAtoms.from_masks(masks) for masks, _ in parts])
    fused = fuse(atoms, torch.stack([logits for _, logits in parts]), **chosen)
    for window, (masks, logits) in enumerate(parts):
        own = ctcf.Fused(fused.labels[window], fused.weight[window], None if fused.soft is None else fused.soft[window])
        assert_same(own, fuse(masks, logits, **chosen))


@pytest.mark.parametrize('fuse', FUSIONS)
@pytest.mark.parametrize('dtype', FLOATS)
def test_half_precision_logits_give_what_the_same_numbers_give_in_float32(fuse, dtype):
    masks, logits = random_window(2)
    logits = logits.to(dtype)
    assert_same(fuse(masks, logits), fuse(masks, logits.float()))


@pytest.mark.parametrize('fuse', FUSIONS)
def test_autocast_changes_nothing(fuse):
    masks, logits = random_window(4)
    plain = fuse(masks, logits)
    with torch.autocast('cpu', torch.bfloat16):
        cast = fuse(masks, logits)
    assert_same(cast, plain)
    assert cast.weight.dtype == torch.float32


@pytest.mark.parametrize('entropy', ENTROPIES)
def test_huge_logits_give_neither_infinity_nor_nan(entropy):
    masks, logits = random_window(5)
    fused = ctcf.fuse(masks, logits * 1e4, entropy=entropy, output='soft', theta_other=1.0)
    assert fused.soft.isfinite().all() and fused.labels.max() < 5


@pytest.mark.parametrize('fuse', FUSIONS)
def test_no_gradient_comes_out(fuse):
    masks, logits = random_window(6)
    fused = fuse(masks, logits.requires_grad_())
    assert not any(part.requires_grad for part in fused if part is not None)


@pytest.mark.parametrize('fuse', FUSIONS)
def test_windows_of_a_batch_keep_their_dimensions(fuse):
    windows = [random_window(seed) for seed in range(6)]
    atoms = MaskAtoms.stack([MaskAtoms.from_masks(masks) for masks, _ in windows])
    logits = torch.stack([logits for _, logits in windows])
    flat, batch = fuse(atoms, logits), fuse(atoms, logits.unflatten(0, (2, 3)))
    for one, other in zip(flat, batch, strict=True):
        assert (one is None and other is None) or torch.equal(one, other.flatten(0, 1))


@pytest.mark.parametrize('fuse', FUSIONS)
def test_logits_stay_as_they_are(fuse):
    masks, logits = random_window(7)
    before = logits.clone()
    fuse(masks, logits)
    assert torch.equal(logits, before)


@pytest.mark.parametrize('fuse', FUSIONS)
@pytest.mark.parametrize('shape', [(3, 2, 4), (3, 3, 3), (2, 3), (2, 3, 2, 3), (2, 1, 3, 2, 3)])
def test_masks_and_logits_of_different_windows_are_refused(fuse, shape):
    with pytest.raises(ValueError, match='do not fit'):
        fuse(np.ones((1, 2, 3), bool), torch.zeros(shape))


@pytest.mark.parametrize('name', ['entropy', 'area_unit', 'uncovered', 'output', 'support'])
def test_an_unknown_setting_of_ctcf_is_refused(name):
    with pytest.raises(ValueError, match=name):
        ctcf.fuse(*random_window(0), **{name: 'mean'})


@pytest.mark.parametrize('name', ['unassigned', 'coverage'])
def test_an_unknown_setting_of_sepl_is_refused(name):
    with pytest.raises(ValueError, match=name):
        sepl.fuse(*random_window(0), **{name: 'none'})


def test_an_unknown_support_of_ssa_is_refused():
    with pytest.raises(ValueError, match='support'):
        ssa.fuse(*random_window(0), support='none')
