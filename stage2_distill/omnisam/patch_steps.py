"""Training with one optimizer step per patch, as the authors do it, in one process or in several."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor

from stage2_distill.omnisam.memory_bank import MemoryBank, MemoryEntry


class Sequences(NamedTuple):
    """Images of a batch as sequences of patches, in the order in which they are visited.

    Attributes:
        patches: ``(B, T, 3, S, S)``: sample, step.
        labels: ``(B, T, S, S)``.
        windows: Indices of the windows, int64 ``(B, T)``.
    """

    patches: Tensor
    labels: Tensor
    windows: Tensor


class Walk(Protocol):
    """A batch that is visited patch by patch."""

    def __len__(self) -> int:
        """Return the number of steps."""

    def at(self, step: int) -> tuple[Any, Any]:
        """Return what the model is called with at a step, in the mode ``'patch'``."""

    def keep(self, kept: Any) -> None:
        """Take in what the model returned beside the losses of a step."""


class PatchWalk:
    """The walk of ``OmniSAM``: one sequence per image, one memory.

    Args:
        sequences: Of the batch.
        slots: Of the memory.
    """

    def __init__(self, sequences: Sequences, slots: int) -> None:
        self._sequences, self._bank = sequences, MemoryBank(slots)

    def __len__(self) -> int:
        return self._sequences.patches.shape[1]

    def at(self, step: int) -> tuple[Tensor, tuple[Tensor, list[MemoryEntry]]]:
        """Return the patches of a step, their labels and the memory."""
        return self._sequences.patches[:, step], (self._sequences.labels[:, step], list(self._bank))

    def keep(self, kept: MemoryEntry) -> None:
        """Remember the patches of a step."""
        self._bank.add(kept)


def train_by_patches(model: Any, data: dict[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
    """Visit the patches of a batch in order, with an optimizer step after each.

    The memory keeps what earlier weights have written. The next patch is encoded by weights that have been changed.

    Args:
        model: ``OmniSAM``, or its wrapper for distribution, which joins the gradients of all processes.
        data: A loader's batch.
        optim_wrapper: Of the model.

    Returns:
        Mean losses of the patches that have them by name, and the sum ``loss``.
    """
    network = getattr(model, 'module', model)
    data = network.data_preprocessor(data, True)
    walk: Walk = network.patch_walk(data['inputs'], data['data_samples'])
    logs: list[dict[str, Tensor]] = []
    for step in range(len(walk)):
        with optim_wrapper.optim_context(model):
            losses, kept = model(*walk.at(step), mode='patch')
            total, log = network.parse_losses(losses)
        optim_wrapper.update_params(total)
        walk.keep(kept)
        logs.append(log)
    names = dict.fromkeys(name for log in logs for name in log)
    return {name: torch.stack([log[name] for log in logs if name in log]).mean() for name in names}


@MODEL_WRAPPERS.register_module()
class SequenceDistributed(MMDistributedDataParallel):
    """MMEngine's wrapper for several processes, which also knows the steps of single patches."""

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Take one step per sequence or per patch, as the model's ``step`` says."""
        if self.module.step == 'patch':
            return train_by_patches(self, data, optim_wrapper)
        log: dict[str, Tensor] = super().train_step(data, optim_wrapper)
        return log
