"""Teacher assistants that see the windows of a panorama one after the other, and remember them.

Such a network has a method ``forward_sequence(windows, grid)``: normalised windows ``(B, n, 3, h, w)`` of a
``WindowGrid`` to logits ``(B, n, C, h, w)``. OmniSAM has one; GoodSAM knows it by that name alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.errors import ConfigError


def sequence_method(network: nn.Module) -> Callable[[Tensor, WindowGrid], Tensor] | None:
    """Return a network's ``forward_sequence``, or None if it sees each window alone.

    Args:
        network: An assistant, or its averaged copy.

    Raises:
        ConfigError: If it is trained by several processes, which average gradients of ``forward`` alone.
    """
    inner: Any = getattr(network, 'module', network)
    method: Callable[[Tensor, WindowGrid], Tensor] | None = getattr(inner, 'forward_sequence', None)
    if method is not None and isinstance(network, DistributedDataParallel):
        raise ConfigError(
            f'several processes train a {type(inner).__name__} as teacher assistant',
            'start one process, or freeze it: model.update_ta=False',
        )
    return method
