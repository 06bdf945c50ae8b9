"""The order of training samples and the seeds of their augmentation: functions of the run's seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS


class Draw(NamedTuple):
    """One sample of an endless training run: the image's index and the seed of its augmentation."""

    image: int
    seed: int


@DATA_SAMPLERS.register_module()
class DrawSampler(InfiniteSampler):
    """MMEngine's endless sampler, which also gives each draw a seed of its own.

    A sample is then the same with any number of workers, and after a run was interrupted and resumed.

    Args:
        args: Of ``InfiniteSampler``: ``dataset``, ``shuffle`` and ``seed``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._drawn = 0

    def draw(self, image: int, seed: int, number: int) -> tuple[int, ...]:
        """Return what a data set is asked for.

        Args:
            image: Index of the image.
            seed: Of its augmentation.
            number: Draws of the run before it, of all processes.
        """
        return Draw(image, seed)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """Iterate over the draws of this process."""
        for index in self.indices:
            # Its place in the order of all processes; each process takes every world_size-th draw.
            number = self.rank + self._drawn * self.world_size
            self._drawn += 1
            seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
            yield self.draw(index, seed, number)

    def skip(self, num_samples: int) -> None:
        """Go to an absolute position of this process, without loading what lies before."""
        super().skip(num_samples)
        self._drawn = num_samples
