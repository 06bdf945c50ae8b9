"""Training with one optimizer step per patch, as the authors do it, in one process or in several."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor

from stage2_distill.omnisam.memory_bank import MemoryBank


def train_by_patches(model: Any, data: dict[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
    """Visit the patches of a batch in order, with an optimizer step after each.

    The memory keeps what earlier weights have written. The next patch is encoded by weights that have been changed.

    Args:
        model: ``OmniSAM``, or its wrapper for distribution, which joins the gradients of all processes.
        data: A loader's batch.
        optim_wrapper: Of the model.

    Returns:
        Mean losses of the patches by name, and their sum ``loss``.
    """
    network = getattr(model, 'module', model)
    data = network.data_preprocessor(data, True)
    patches, labels = network.training_patches(data['inputs'], data['data_samples'])
    bank = MemoryBank(network.training_slots())
    logs: list[dict[str, Tensor]] = []
    for step in range(patches.shape[1]):
        with optim_wrapper.optim_context(model):
            losses, entry = model(patches[:, step], (labels[:, step], list(bank)), mode='patch')
            total, log = network.parse_losses(losses)
        optim_wrapper.update_params(total)
        bank.add(entry)
        logs.append(log)
    return {name: torch.stack([log[name] for log in logs]).mean() for name in logs[0]}


@MODEL_WRAPPERS.register_module()
class SequenceDistributed(MMDistributedDataParallel):
    """MMEngine's wrapper for several processes, which also knows the steps of single patches."""

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Take one step per sequence or per patch, as the model's ``step`` says."""
        if self.module.step == 'patch':
            return train_by_patches(self, data, optim_wrapper)
        log: dict[str, Tensor] = super().train_step(data, optim_wrapper)
        return log
