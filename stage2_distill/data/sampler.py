"""The order of training samples and the random numbers that change them: functions of the seed and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS


class Draw(NamedTuple):
    """One sample of an endless training: which image, and the seed of its augmentation."""

    image: int
    seed: int


@DATA_SAMPLERS.register_module()
class DrawSampler(InfiniteSampler):
    """MMEngine's endless sampler, which also gives every draw a seed of its own.

    A sample is then the same with any number of workers, and after a training was interrupted and resumed.
    """

    def _infinite_indices(self) -> Iterator[Draw]:
        for number, index in enumerate(super()._infinite_indices()):
            yield Draw(index, int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0]))
