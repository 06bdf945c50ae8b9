"""Damaged true masks: every kind of damage by hand or against a literal version, and the caches they are kept in."""

import numpy as np
import pytest
from conftest import TINY_WINDOWS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from stage1_sam_cache import open_cache
from toypass.truth.mask_quality import best_overlaps
from toypass.truth.simulated_masks import (
    DamageSettings,
    SimulatedMaskGenerator,
    cut_in_two,
    damaged,
    merge_neighbours,
    near_others,
    roughen,
)
from toypass.truth.truth_masks import TruthMaskGenerator, encode

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)
MAPS = SHAPES.flatmap(lambda shape: hnp.arrays(np.uint16, shape, elements=st.integers(0, 400)))
FEW = SHAPES.flatmap(lambda shape: hnp.arrays(np.int64, shape, elements=st.integers(0, 3)))
BLOCKS = np.kron(np.arange(48).reshape(6, 8), np.ones((12, 12), np.int64))  # 48 squares, 12 pixels wide


def rng(seed=0):
    return np.random.default_rng(seed)


def compact(labels):
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)


def masks_of(instances, **damage):
    """The damaged masks as a set of bytes, with their number to see that none comes twice."""
    masks = damaged(instances, DamageSettings(**damage)).masks
    return {mask.tobytes() for mask in masks}, len(masks)


def parts_of(new, old):
    """Of each label, the labels that its pixels have in the other map."""
    return [set(old[new == label].tolist()) for label in np.unique(new)]


@given(MAPS, st.integers(0, 2**40))
def test_without_damage_masks_are_the_true_ones(instances, seed):
    true = {(instances == number).tobytes() for number in np.unique(instances)}
    assert masks_of(instances, seed=seed) == (true, len(true))
    generators = SimulatedMaskGenerator(DamageSettings(seed=seed)), TruthMaskGenerator()
    simulated, truth = (generator.generate(encode([instances])).masks for generator in generators)
    assert {mask.tobytes() for mask in simulated} == {mask.tobytes() for mask in truth} == true


@given(FEW.map(compact), st.floats(0, 1), st.integers(0, 99))
def test_merged_masks_are_whole_instances_that_touch(labels, share, seed):
    merged = merge_neighbours(labels, share, rng(seed))
    for label in np.unique(merged):
        whole = merged == label
        assert np.isin(labels, labels[whole]).sum() == whole.sum()  # every instance with all of its pixels
        # From any instance of the mask one comes to all others through neighbours in it.
        reached = labels == labels[whole][0]
        for _ in range(len(np.unique(labels))):
            near = ndimage.binary_dilation(reached) & whole
            reached = np.isin(labels, labels[near | reached]) & whole
        assert (reached == whole).all()
    assert (np.unique(merged) == np.arange(merged.max() + 1)).all()


def test_merging_everything_leaves_no_instance_alone_and_nothing_leaves_all():
    assert all(len(parts) > 1 for parts in parts_of(merge_neighbours(BLOCKS, 1.0, rng()), BLOCKS))
    np.testing.assert_array_equal(merge_neighbours(BLOCKS, 0.0, rng()), BLOCKS)
    alone = np.zeros((3, 4), np.int64)
    np.testing.assert_array_equal(merge_neighbours(alone, 1.0, rng()), alone)


def test_a_share_is_what_it_says():
    """Of 2400 squares in 50 draws."""
    merged = [48 - merge_neighbours(BLOCKS, 0.2, rng(seed)).max() - 1 for seed in range(50)]
    assert 0.15 < np.sum(merged) / 2400 < 0.2  # two that choose each other are merged once
    split = [cut_in_two(BLOCKS, 0.3, rng(seed)).max() - 47 for seed in range(50)]
    assert np.sum(split) / 2400 == pytest.approx(0.3, abs=0.03)
    left = [masks_of(BLOCKS, drop=0.4, seed=seed)[1] for seed in range(50)]
    assert np.sum(left) / 2400 == pytest.approx(0.6, abs=0.03)


@given(FEW.map(compact), st.floats(0, 1), st.integers(0, 99))
def test_a_split_mask_has_at_most_two_parts_of_one_instance(labels, share, seed):
    split = cut_in_two(labels, share, rng(seed))
    assert all(len(parts) == 1 for parts in parts_of(split, labels))
    assert all(len(parts) <= 2 for parts in parts_of(labels, split))


def test_a_cut_goes_straight_through_the_centre_in_any_direction():
    disc = (np.hypot(*(np.indices((41, 41)) - 20)) <= 20).astype(np.int64)
    angles = []
    for seed in range(20):
        parts = cut_in_two(disc, 1.0, rng(seed))[disc == 1]
        one, other = (np.argwhere(disc)[parts == label] for label in np.unique(parts))
        assert len(one) / (len(one) + len(other)) == pytest.approx(0.5, abs=0.03)
        across = one.mean(0) - other.mean(0)
        assert np.linalg.norm(across) == pytest.approx(2 * 4 * 20 / (3 * np.pi), rel=0.05)  # centres of half discs
        angles.append(np.arctan2(*across) % np.pi)
    assert np.ptp(angles) > np.pi / 2


@given(FEW.map(compact), st.integers(0, 4))
def test_erosion_is_that_of_every_mask_alone(labels, pixels):
    taken = near_others(labels, pixels)
    for label in np.unique(labels):
        mask = labels == label
        # Beyond the window a thing goes on: its border is no edge.
        left = ndimage.binary_erosion(mask, iterations=pixels, border_value=1) if pixels else mask
        np.testing.assert_array_equal(mask & ~taken, left)


