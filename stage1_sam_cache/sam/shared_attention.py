"""SAM's two-way transformer for many points on one image: the same function of the same weights, up to rounding.

What is the same for all points is computed once per image: projections of the image's places in the first layer, and of
their positions in all layers. The places of a point are not projected at all; the projections are moved to the few
tokens that they are multiplied with, ``(W k) . q = k . (W^T q)``. The positions are not added to the places; they add
``(W pe) . q`` to the logits.

Rows of attention are ordered by token and then by head, so that all heads of a point are one matrix, and each head of
all points is a matrix with a stride.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock, TwoWayTransformer
from torch import Tensor, nn


class Projected(NamedTuple):
    """What tokens and places of a layer meet that is the same for all points.

    In the first layer it is of places with their positions, afterwards of positions alone.

    Attributes:
        keys: For tokens that attend to places, ``(heads, d, n)``.
        queries: For places that attend to tokens, the same shape.
    """

    keys: Tensor
    queries: Tensor


class SharedImage(NamedTuple):
    """What all points of an image share.

    Attributes:
        places: The embedding, place by place, ``(1, n, C)``.
        values: For tokens that attend to places in the first layer, ``(heads, n, d)``.
        layers: One for each layer.
        last_keys: For the last attention, of the positions, ``(heads, d, n)``.
    """

    places: Tensor
    values: Tensor
    layers: tuple[Projected, ...]
    last_keys: Tensor


class Attended(NamedTuple):
    """Tokens and places of many points after the layers of a ``TwoWayTransformer``.

    Attributes:
        queries: The tokens as the layers gave them, ``(N, T, C)``.
        tokens: The tokens as they were before, same shape.
        places: ``(N, n, C)``.
    """

    queries: Tensor
    tokens: Tensor
    places: Tensor


def share(transformer: TwoWayTransformer, image: Tensor, image_pe: Tensor) -> SharedImage:
    """Compute what all points of an image share; ``attend`` follows.

    Args:
        transformer: Its layers and weights.
        image: ``(1, C, h, w)``.
        image_pe: Its positional encoding, same shape.
    """
    # Place by place in memory, which a CPU adds and normalises several times as fast.
    positions, places = (maps.flatten(2).transpose(1, 2).contiguous() for maps in (image_pe, image))
    seen, layers = places + positions, []
    for layer in transformer.layers:
        to_image, to_tokens = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        layers.append(Projected(*(_split(x, to_image).mT for x in (to_image.k_proj(seen), to_tokens.q_proj(seen)))))
        seen = positions
    first, last = transformer.layers[0].cross_attn_token_to_image, transformer.final_attn_token_to_image
    return SharedImage(
        places, _split(first.v_proj(places), first), tuple(layers), _split(last.k_proj(positions), last).mT
    )


def attend(transformer: TwoWayTransformer, image: SharedImage, tokens: Tensor) -> Attended:
    """Apply the layers of a ``TwoWayTransformer`` to tokens ``(N, T, C)`` of many points; ``conclude`` follows."""
    queries, places = tokens, None
    for layer, projected in zip(transformer.layers, image.layers, strict=True):
        queries, places = _block(layer, queries, tokens, places, projected, image)
    assert places is not None
    return Attended(queries, tokens, places)


def conclude(transformer: TwoWayTransformer, image: SharedImage, attended: Attended, which: list[slice]) -> Tensor:
    """Apply the last attention of a ``TwoWayTransformer`` for some tokens of every point, ``(N, tokens, C)``."""
    queries, tokens = (torch.cat([x[:, some] for some in which], 1) for x in (attended.queries, attended.tokens))
    attention = transformer.final_attn_token_to_image
    seen = _tokens_to_places(attention, queries + tokens, attended.places, image.last_keys)
    return transformer.norm_final_attn(queries + seen)


def _block(
    layer: TwoWayAttentionBlock,
    queries: Tensor,
    query_pe: Tensor,
    places: Tensor | None,
    projected: Projected,
    image: SharedImage,
) -> tuple[Tensor, Tensor]:
    """Apply a layer to tokens ``(N, T, C)`` and places ``(N, n, C)``, which are overwritten; None: the image's."""
    q = queries if layer.skip_first_layer_pe else queries + query_pe
    attended = layer.self_attn(q=q, k=q, v=queries)
    queries = layer.norm1(attended if layer.skip_first_layer_pe else queries + attended)
    attention, q = layer.cross_attn_token_to_image, queries + query_pe
    if places is None:
        seen = _tokens_to_shared(attention, q, projected.keys.mT, image.values)
    else:
        seen = _tokens_to_places(attention, q, places, projected.keys)
    queries = layer.norm2(queries + seen)
    queries = layer.norm3(queries + layer.mlp(queries))
    attention, k = layer.cross_attn_image_to_token, queries + query_pe
    share, added = _places_to_tokens(attention, k, queries, places, projected.queries)
    if torch.compiler.is_compiling():  # which joins the sum with the normalisation
        places = (image.places if places is None else places) + share.mT @ added
    elif places is None:
        places = torch.baddbmm(image.places.to(added.dtype), share.mT, added)
    else:
        places.baddbmm_(share.mT, added)
    return queries, layer.norm4(places)


