"""SegFormer's head, whose levels are joined before they are enlarged: a third of the products of that step.

mmseg's head enlarges the features of all four levels to the finest one, concatenates them, and joins 4 x 256 channels
by a product with one matrix at every position. A product at each position and an enlargement can change places, because
the latter mixes positions alone and treats all channels alike. So each level is multiplied by its own columns of the
matrix at its own size, and the sum of the enlarged products is the same: (1 + 1/4 + 1/16 + 1/64) / 4 of the products,
and no concatenated features in memory. Weights, their names and, up to rounding, results are those of mmseg's head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads import SegformerHead
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class LevelwiseSegformerHead(SegformerHead):
    """mmseg's ``SegformerHead``, computed level by level; the same arguments, weights and logits."""

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return logits ``(B, num_classes, H / 4, W / 4)`` of the backbone's levels ``(B, C_i, H / 2^(i+2), ...)``."""
        levels = self._transform_inputs(inputs)
        size = levels[0].shape[2:]
        fusion: ConvModule = self.fusion_conv
        weights = fusion.conv.weight.split(self.channels, dim=1)  # the channels of one level each
        joined = F.conv2d(self.convs[0](levels[0]), weights[0], fusion.conv.bias)
        for level, project, weight in zip(levels[1:], self.convs[1:], weights[1:], strict=True):
            product = F.conv2d(project(level), weight)
            joined = joined + resize(product, size, mode=self.interpolate_mode, align_corners=self.align_corners)
        if fusion.with_norm:
            joined = fusion.norm(joined)
        if fusion.with_activation:
            joined = fusion.activate(joined)
        logits: Tensor = self.cls_seg(joined)
        return logits


@MODELS.register_module()
class LinearSegformerHead(LevelwiseSegformerHead):
    """SegFormer's head as its authors have it: the projections of the levels are linear."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for i, width in enumerate(self.in_channels):
            self.convs[i] = ConvModule(width, self.channels, 1, norm_cfg=None, act_cfg=None)