@pytest.mark.parametrize('pixels', [1.0, 2.0, 4.0])
def test_rough_outlines_are_off_by_what_is_said(pixels):
    halves = (np.arange(300) >= 150).astype(np.int64)[None].repeat(300, 0)
    edges = [300 - roughen(halves, pixels, rng(seed)).sum(1) for seed in range(8)]
    assert np.std(edges) == pytest.approx(pixels, rel=0.25)
    assert np.mean(edges) == pytest.approx(150, abs=pixels / 2)
    steps = np.abs(np.diff(edges, axis=1))
    assert np.mean(steps) < 1.2  # a line that wanders, no noise


def test_more_of_a_kind_adds_to_what_less_did():
    for kind in ('merge', 'cut', 'drop'):
        sets = [masks_of(BLOCKS, **{kind: share})[0] for share in (0.0, 0.1, 0.4)]
        changed = [sets[0] - damaged_set for damaged_set in sets]
        assert len(changed[0]) < len(changed[1]) < len(changed[2])
        assert changed[1] <= changed[2]


def test_every_kind_makes_masks_worse_and_more_of_it_more_so():
    def quality(**damage):
        return np.mean(
            [best_overlaps(damaged(BLOCKS, DamageSettings(seed=s, **damage)), BLOCKS).best.mean() for s in range(4)]
        )

    for kind, amounts in (
        ('merge', (0.1, 0.4)),
        ('cut', (0.1, 0.4)),
        ('rough', (1.0, 3.0)),
        ('erode', (1, 3)),
        ('drop', (0.1, 0.4)),
    ):
        little, much = (quality(**{kind: amount}) for amount in amounts)
        assert 1 > little > much > 0, kind


def test_damage_is_drawn_from_the_seed_and_the_crop():
    damage = {'merge': 0.3, 'cut': 0.3, 'rough': 1.5, 'erode': 1, 'drop': 0.3}
    first = masks_of(BLOCKS, **damage)
    assert masks_of(BLOCKS, **damage) == first
    assert masks_of(BLOCKS + 7, **damage) == first  # numbers of instances mean nothing
    assert masks_of(BLOCKS, seed=1, **damage) != first
    turned = BLOCKS[::-1]
    mirrored = {mask[::-1].tobytes() for mask in damaged(BLOCKS, DamageSettings(**damage)).masks}
    assert masks_of(turned, **damage)[0] != mirrored


@given(MAPS, st.integers(0, 9))
def test_any_damage_of_any_crop_gives_masks_that_are_not_empty(instances, seed):
    damage = DamageSettings(merge=0.5, cut=0.5, rough=2.0, erode=1, drop=0.2, seed=seed)
    masks = SimulatedMaskGenerator(damage).generate(encode([instances]))
    assert masks.shape == instances.shape and (masks.area > 0).all()
    assert (masks.masks.sum(0) <= 1).all()


@pytest.mark.parametrize(
    'damage',
    [
        {'merge': 1.1},
        {'cut': -0.1},
        {'drop': float('nan')},
        {'rough': -1.0},
        {'rough': float('inf')},
        {'erode': -1},
        {'seed': -1},
    ],
)
def test_damage_that_makes_no_sense_is_refused(damage):
    with pytest.raises(ValueError, match=next(iter(damage))):
        DamageSettings(**damage)


def test_simulated_caches_are_made_in_parts_and_told_apart(tiny_toypass, run_tool, tmp_path):
    data, _ = tiny_toypass
    common = ('cache_truth.py', '--data-root', data, '--split', 'val', *TINY_WINDOWS)
    damage = ('--merge', '0.3', '--cut', '0.3', '--rough', '1.5', '--erode', '1', '--drop', '0.3')
    for folder, flags in (('a', damage), ('b', damage), ('a', (*damage, '--seed', '1'))):
        made = run_tool(*common, *flags, '--out', tmp_path / folder)
        assert made.returncode == 0, made.stderr
    expect = {'generator': {'name': 'simulated', 'merge': 0.3, 'rough': 1.5, 'erode': 1, 'seed': 0}}
    one, same = (open_cache(tmp_path / folder, expect) for folder in 'ab')
    other = open_cache(tmp_path / 'a', {'generator': {'seed': 1}})
    assert one.fingerprint == same.fingerprint != other.fingerprint
    for image_id in one:
        pairs = zip(one[image_id].windows, same[image_id].windows, other[image_id].windows, strict=True)
        assert all(np.array_equal(a.masks, b.masks) and not np.array_equal(a.id_map, c.id_map) for a, b, c in pairs)
        maps = [[overlap.boundary for overlap in cache[image_id].overlaps] for cache in (one, same)]
        np.testing.assert_array_equal(*maps)
    # A panorama that is lost is made again, and is the same.
    lost = next(iter(one))
    before = one[lost]
    next(file for file in one.path.iterdir() if lost.split('/')[-1] in file.name).unlink()
    again = run_tool(*common, *damage, '--out', tmp_path / 'a')
    assert again.stdout.startswith('1 done, 3 already there'), again.stdout + again.stderr
    for a, b in zip(before.windows, open_cache(tmp_path / 'a', expect)[lost].windows, strict=True):
        np.testing.assert_array_equal(a.masks, b.masks)
    refused = run_tool(*common, *damage, '--kinds', 'parts', '--out', tmp_path / 'c')
    assert refused.returncode == 2 and '--merge is for --kinds instances' in refused.stderr
    refused = run_tool(*common, '--drop', '2', '--out', tmp_path / 'c')
    assert refused.returncode == 2 and 'drop 2.0 has to be a share from 0 to 1' in refused.stderr
