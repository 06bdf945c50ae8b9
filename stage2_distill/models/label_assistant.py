"""The copy of the teacher assistant that makes labels: a moving average of it, in evaluation mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged_copy(assistant: nn.Module, momentum: float) -> AveragedModel:
    """Copy an assistant; ``update_parameters`` then keeps this share of the copy and takes the rest from it.

    Args:
        assistant: The teacher assistant.
        momentum: In [0, 1]; 0 follows at once, 1 keeps the copy as it began.

    Raises:
        ValueError: If the momentum is out of range.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f'label_momentum {momentum} is not from 0 to 1')
    copy = AveragedModel(assistant, multi_avg_fn=get_ema_multi_avg_fn(momentum), use_buffers=True)
    copy.requires_grad_(False)
    copy.n_averaged.fill_(1)  # so that the first step is averaged like all others
    return copy


def begin_as_the_assistant(model: nn.Module, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Let weights without a copy be loaded: the copy begins as their assistant. A pre-hook of ``load_state_dict``."""
    copy, assistant = f'{prefix}label_assistant.', f'{prefix}teacher_assistant.'
    if any(name.startswith(copy) for name in weights):
        return
    for name in [name for name in weights if name.startswith(assistant)]:
        weights[f'{copy}module.{name.removeprefix(assistant)}'] = weights[name]
    weights[f'{copy}n_averaged'] = torch.tensor(1)
