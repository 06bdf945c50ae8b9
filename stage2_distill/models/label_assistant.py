"""The copy of the teacher assistant that makes labels: a moving average of it, in evaluation mode."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """PyTorch's averaged model, whose update reads no number from the device and so never waits for it."""

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in a model's weights: an average of parameters and statistics, and its counters as they are."""
        mine, theirs = (chain(net.parameters(), net.buffers()) for net in (self.module, model))
        averaged: list[tuple[Tensor, Tensor]] = []
        counters: list[tuple[Tensor, Tensor]] = []
        for pair in zip(mine, theirs, strict=True):
            (averaged if pair[0].is_floating_point() else counters).append(pair)
        average: Any = self.multi_avg_fn
        average(*map(list, zip(*averaged, strict=True)), self.n_averaged)
        for count, other in counters:
            count.copy_(other)


def averaged_copy(assistant: nn.Module, momentum: float) -> MovingAverage:
    """Copy an assistant; ``update_parameters`` then keeps this share of the copy and takes the rest from it.

    Args:
        assistant: The teacher assistant.
        momentum: In [0, 1]; 0 follows at once, 1 keeps the copy as it began.

    Raises:
        ValueError: If the momentum is out of range.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f'label_momentum {momentum} is not from 0 to 1')
    copy = MovingAverage(assistant, multi_avg_fn=get_ema_multi_avg_fn(momentum), use_buffers=True)
    copy.requires_grad_(False)
    return copy


def begin_as_the_assistant(model: nn.Module, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Let weights without a copy be loaded: the copy begins as their assistant. A pre-hook of ``load_state_dict``."""
    copy, assistant = f'{prefix}label_assistant.', f'{prefix}teacher_assistant.'
    if any(name.startswith(copy) for name in weights):
        return
    for name in [name for name in weights if name.startswith(assistant)]:
        weights[f'{copy}module.{name.removeprefix(assistant)}'] = weights[name]
    weights[f'{copy}n_averaged'] = torch.tensor(1)
