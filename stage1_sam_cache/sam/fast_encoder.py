"""SAM's image encoder with fewer copies: the same function of the same weights, up to rounding.

- Windows are cut out of the tokens in one copy and added back in place, where segment_anything pads, permutes, permutes
  back and crops, a copy each.
- Attention runs in PyTorch's fused kernel on views of what ``qkv`` gives.
- The products of queries and relative positions are one matrix product for all positions; what belongs to a pair of
  rows or columns is a view of it.
- Where there are many tokens, these products are no bias, which would have a number for each pair of tokens, but more
  numbers of queries and keys: with ``q' = [q, rows, columns]`` and ``k' = [k, row, column of the key, one-hot]``,
  ``q' . k'`` is the sum of all three.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import Attention, Block
from torch import Tensor

_LARGEST_HEAD = 256  # numbers of a head that the fused kernels take


class FewCopiesBlock(Block):
    """A block of the encoder; without gradients it changes its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(B, H, W, C)`` to the same shape."""
        if self.window_size == 0:
            x = x + self.attn(self.norm1(x))
        else:
            attended = self.attn(cut(self.norm1(x), self.window_size))
            x = add_back(x.clone() if torch.is_grad_enabled() else x, attended)
        return x + self.mlp(self.norm2(x))


def cut(tokens: Tensor, side: int) -> Tensor:
    """Cut tokens ``(B, H, W, C)`` into windows ``(B n, side, side, C)``, with zeros beyond the lower and right end."""
    b, height, width, channels = tokens.shape
    rows, columns = -(-height // side), -(-width // side)
    padded = height % side or width % side
    windows = (tokens.new_zeros if padded else tokens.new_empty)(b, rows, columns, side, side, channels)
    for inside, image in _pieces(windows, tokens):
        inside.copy_(image)
    return windows.flatten(0, 2)


def add_back(tokens: Tensor, windows: Tensor) -> Tensor:
    """Add windows, as ``cut`` cuts them, to the tokens in place, and return these."""
    b, height, width, _ = tokens.shape
    side = windows.shape[1]
    windows = windows.view(b, -(-height // side), -(-width // side), *windows.shape[1:])
    for inside, image in _pieces(windows, tokens):
        image.add_(inside)
    return tokens


def _pieces(windows: Tensor, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pair parts of windows ``(B, m, n, side, side, C)`` with the tokens ``(B, H, W, C)`` that they show, both views.

    A part is all windows that are full, or a row or column of those that are not, ``(B, m', n', h, w, C)``.
    """
    side = windows.shape[3]
    for windows_down, image_down, height in _spans(tokens.shape[1], side):
        for windows_right, image_right, width in _spans(tokens.shape[2], side):
            image = tokens[:, image_down, image_right].unflatten(2, (-1, width)).unflatten(1, (-1, height))
            yield windows[:, windows_down, windows_right, :height, :width], image.transpose(2, 3)


def _spans(length: int, side: int) -> Iterator[tuple[slice, slice, int]]:
    """Windows that are full, and the one that is not: which they are, their tokens, and how far each is filled."""
    full, rest = divmod(length, side)
    if full:
        yield slice(0, full), slice(0, full * side), side
    if rest:
        yield slice(full, full + 1), slice(full * side, length), rest


