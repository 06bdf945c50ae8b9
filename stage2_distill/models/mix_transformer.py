"""SegFormer's backbone without the matrix of attention in memory.

mmseg's blocks ask ``nn.MultiheadAttention`` for the weights of attention and drop them. So each block makes its matrix,
of all positions by those of the reduced image (at 400x2048 51200 by 800 in the first level, for every image and head),
keeps it for the backward pass, and averages it over the heads. Not asked, PyTorch takes its fused kernels, which hold a
part of the matrix at a time. Weights, their names and, up to rounding, results are the same.
"""

from __future__ import annotations

from typing import Any

from mmseg.models.backbones import MixVisionTransformer
from mmseg.registry import MODELS
from torch import Tensor, nn


class FusedAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` that gives no weights of attention unless it is asked for them."""

    def forward(self, *args: Any, need_weights: bool = False, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """Attend, as ``nn.MultiheadAttention`` does."""
        return super().forward(*args, need_weights=need_weights, **kwargs)


@MODELS.register_module()
class FusedMixVisionTransformer(MixVisionTransformer):
    """mmseg's ``MixVisionTransformer`` with fused attention; the same arguments, weights and features."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, module in list(self.named_modules()):
            if isinstance(module, nn.MultiheadAttention):
                bias = module.in_proj_bias is not None
                fused = FusedAttention(module.embed_dim, module.num_heads, module.dropout, bias)
                fused.load_state_dict(module.state_dict())
                self.set_submodule(name, fused)
