"""The parts of OmniSAM's adaptation: rounds, prototypes, pseudo-labels; each against plain Python."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import omnisam as plain

from stage2_distill.errors import ConfigError
from stage2_distill.omnisam.prototypes import INDICES, Prototypes
from stage2_distill.omnisam.rounds import RoundSettings, place_in_round, round_images

# --- rounds ---


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 40), st.integers(1, 40))
def test_no_image_comes_again_before_all_have_come(seed, count, first, later):
    settings = RoundSettings(first=first, later=later)
    dealt = []
    for number in range(6):
        images = round_images(seed, number, count, settings)
        assert len(set(images)) == len(images) == min(count, later if number else first)
        dealt += images
    times = np.bincount(dealt, minlength=count)
    assert times.max() - times.min() <= 2  # one more, but for images that a round at the end of a shuffle had already
    if len(dealt) <= count:
        assert times.max() == 1


def test_a_round_depends_on_the_seed_and_its_number_alone():
    settings = RoundSettings(first=4, later=2)
    rounds = [round_images(7, number, 10, settings) for number in range(4)]
    assert sorted(chain(*rounds)) == list(range(10))  # the spec's: disjoint, and all used after the last
    assert [round_images(7, number, 10, settings) for number in (3, 0, 2, 1)] == [rounds[i] for i in (3, 0, 2, 1)]
    assert rounds != [round_images(8, number, 10, settings) for number in range(4)]
    again = RoundSettings(first=4, later=4, subset='with_replacement')
    drawn = [round_images(7, number, 10, again) for number in range(4)]
    assert all(len(set(each)) == 4 for each in drawn) and len(set(chain(*drawn))) < 16


def test_every_pass_of_a_round_has_each_image_once():
    places = [[place_in_round(3, 1, lap * 5 + i, 5) for i in range(5)] for lap in range(4)]
    assert places[0] == [0, 1, 2, 3, 4] and all(sorted(each) == places[0] for each in places)
    assert len({tuple(each) for each in places}) > 2


def test_rounds_are_counted_in_iterations():
    settings = RoundSettings(iters_per_round=3, first_iters=5)
    assert [settings.round_at(i) for i in (0, 4, 5, 7, 8, 11)] == [0, 0, 1, 1, 2, 3]
    assert [settings.start_of(number) for number in range(4)] == [0, 5, 8, 11]
    limited = RoundSettings(iters_per_round=3, rounds=2)
    assert [limited.round_at(i) for i in (0, 2, 3, 6, 99)] == [0, 0, 1, 1, 1]
    assert [RoundSettings(first=4, later=2).size_of(number, 3) for number in (0, 1)] == [3, 2]
    for wrong in ({'first': 0}, {'later': 1.5}, {'rounds': 0}, {'iters_per_round': None}, {'subset': 'x'}):
        with pytest.raises(ConfigError, match=f'{next(iter(wrong))}=.* of the rounds; give'):
            RoundSettings(**wrong)


# --- prototypes ---

BATCH, CLASSES, CHANNELS, ROWS = 3, 4, 5, 3


def patch(seed, classes=CLASSES):
    """Features, labels at twice their size, windows; class 2 is never there, and some pixels have no label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (BATCH, 8, 12), generator=generator, dtype=torch.uint8)
    labels[labels == 2] = 255
    windows = torch.randint(ROWS, (BATCH,), generator=generator)
    return torch.randn(BATCH, CHANNELS, 4, 6, generator=generator), labels, windows


def made(index='window', literal=False):
    return Prototypes(CLASSES, CHANNELS, index, ROWS, literal)


@pytest.mark.parametrize('literal', [False, True])
@pytest.mark.parametrize('index', INDICES)
def test_prototypes_and_their_loss_are_those_of_plain_loops(index, literal):
    found = made(index, literal)
    shape = (1 if index == 'class' else ROWS, CLASSES)
    slow = plain.RunningPrototypes(shape, CHANNELS, literal)
    for step in range(4):
        features, labels, windows = patch(step, classes=2 + step % 3)
        rows = found.rows(windows, step % ROWS)
        assert rows.tolist() == {'window': windows.tolist(), 'step': [step % ROWS] * BATCH, 'class': [0] * BATCH}[index]
        target = patch(100 + step)
        means = plain.feature_means(target[0], target[1], rows, shape)
        before = found.loss(found.sums(target[0], target[1], rows))
        assert float(before) == pytest.approx(slow.loss(means, rows), rel=1e-5)
        slow.update(plain.feature_means(features, labels, rows, shape), rows)
        found.update(found.sums(features, labels, rows))
        assert float(found.loss(found.sums(target[0], target[1], rows))) == pytest.approx(
            slow.loss(means, rows), rel=1e-5
        )
    assert set(map(tuple, found.counts.nonzero().tolist())) == set(slow.batches)
    for row, c in slow.batches:
        assert found.means[row, c].tolist() == pytest.approx(slow.mean((row, c)), rel=1e-4, abs=1e-6)
        assert found.counts[row, c] == len(slow.batches[row, c])
    assert bool(found.counts[:, 2].any()) == literal  # the class that is never there


def test_the_order_of_the_visit_does_not_change_what_is_indexed_by_window():
    patches = [patch(seed) for seed in range(ROWS)]
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        prototypes = made()
        total = None
        for step, window in enumerate(order):
            features, labels, _ = patches[window]
            sums = prototypes.sums(features, labels, prototypes.rows(torch.full((BATCH,), window), step))
            total = sums if total is None else total.plus(sums)
        prototypes.update(total)
        found.append(prototypes.means)
    assert torch.equal(*found) and found[0].any()


def test_the_loss_pulls_the_targets_features_and_nothing_else():
    prototypes = made()
    features, labels, windows = patch(0)
    source = features.clone().requires_grad_()
    prototypes.update(prototypes.sums(source, labels, windows))
    target = torch.zeros_like(features, requires_grad=True)
    prototypes.loss(prototypes.sums(target, labels, windows)).backward()
    labelled = labels[:, 1::2, 1::2] < CLASSES
    assert source.grad is None and not target.grad.movedim(1, -1)[~labelled].any()
    assert target.grad.movedim(1, -1)[labelled].abs().sum(-1).all()
    nothing = prototypes.loss(prototypes.sums(target, torch.full_like(labels, 255), windows))
    assert nothing == 0 and prototypes.loss(prototypes.sums(features, labels, windows)) < 1e-12
    for wrong in ({'index': 'x'}, {'positions': 0}):
        with pytest.raises(ConfigError, match=rf'model\.prototypes\.{next(iter(wrong))}='):
            Prototypes(CLASSES, **wrong)
