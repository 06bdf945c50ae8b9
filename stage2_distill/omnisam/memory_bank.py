"""The memory along a sequence of patches: SAM 2's memory attention and encoder over a bounded bank of entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from stage2_distill.omnisam.features import PatchFeatures

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base


@dataclass(frozen=True)
class MemoryEntry:
    """What is remembered of one patch of every sample; nothing of it carries a gradient.

    Attributes:
        tokens: ``(h w, B, m)``.
        code: Sine code of their places in the patch, as ``tokens``.
        shares: Class probabilities ``(B, C, h, w)`` for ``ClassEmbedding``, else None.
    """

    tokens: Tensor
    code: Tensor
    shares: Tensor | None = None


class MemoryBank:
    """The last entries of a lap, oldest first."""

    def __init__(self, slots: int) -> None:
        raise NotImplementedError

    def add(self, entry: MemoryEntry) -> None:
        """Append an entry; beyond ``slots`` the oldest one is lost."""

    def clear(self) -> None:
        """Forget everything: before every lap and every image."""

    def __iter__(self) -> Iterator[MemoryEntry]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


class MemoryNetwork(nn.Module):
    """Memory attention and encoder of a SAM 2 with new codes of distance.

    Args:
        sam2: Whose memory modules are taken, not copied. The encoder is frozen: entries carry no gradient.
        slots: Entries that are read at most; with 0 every patch is a first one.
        classes: Of ``ClassEmbedding``; with 0 there is none.
    """

    def __init__(self, sam2: SAM2Base, slots: int = 9, classes: int = 0) -> None:
        super().__init__()

    def start(self, features: PatchFeatures) -> Tensor:
        """Return ``f_low + nu`` ``(B, d, h, w)``, what a patch without memory gives the decoder."""
        raise NotImplementedError

    def read(self, features: PatchFeatures, entries: Iterable[MemoryEntry]) -> Tensor:
        """Condition a patch on entries, oldest first: ``(B, d, h, w)``; without entries as ``start``."""
        raise NotImplementedError

    def write(self, features: PatchFeatures, mask: Tensor, shares: Tensor | None = None) -> MemoryEntry:
        """Remember a patch.

        Args:
            features: Its features, before the memory attention.
            mask: ``memory_mask`` of its logits, ``(B, 1, S, S)``.
            shares: ``class_shares`` of its logits, for ``kind='embedding'``.
        """
        raise NotImplementedError
