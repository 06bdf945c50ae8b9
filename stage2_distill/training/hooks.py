"""Hooks: the random numbers of an iteration, its figures read at once, and a stop when a loss is not finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS

from stage2_distill.errors import TrainingError


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds PyTorch's generators by the iteration, so that a resumed run draws the same random numbers."""

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Set the seed of this iteration and process."""
        sequence = np.random.SeedSequence((runner.seed, get_rank(), runner.iter))
        torch.manual_seed(int(sequence.generate_state(1)[0]))


@HOOKS.register_module()
class OneTransferHook(Hook):
    """Copies all figures of an iteration from the device at once, so that no other hook waits for one of them."""

    priority = 'HIGHEST'

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Put numbers in the place of the iteration's scalar tensors."""
        scalars = {name: value for name, value in (outputs or {}).items() if isinstance(value, torch.Tensor)}
        if outputs and scalars:
            stacked = torch.stack([value.detach().float().reshape(()) for value in scalars.values()])
            outputs.update(zip(scalars, stacked.tolist(), strict=True))


@HOOKS.register_module()
class StopOnBadLossHook(Hook):
    """Ends a run whose losses, or the assistant's logits, are not finite, before its weights are saved.

    A scaler of float16 gradients skips steps whose loss is not finite, so that with one only many of them in a row end
    the run. Labels of such logits would be taught, so that logits always do.

    Args:
        patience: How many losses in a row, with a scaler.

    Raises:
        TrainingError: Naming the terms.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, patience: int = 20) -> None:
        self.patience = patience
        self._in_a_row = 0

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Check every loss of the iteration, and the entropy of the assistant's logits."""
        terms = {name: value for name, value in (outputs or {}).items() if name.startswith(('loss', 'entropy'))}
        values = {
            name: float(value.detach() if isinstance(value, torch.Tensor) else value) for name, value in terms.items()
        }
        bad = [f'{_NAMES.get(name, name)} is {value}' for name, value in values.items() if not math.isfinite(value)]
        self._in_a_row = self._in_a_row + 1 if bad else 0
        skipped = _scales(runner.optim_wrapper) and self._in_a_row < self.patience
        if bad and not (skipped and math.isfinite(values.get('entropy', 0))):
            raise TrainingError(
                f'iteration {runner.iter + 1}: {", ".join(bad)}; training stops, and the last checkpoint in '
                f'{runner.work_dir} is from before. Try a lower learning rate, clip_grad, or training without --amp'
            )


_NAMES = {'entropy': "the entropy of the teacher assistant's logits"}


def _scales(wrapper: Any) -> bool:
    """Whether an optimizer wrapper, or one of several, scales losses to keep float16 from overflowing."""
    wrappers = wrapper.optim_wrappers.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return any(hasattr(each, 'loss_scaler') for each in wrappers)
