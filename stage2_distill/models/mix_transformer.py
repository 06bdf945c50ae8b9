"""SegFormer's backbone without the matrix of attention in memory.

mmseg's blocks ask ``nn.MultiheadAttention`` for the weights of attention and drop them. So each block makes its matrix,
of all positions by those of the reduced image (at 400x2048 51200 by 800 in the first level, for every image and head),
keeps it for the backward pass, and averages it over the heads. Not asked, PyTorch takes its fused kernels, which hold a
part of the matrix at a time. Weights, their names and, up to rounding, results are the same.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmseg.models.backbones import MixVisionTransformer
from mmseg.registry import MODELS
from torch import Tensor, nn


class FusedAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` of tokens ``(N, B, D)``, without masks, that gives no weights of attention."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Attend from ``query`` to the tokens of ``key``, whose contents are ``value``."""
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        queries, keys, values = (
            F.linear(tokens.transpose(0, 1), weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for tokens, weight, bias in zip((query, key, value), self.in_proj_weight.chunk(3), biases, strict=True)
        )
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        return self.out_proj(found.transpose(1, 2).flatten(2)).transpose(0, 1), None


def fuse_attention(network: nn.Module) -> None:
    """Replace every ``nn.MultiheadAttention`` of a network, which uses no masks, by a ``FusedAttention``."""
    for name, module in list(network.named_modules()):
        if type(module) is nn.MultiheadAttention:
            fused = FusedAttention(
                module.embed_dim, module.num_heads, module.dropout, bias=module.in_proj_bias is not None
            )
            fused.load_state_dict(module.state_dict())
            network.set_submodule(name, fused.train(module.training))


@MODELS.register_module()
class FusedMixVisionTransformer(MixVisionTransformer):
    """mmseg's ``MixVisionTransformer`` with fused attention; the same arguments, weights and features."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        fuse_attention(self)
