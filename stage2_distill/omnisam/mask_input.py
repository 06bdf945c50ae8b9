"""What the memory is told about a patch's prediction."""

from __future__ import annotations

from torch import Tensor, nn

KINDS = ('class_ids', 'confidence', 'none', 'embedding')


def memory_mask(logits: Tensor, kind: str) -> Tensor:
    """Return what SAM 2's memory encoder reads in place of a mask, float32 ``(B, 1, S, S)`` of logits ``(B, C, S, S)``."""
    raise NotImplementedError


def class_shares(logits: Tensor) -> Tensor:
    """Probabilities averaged over the pixels of a memory token: ``(B, C, S, S)`` to ``(B, C, S/16, S/16)``, detached."""
    raise NotImplementedError


class ClassEmbedding(nn.Module):
    """A learned vector for every class, added to the memory; 0 at first. For ``kind='embedding'``."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()

    def forward(self, shares: Tensor) -> Tensor:
        """Map ``class_shares`` ``(B, C, h, w)`` to what is added to the tokens of an entry, ``(h w, B, channels)``."""
        raise NotImplementedError
