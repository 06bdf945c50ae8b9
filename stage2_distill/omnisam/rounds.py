"""Which target images each round labels and trains on: a function of the run's seed alone.

A round labels a part of the unlabelled list with the model as it is then, and trains on these labels. The authors mean
to remove images that were used, but their code draws from the whole list again; both are here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from stage2_distill.errors import ConfigError

SUBSETS = ('without_replacement', 'with_replacement')
_SUBSET, _ORDER = 0, 1  # what a draw is for, so that draws are independent


@dataclass(frozen=True)
class RoundSettings:
    """Lengths and sizes of the rounds.

    Args:
        first: Images of round 0, all where the list has fewer.
        later: Images of each later round.
        iters_per_round: Iterations of each later round.
        first_iters: Iterations of round 0; None: as every other round.
        rounds: How many there are, the last of which lasts until the run ends; None: as many as the run has room for.
        subset: ``'without_replacement'``: no image comes again before all have come. ``'with_replacement'``: each
            round draws from the whole list, as the authors' code.

    Raises:
        ConfigError: If a number is below 1 or ``subset`` is something else.
    """

    first: int = 400
    later: int = 200
    iters_per_round: int = 100
    first_iters: int | None = None
    rounds: int | None = None
    subset: str = SUBSETS[0]

    def __post_init__(self) -> None:
        for name in ('first', 'later', 'iters_per_round', 'first_iters', 'rounds'):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1) and not (
                value is None and name in ('first_iters', 'rounds')
            ):
                raise ConfigError(f'{name}={value} of the rounds', 'give a whole number of at least 1')
        if self.subset not in SUBSETS:
            raise ConfigError(f'subset={self.subset!r} of the rounds', f'give one of {", ".join(SUBSETS)}')

    def round_at(self, iteration: int) -> int:
        """Return the round, from 0, that an iteration, from 0, belongs to."""
        first = self.first_iters or self.iters_per_round
        number = 0 if iteration < first else 1 + (iteration - first) // self.iters_per_round
        return number if self.rounds is None else min(number, self.rounds - 1)

    def start_of(self, number: int) -> int:
        """Return the first iteration of a round."""
        return 0 if number == 0 else (self.first_iters or self.iters_per_round) + (number - 1) * self.iters_per_round

    def size_of(self, number: int, count: int) -> int:
        """Return how many images a round has of a list of ``count``."""
        return min(count, self.later if number else self.first)


def round_images(seed: int, number: int, count: int, settings: RoundSettings) -> list[int]:
    """Return the places in the list of the images of a round, in the order of its first pass.

    Without replacement the list is shuffled and dealt out; when too few are left for a round, it is shuffled again and
    dealt out on, and what the round has already comes later.

    Args:
        seed: Of the run.
        number: Of the round, from 0.
        count: Images of the list.
        settings: Sizes of the rounds.

    Returns:
        Different places from 0 to ``count`` - 1.
    """
    if settings.subset == SUBSETS[1]:
        return _generator(seed, _SUBSET, number).permutation(count)[: settings.size_of(number, count)].tolist()
    left: list[int] = []
    taken: list[int] = []
    shuffles = 0
    for each in range(number + 1):
        wanted = settings.size_of(each, count)
        taken, left = left[:wanted], left[wanted:]
        if len(taken) < wanted:
            order = _generator(seed, _SUBSET, shuffles).permutation(count).tolist()
            shuffles += 1
            held = set(taken)
            more = [place for place in order if place not in held][: wanted - len(taken)]
            dealt = set(more)
            taken, left = taken + more, [place for place in order if place not in dealt]
    return taken


def place_in_round(seed: int, number: int, draw: int, size: int) -> int:
    """Return which image of a round a draw of it takes: all in their order first, then all in another order, and so on.

    Args:
        seed: Of the run.
        number: Of the round.
        draw: Draws of this round before it, of all processes.
        size: Images of the round.
    """
    lap, place = divmod(draw, size)
    return place if lap == 0 else int(_order(seed, number, lap, size)[place])


def _order(seed: int, number: int, lap: int, size: int) -> np.ndarray:
    return _generator(seed, _ORDER, number, lap).permutation(size)


def _generator(*numbers: int) -> Generator:
    return default_rng(SeedSequence(numbers))
