"""Batch normalisation that keeps its statistics during training, as ``norm_eval`` of mmseg's backbones."""

from __future__ import annotations

from torch import nn


def keep_statistics(network: nn.Module) -> None:
    """Put a network's batch normalisation into evaluation mode; its weights are still trained.

    Args:
        network: Call this at the end of its ``train``, which sets the mode of all parts.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
