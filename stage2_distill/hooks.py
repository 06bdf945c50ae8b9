"""Hooks: the random numbers of an iteration, and a stop when a loss is no number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from stage2_distill.errors import TrainingError


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds PyTorch's generators by the iteration, so that a resumed training draws what it would have drawn."""

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Sets the seed of this iteration and process."""
        sequence = np.random.SeedSequence((runner.seed, get_rank(), runner.iter))
        torch.manual_seed(int(sequence.generate_state(1)[0]))


@HOOKS.register_module()
class StopOnBadLossHook(Hook):
    """Ends a training whose loss is not finite, before its weights are saved.

    Raises:
        TrainingError: Naming the terms.
    """

    priority = 'ABOVE_NORMAL'

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Looks at every loss of the iteration."""
        found = {name: value for name, value in (outputs or {}).items() if name.startswith('loss')}
        losses = {name: float(torch.as_tensor(value).detach()) for name, value in found.items()}
        bad = [f'{name} is {value}' for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            raise TrainingError(
                f'iteration {runner.iter + 1}: {", ".join(bad)}; training stops, and the last checkpoint in '
                f'{runner.work_dir} is from before. Try a lower learning rate, clip_grad, or training without --amp'
            )
