"""From patches to three levels of features: SAM 2's image encoder with low-rank updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base


@dataclass(frozen=True)
class PatchFeatures:
    """Features of a batch of square patches of side S; d is the width of SAM 2's neck.

    Attributes:
        high: ``(B, d/8, S/4, S/4)``.
        medium: ``(B, d/4, S/8, S/8)``.
        low: ``(B, d, S/16, S/16)``.
        code: Sine code of the places of ``low``, as ``low``.
    """

    high: Tensor
    medium: Tensor
    low: Tensor
    code: Tensor


class PatchEncoder(nn.Module):
    """SAM 2's image encoder and the projections of its two fine levels.

    Args:
        sam2: Whose modules are taken, not copied.
        rank: Of the low-rank updates.
        literal_rows: Update only the rows that the authors' code updates where the width doubles.
        encoder: ``'lora'``: trunk and neck are frozen but for low-rank updates. ``'full'``: all is trained, without
            updates.
        checkpoint: Keep only the inputs of the trunk's blocks for the backward pass and compute the rest once more.
    """

    def __init__(
        self,
        sam2: SAM2Base,
        rank: int = 4,
        literal_rows: bool = False,
        encoder: str = 'lora',
        checkpoint: bool = False,
    ) -> None:
        super().__init__()

    def forward(self, patches: Tensor) -> PatchFeatures:
        """Encode patches, normalised ``(B, 3, S, S)``."""
        raise NotImplementedError

    def sequence(self, patches: Tensor) -> list[PatchFeatures]:
        """Encode ``(B, n, 3, S, S)`` as one batch; element ``i`` of the list is of all samples' ``i``-th patch."""
        raise NotImplementedError
