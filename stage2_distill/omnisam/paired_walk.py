"""The visit of a paired batch: source and target step by step, each with a memory of its own, and one of the anchor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stage2_distill.omnisam.memory_bank import MemoryBank, MemoryEntry
from stage2_distill.omnisam.paired_dataset import SOURCE
from stage2_distill.omnisam.patch_steps import Sequences

ANCHOR = 'anchor'


@dataclass(frozen=True)
class Domain:
    """The images of one domain in a batch.

    Attributes:
        sequences: Their patches.
        slots: Of the memory along them.
    """

    sequences: Sequences
    slots: int

    def __len__(self) -> int:
        return self.sequences.patches.shape[1]

    def at(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return patches, labels and windows of a step."""
        patches, labels, windows = (part[:, step] for part in self.sequences)
        return patches, labels, windows


class PairedWalk:
    """The walk of ``AdaptedOmniSAM``: a sequence per domain, and a memory of its own for the anchor.

    Args:
        domains: Of the batch.
    """

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        self._domains = domains
        self._banks = {name: MemoryBank(domain.slots) for name, domain in domains.items()}
        self._banks[ANCHOR] = MemoryBank(domains[SOURCE].slots)

    def __len__(self) -> int:
        return max(map(len, self._domains.values()))

    def at(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the arguments of ``AdaptedOmniSAM.patch_loss``."""
        parts = {name: domain.at(step) for name, domain in self._domains.items() if step < len(domain)}
        memories = {name: list(bank) for name, bank in self._banks.items()}
        given = {name: part[1:] for name, part in parts.items()}
        return {name: part[0] for name, part in parts.items()}, {**given, 'step': step, 'memories': memories}

    def keep(self, kept: Mapping[str, MemoryEntry]) -> None:
        """Remember the patches of a step."""
        for name, entry in kept.items():
            self._banks[name].add(entry)
