"""The parts of OmniSAM's adaptation: rounds, prototypes, pseudo-labels; each against plain Python."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stage2_distill.errors import ConfigError
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
    assert sorted(sum(rounds, [])) == list(range(10))  # the spec's: disjoint, and all used after the last
    assert [round_images(7, number, 10, settings) for number in (3, 0, 2, 1)] == [rounds[i] for i in (3, 0, 2, 1)]
    assert rounds != [round_images(8, number, 10, settings) for number in range(4)]
    again = RoundSettings(first=4, later=4, subset='with_replacement')
    drawn = [round_images(7, number, 10, again) for number in range(4)]
    assert all(len(set(each)) == 4 for each in drawn) and len(set(sum(drawn, []))) < 16


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
