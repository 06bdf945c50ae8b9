"""Weights of SAM 2 as initial weights of a network that was built of its modules, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stage1_sam_cache.system.weight_files import missing_from, sets_for
from stage2_distill.checkpoints.safe_checkpoints import load_any
from stage2_distill.errors import CheckpointError


def names_in_sam2(network: nn.Module, sam2: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """Return the name in SAM 2 of every parameter that a network has taken from it, by the network's own name.

    Args:
        network: It holds the very parameters, perhaps in other modules.
        sam2: SAM 2's parameters by name.
    """
    names = {id(value): name for name, value in sam2.items()}
    return {own: names[id(value)] for own, value in network.named_parameters() if id(value) in names}


def load_sam2_weights(network: nn.Module, names: Mapping[str, str], path: str, what: str) -> None:
    """Copy weights of SAM 2 into a network.

    Args:
        network: It gets them.
        names: As ``names_in_sam2``.
        path: A file or an address, as ``load_any`` takes it; the weights may be below a key, as in the published files.
        what: What they have to be, for errors.

    Raises:
        CheckpointError: If they can't be read or do not fit.
    """
    own = dict(network.named_parameters())
    needed = {theirs: own[name] for name, theirs in names.items()}
    content = load_any(path)
    sets = sets_for(content, needed)
    weights: Mapping[str, Tensor] = sets[0].weights if sets else {}
    bad = missing_from(weights, needed)
    if bad:
        raise CheckpointError(
            f'checkpoint {path} does not fit {what}: {len(bad)} of {len(needed)} weights are missing or have another '
            f'shape, such as {bad[0]}',
            'give model.weights that belong to model.size',
        )
    with torch.no_grad():
        for name, value in needed.items():
            value.copy_(weights[name])


def as_sam2_weights(network: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the weights that a network shares with SAM 2, under SAM 2's names."""
    own = dict(network.named_parameters())
    return {theirs: own[name].detach() for name, theirs in names.items()}