class FusedImageAttention(Attention):
    """The encoder's attention by PyTorch's fused kernels."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, h, w, C)`` to the same shape."""
        b, h, w, _ = x.shape
        q, k, v = self.qkv(x).view(b, h * w, 3, self.num_heads, -1).unbind(2)  # (B, n, heads, d)
        if not self.use_rel_pos:
            out = _attend(q, k, v, self.scale)
        else:
            rows, columns = self._relative(q, h, w)
            wider = q.shape[3] + h + w
            if wider <= _LARGEST_HEAD and 3 * wider < h * w:
                out = _attend_augmented(q, k, v, rows, columns, self.scale)
            else:
                out = _attend(q, k, v, self.scale, _bias(rows, columns))
        return self.proj(out.transpose(1, 2).reshape(b, h, w, -1))

    def _relative(self, q: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
        """Return what the relative rows and columns of keys add to the logits of queries ``(B, n, heads, d)``.

        Returns:
            ``(B, heads, h, w, h)`` and ``(B, heads, h, w, w)``, views of one product where they are not compiled.
        """
        b, n, heads, _ = q.shape
        if torch.compiler.is_compiling():  # the place of a product in memory, which views need, is not known then
            q = q.unflatten(1, (h, w))
            down, right = _between(self.rel_pos_h, h).to(q.dtype), _between(self.rel_pos_w, w).to(q.dtype)
            return torch.einsum('brcnd,rkd->bnrck', q, down), torch.einsum('brcnd,ckd->bnrck', q, right)
        # Relative position r - k + h - 1 of query row r and key row k; backwards, so that it grows with k.
        tables = torch.cat([_table(self.rel_pos_h, h), _table(self.rel_pos_w, w)]).flip(0).to(q.dtype)
        products = q.flatten(0, 1).transpose(0, 1) @ tables.t()  # (heads, B n, positions)
        pitch = products.shape[2]
        batch, head = n * pitch, b * n * pitch
        first = products.storage_offset()
        # The tables are turned as one, so that columns come first.
        columns = products.as_strided((b, heads, h, w, w), (batch, head, w * pitch, pitch - 1, 1), first + w - 1)
        rows = products.as_strided(
            (b, heads, h, w, h), (batch, head, w * pitch - 1, pitch, 1), first + 2 * w - 1 + h - 1
        )
        return rows, columns


def _table(positions: Tensor, side: int) -> Tensor:
    """Return the relative positions of ``side`` places, ``(2 side - 1, d)``."""
    if len(positions) == 2 * side - 1:
        return positions
    return F.interpolate(positions.t()[None], 2 * side - 1, mode='linear')[0].t()


def _between(positions: Tensor, side: int) -> Tensor:
    """Return the relative positions of each query and key along a side, ``(side, side, d)``."""
    places = torch.arange(side, device=positions.device)
    return _table(positions, side)[places[:, None] - places + side - 1]


def _bias(rows: Tensor, columns: Tensor) -> Tensor:
    """Add up ``(B, heads, h, w, h)`` and ``(B, heads, h, w, w)`` for each pair of tokens, ``(B, heads, n, n)``."""
    b, heads, h, w, _ = rows.shape
    if torch.is_grad_enabled() or torch.compiler.is_compiling():  # which can't write into a part of a tensor
        return (rows[..., None] + columns[..., None, :]).reshape(b, heads, h * w, h * w)
    pitch = -(-h * w // 8) * 8  # as the kernels want it, else they copy
    bias = rows.new_empty(b, heads, h * w, pitch)[..., : h * w]
    torch.add(rows[..., None], columns[..., None, :], out=bias.unflatten(3, (h, w)).unflatten(2, (h, w)))
    return bias


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """Attention of ``(B, n, heads, d)``, to ``(B, heads, n, d)``."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, bias, scale=scale)


def _attend_augmented(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    """``_attend`` with the bias of rows and columns as more numbers of queries and keys."""
    h, w = rows.shape[4], columns.shape[4]
    more = [part.flatten(2, 3).transpose(1, 2) for part in (rows, columns)]  # (B, n, heads, h or w)
    q = torch.cat([q, *(part / scale for part in more)], 3)
    row = torch.eye(h, dtype=k.dtype, device=k.device).repeat_interleave(w, 0)
    column = torch.eye(w, dtype=k.dtype, device=k.device).repeat(h, 1)
    place = torch.cat([row, column], 1)[None, :, None].expand(*k.shape[:3], -1)
    out = _attend(q, torch.cat([k, place], 3), F.pad(v, (0, h + w)), scale)
    return out[..., : v.shape[3]]