def _split(x: Tensor, attention: Attention) -> Tensor:
    """``(N, T, heads d)`` to ``(heads, N T, d)``, a view."""
    return x.flatten(0, 1).unflatten(1, (attention.num_heads, -1)).transpose(0, 1)


def _weight(linear: nn.Linear, attention: Attention) -> Tensor:
    """A projection's weight as ``(heads, d, C)``."""
    return linear.weight.unflatten(0, (attention.num_heads, -1))


def _by_head(rows: Tensor, matrices: Tensor, points: int) -> Tensor:
    """Multiply ``(heads, N T, d)`` by the matrix of each head, ``(heads, d, m)``, to rows ``(N, T heads, m)``."""
    heads, count, _ = rows.shape
    if torch.compiler.is_compiling():  # it can't follow a product into a tensor that is transposed
        return torch.bmm(rows, matrices.to(rows.dtype)).transpose(0, 1).reshape(points, -1, matrices.shape[2])
    out = rows.new_empty(count, heads, matrices.shape[2])
    torch.bmm(rows, matrices.to(rows.dtype), out=out.transpose(0, 1))
    return out.view(points, -1, out.shape[2])


def _tokens_to_shared(attention: Attention, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of tokens ``(N, T, C)`` over places that are the same for all points, ``(heads, n, d)``."""
    rows = _split(attention.q_proj(q), attention)
    out = F.scaled_dot_product_attention(rows[None], keys[None], values[None])[0]
    return attention.out_proj(out.transpose(0, 1).reshape(*q.shape[:2], -1))


def _tokens_to_places(attention: Attention, q: Tensor, places: Tensor, position_keys: Tensor) -> Tensor:
    """Attention of tokens ``(N, T, C)`` over their point's places ``(N, n, C)``.

    Args:
        attention: Its weights; the bias of ``k_proj`` adds the same to all logits of a token, which softmax ignores.
        q: Tokens.
        places: Keys without their positions, and values.
        position_keys: Projected positions of the keys, ``(heads, d, n)``.
    """
    count, heads = len(q), attention.num_heads
    rows = _split(attention.q_proj(q), attention)
    rows = rows * rows.shape[2] ** -0.5
    moved = _by_head(rows, _weight(attention.k_proj, attention), count)
    bias = _by_head(rows, position_keys, count)
    seen, moved = places[:, None].to(q.dtype), moved[:, None]
    mean = F.scaled_dot_product_attention(moved, seen, seen, bias[:, None], scale=1.0)
    rows = mean.view(-1, heads, mean.shape[3]).transpose(0, 1)  # (heads, N T, C)
    out = _by_head(rows, _weight(attention.v_proj, attention).mT, count).view(*q.shape[:2], -1)
    return attention.out_proj(out + attention.v_proj.bias.to(q.dtype))


def _places_to_tokens(
    attention: Attention, k: Tensor, v: Tensor, places: Tensor | None, queries: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention of places over tokens, as two matrices whose product ``share^T added`` is its result.

    Args:
        attention: Its weights.
        k: Keys of the tokens, ``(N, T, C)``.
        v: Values of the tokens, same shape.
        places: Queries of each point without their positions, ``(N, n, C)``; None if ``queries`` hold them.
        queries: Projected queries that are the same for all points, ``(heads, d, n)``.

    Returns:
        Shares ``(N, T heads, n)`` and what is added by each, ``(N, T heads, C)``.
    """
    count, tokens, _ = k.shape
    rows = _split(attention.k_proj(k), attention)
    rows = rows * rows.shape[2] ** -0.5
    logits = _by_head(rows, queries, count)
    if places is not None:
        own = _by_head(rows, _weight(attention.q_proj, attention), count), places.to(logits.dtype).mT
        logits = logits + torch.bmm(*own) if torch.compiler.is_compiling() else logits.baddbmm_(*own)
    # Laid out so that places come last: a softmax over tokens of the last axis takes a CPU ten times as long.
    share = logits.view(count, tokens, -1).softmax(1).view_as(logits)
    out = attention.out_proj.weight.unflatten(1, (attention.num_heads, -1)).permute(1, 2, 0)  # (heads, d, C)
    added = _by_head(_split(attention.v_proj(v), attention), out, count)
    # The shares of a head sum to 1, so that a part of the bias in every row adds all of it.
    return share, added + (attention.out_proj.bias / attention.num_heads).to(added.dtype)
