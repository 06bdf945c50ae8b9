"""Forward passes and steps of networks that each have an optimizer of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn


@contextmanager
def forward_pass(
    optimizers: OptimWrapperDict, name: str, network: nn.Module | None, with_gradient: bool
) -> Iterator[None]:
    """The context of a forward pass: mixed precision, gradients, and when they are exchanged."""
    wrapper = optimizers[name] if name in optimizers else next(iter(optimizers.values()))
    with torch.set_grad_enabled(with_gradient), wrapper.optim_context(network):
        yield


def take_step(losses: dict[str, Tensor], total: str, wrapper: Any) -> dict[str, Tensor]:
    """Add the weighted terms up (Eq. 8 or 9) and take a step; return them for the log, with the norm of gradients."""
    value = torch.stack([*losses.values()]).sum()
    wrapper.update_params(value)
    log = {name: loss.detach() for name, loss in {**losses, total: value}.items()}
    norm = getattr(getattr(wrapper, 'clip_func', None), 'norm', None)
    return log if norm is None else {**log, total.replace('loss', 'grad_norm'): norm}
