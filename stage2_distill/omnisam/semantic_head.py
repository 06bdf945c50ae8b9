"""The semantic decoder: SegFormer's head of linear layers over three levels."""

from __future__ import annotations

from torch import Tensor, nn


class SemanticHead(nn.Module):
    """Maps the levels of a patch to features and logits.

    Args:
        channels: d, the channels of the coarsest level; the others have d/4 and d/8.
        classes: C.
        width: Channels of the features.
        dropout: Of whole channels of the features, before the classifier.
    """

    def __init__(self, channels: int, classes: int, width: int = 256, dropout: float = 0.1) -> None:
        super().__init__()

    def forward(self, high: Tensor, medium: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Return features ``(B, width, S/4, S/4)`` and logits ``(B, C, S, S)``.

        Args:
            high: ``(B, d/8, S/4, S/4)``.
            medium: ``(B, d/4, S/8, S/8)``.
            low: ``(B, d, S/16, S/16)``, after the memory.
        """
        raise NotImplementedError
