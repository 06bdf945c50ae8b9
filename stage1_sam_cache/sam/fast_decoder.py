"""SAM's mask decoder with less work: the same function of the same weights, up to rounding.

What is the same for all points is computed once. Projections of the image's 4096 places are moved to the few tokens
that they are multiplied with (``(W k) . q = k . (W^T q)``). Only places inside the image are brought to the masks'
resolution, and only for points with a mask that is kept; their predicted IoU is computed first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock, TwoWayTransformer
from torch import Tensor, nn

from stage1_sam_cache.sam.mask_filters import places


class SharedMaskDecoder(MaskDecoder):
    """SAM's mask decoder with a ``decode`` for many points of one image; its ``forward`` is SAM's own."""

    def decode(
        self,
        image_embedding: Tensor,
        image_pe: Tensor,
        prompts: Tensor,
        no_mask: Tensor,
        inside: tuple[int, int] | None = None,
        keep_by_iou: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the masks of every point, three per point at most.

        Args:
            image_embedding: ``(1, C, h, w)``.
            image_pe: Its positional encoding, same shape.
            prompts: Sparse embeddings ``(N, T, C)``.
            no_mask: The embedding ``(C,)`` that stands for the absence of a mask prompt.
            inside: Rows and columns of the embedding that show the image; the rest is padding and gives no masks.
            keep_by_iou: Maps the predicted IoU ``(N, 3)`` to bool, True for masks to keep; None keeps all.

        Returns:
            The kept masks, ordered by point: logits ``(K, 4 rows, 4 columns)``, predicted IoU ``(K,)`` and index
            among the ``3 N``, int64 ``(K,)``.
        """
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(len(prompts), -1, -1), prompts], 1)
        attended = attend(self.transformer, image_embedding + no_mask[:, None, None], image_pe, tokens)
        iou = self.iou_prediction_head(conclude(self.transformer, attended, slice(0, 1))[:, 0])[:, 1:].float()
        keep = torch.ones_like(iou, dtype=torch.bool) if keep_by_iou is None else keep_by_iou(iou)
        # The one wait: how many points and masks are kept.
        of_point = keep.any(1)
        point_count, mask_count = torch.stack([of_point.sum(), keep.sum()]).tolist()
        points, kept = places(of_point, point_count), places(keep.flatten(), mask_count)
        attended = attended.of(points)
        height, width = inside or image_embedding.shape[-2:]
        shown = attended.places.unflatten(1, image_embedding.shape[-2:])[:, :height, :width]
        fine = self._upscale(shown.flatten(1, 2))  # (P, 16 h w, C / 8), by place, then by its 4 x 4
        mlps = self.output_hypernetworks_mlps[1:]
        answers = conclude(self.transformer, attended, slice(2, 2 + len(mlps)))
        weights = torch.stack([mlp(answers[:, i]) for i, mlp in enumerate(mlps)], 1)
        rank = of_point.cumsum(0) - 1  # of a kept point among them
        masks = (weights @ fine.transpose(1, 2)).flatten(0, 1)[3 * rank[kept // 3] + kept % 3]
        # (K, h, w, 2, 2, 2, 2): each upscaling split a place into rows and columns.
        masks = masks.view(len(masks), height, width, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        return masks.reshape(-1, 4 * height, 4 * width).float(), iou.flatten()[kept], kept

    def _upscale(self, places: Tensor) -> Tensor:
        """Apply both transposed convolutions as matrix products, without moving the places."""
        first, norm, act, second, last = self.output_upscaling
        x = act(_layer_norm_channels(_split_places(first, places), norm))
        return last(_split_places(second, x))


def _split_places(convolution: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Apply a transposed convolution of 2 x 2 with stride 2, ``(P, n, C)`` to ``(P, 4 n, D)``."""
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)  # (C, 4 D)
    assert convolution.bias is not None
    out = F.linear(x, weight.t().to(x.dtype), convolution.bias.repeat(4).to(x.dtype))
    return out.view(len(x), 4 * x.shape[1], convolution.out_channels)


def _layer_norm_channels(x: Tensor, norm: Any) -> Tensor:
    """Apply ``LayerNorm2d`` to channels that come last."""
    return F.layer_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


class Attended(NamedTuple):
    """Tokens of many points and places of their image, after the layers of a ``TwoWayTransformer``.

    Attributes:
        queries: The tokens as the layers gave them, ``(N, T, C)``.
        tokens: The tokens as they were before, same shape.
        places: ``(N, h w, C)``.
        positions: Positional encoding of the places, ``(1, h w, C)``.
    """

    queries: Tensor
    tokens: Tensor
    places: Tensor
    positions: Tensor

    def of(self, points: Tensor) -> Attended:
        """Return the part of these points, int64 ``(P,)``."""
        return Attended(self.queries[points], self.tokens[points], self.places[points], self.positions)


def attend(transformer: TwoWayTransformer, image: Tensor, image_pe: Tensor, tokens: Tensor) -> Attended:
    """Apply the layers of a ``TwoWayTransformer`` to the tokens of many points on one image; ``conclude`` follows.

    Args:
        transformer: Its layers and weights.
        image: ``(1, C, h, w)``.
        image_pe: The same shape.
        tokens: ``(N, T, C)``.
    """
    # Place by place in memory, which a CPU adds and normalises several times as fast.
    positions, places = (maps.flatten(2).transpose(1, 2).contiguous() for maps in (image_pe, image))
    queries = tokens
    for layer in transformer.layers:
        queries, places = _block(layer, queries, places, tokens, positions)
    return Attended(queries, tokens, places, positions)


def conclude(transformer: TwoWayTransformer, attended: Attended, which: slice) -> Tensor:
    """Apply the last attention of a ``TwoWayTransformer`` for some tokens of every point, ``(N, tokens, C)``."""
    queries, q = attended.queries[:, which], (attended.queries + attended.tokens)[:, which]
    seen = _plus(attended.places, attended.positions)
    queries = queries + _tokens_to_image(transformer.final_attn_token_to_image, q, seen, attended.places)
    return transformer.norm_final_attn(queries)


def _block(
    layer: TwoWayAttentionBlock, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
) -> tuple[Tensor, Tensor]:
    if layer.skip_first_layer_pe:
        queries = layer.self_attn(q=queries, k=queries, v=queries)
    else:
        q = queries + query_pe
        queries = queries + layer.self_attn(q=q, k=q, v=queries)
    queries = layer.norm1(queries)
    seen = _plus(keys, key_pe)
    queries = layer.norm2(queries + _tokens_to_image(layer.cross_attn_token_to_image, queries + query_pe, seen, keys))
    queries = layer.norm3(queries + layer.mlp(queries))
    keys = layer.norm4(_add_tokens(keys, layer.cross_attn_image_to_token, seen, queries + query_pe, queries))
    return queries, keys


def _plus(keys: Tensor, pe: Tensor) -> Tensor:
    return keys + pe.to(keys.dtype)


def _heads(x: Tensor, attention: Attention) -> Tensor:
    """``(N, T, D)`` to ``(N, heads, T, d)``."""
    return x.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)


def _by_head(linear: nn.Linear, attention: Attention, dtype: torch.dtype) -> Tensor:
    """A projection's weight as ``(heads, d, C)``."""
    return linear.weight.unflatten(0, (attention.num_heads, -1)).to(dtype)


def _tokens_to_image(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of tokens ``(N, T, C)`` over places ``(N or 1, n, C)``.

    The bias of ``k_proj`` adds the same to all logits of a token, which softmax ignores.
    """
    q = _heads(attention.q_proj(q), attention)
    scale = q.shape[-1] ** -0.5
    if len(k) == 1:  # one image for all points: its projections are computed once
        key, value = _heads(attention.k_proj(k), attention)[0], _heads(attention.v_proj(v), attention)[0]
        n, heads, t, d = q.shape
        rows = q.transpose(0, 1).reshape(heads, n * t, d)
        out = F.scaled_dot_product_attention(rows[None], key[None], value[None])[0]
        out = out.view(heads, n, t, d).permute(1, 2, 0, 3)
    else:
        moved = (q @ _by_head(attention.k_proj, attention, q.dtype)).flatten(1, 2)  # (N, heads T, C)
        mean = F.scaled_dot_product_attention(
            moved[:, None], k[:, None].to(q.dtype), v[:, None].to(q.dtype), scale=scale
        )
        mean = mean[:, 0].unflatten(1, (attention.num_heads, -1))  # (N, heads, T, C)
        out = mean @ _by_head(attention.v_proj, attention, q.dtype).transpose(1, 2)
        out = out.transpose(1, 2) + attention.v_proj.bias.view(attention.num_heads, -1).to(q.dtype)
    return attention.out_proj(out.flatten(2))


def _add_tokens(places: Tensor, attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Places ``(N or 1, n, C)`` and their attention over tokens: q as the places, k and v ``(N, T, C)``."""
    k = _heads(attention.k_proj(k), attention)
    v = _heads(attention.v_proj(v), attention)
    n, heads, t, d = k.shape
    k = k * d**-0.5
    # Logits and shares are (N, heads, T, n): a softmax over tokens of the last axis takes a CPU ten times as long.
    if len(q) == 1:
        query = _heads(attention.q_proj(q), attention)[0]  # (heads, n, d)
        logits = k.transpose(0, 1).reshape(heads, n * t, d) @ query.transpose(1, 2)
        share = logits.view(heads, n, t, -1).softmax(2).transpose(0, 1).flatten(1, 2)
    else:
        moved = (k @ _by_head(attention.q_proj, attention, k.dtype)).flatten(1, 2)  # (N, heads T, C)
        bias = (k * attention.q_proj.bias.view(heads, 1, d).to(k.dtype)).sum(3).flatten(1)  # (N, heads T)
        logits = torch.baddbmm(bias[..., None], moved, q.to(k.dtype).transpose(1, 2))
        share = logits.unflatten(1, (heads, t)).softmax(2).flatten(1, 2)
    out = attention.out_proj.weight.unflatten(1, (heads, -1)).permute(1, 2, 0).to(v.dtype)  # (heads, d, C)
    # The shares of a head sum to 1, so that a part of the bias in every row adds all of it.
    moved = (v @ out + (attention.out_proj.bias / heads).to(v.dtype)).flatten(1, 2)  # (N, heads T, C)
    return torch.baddbmm(places.to(v.dtype), share.to(v.dtype).transpose(1, 2), moved)
