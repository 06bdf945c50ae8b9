"""The semantic decoder: SegFormer's head of linear layers over three levels of a patch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SemanticHead(nn.Module):
    """Map the levels of a patch to features and logits.

    Each level is projected to ``width`` channels and enlarged; all are concatenated, coarse first, and fused by a 1x1
    convolution with batch norm and ReLU. A 1x1 convolution gives the logits.

    Args:
        channels: d, those of the coarsest level; the others have d/4 and d/8.
        classes: C.
        width: Channels of the features.
        dropout: Share of the features' channels that are dropped before the logits.
    """

    def __init__(self, channels: int, classes: int, width: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.project_high = nn.Linear(channels // 8, width)
        self.project_medium = nn.Linear(channels // 4, width)
        self.project_low = nn.Linear(channels, width)
        self.fuse = nn.Conv2d(3 * width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, high: Tensor, medium: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Return features ``(B, width, S/4, S/4)`` and logits ``(B, C, S, S)``.

        Args:
            high: ``(B, d/8, S/4, S/4)``.
            medium: ``(B, d/4, S/8, S/8)``.
            low: ``(B, d, S/16, S/16)``, after the memory.
        """
        size = high.shape[-2:]
        projections = (self.project_low, self.project_medium, self.project_high)
        parts = self.fuse.weight.flatten(1).chunk(3, 1)
        # Projection, enlargement and fusion are all linear, and enlarging keeps constants: so each level is projected
        # and fused at once, at its own size. This equals the concatenation of enlarged levels up to rounding, with less
        # than a tenth of the multiplications and without 3 width channels at the finest size.
        fused = [
            F.conv2d(level, (part @ projection.weight)[..., None, None], part @ projection.bias)
            for level, part, projection in zip((low, medium, high), parts, projections, strict=True)
        ]
        total = fused[2]
        for level in fused[:2]:
            total = total + F.interpolate(level, size, mode='bilinear', align_corners=False)
        features = torch.relu(self.norm(total))
        logits = self.classify(self.dropout(features))
        return features, F.interpolate(logits, scale_factor=4, mode='bilinear', align_corners=False)
