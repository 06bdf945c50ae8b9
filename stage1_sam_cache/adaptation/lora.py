"""Low-rank updates of chosen rows of a linear layer (LoRA), and where WeSAM puts them: queries and values of SAM.

OmniSAM puts them into the blocks of SAM 2 (``stage2_distill/omnisam/features.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn

from stage1_sam_cache.sam.adapter import LAYER, updated_rows


class LowRank(nn.Module):
    """The update ``B A`` of some rows of a weight: ``a`` is ``(rank, in)``, ``b`` ``(rows, rank)`` and 0 at first."""

    def __init__(self, rows: int, columns: int, rank: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, columns))
        self.b = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.a, a=sqrt(5), generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., rows)``."""
        return F.linear(F.linear(x, self.a), self.b)


class LowRankRows(nn.Module):
    """A frozen linear layer, some rows of whose weight have low-rank updates: ``W[rows] + B A``.

    Fused layers (queries, keys and values in one) get an update of their own for each part. The updates are submodules
    by their names. While ``updated`` is False the layer is the frozen one.

    Args:
        linear: The layer; it is frozen and not copied.
        rows: Rows of the weight by name.
        rank: Of each update.
        generator: Draws the initial ``A``; with ``B`` 0 the layer's outputs do not change at first.
    """

    def __init__(
        self, linear: nn.Linear, rows: Mapping[str, slice], rank: int = 4, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.rows = dict(rows)
        self.updated = True
        for name, part in self.rows.items():
            size = len(range(*part.indices(linear.out_features)))
            self.add_module(name, LowRank(size, linear.in_features, rank, generator))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        y = self.linear(x)
        if not self.updated:
            return y
        for name, part in self.rows.items():
            y[..., part] += self.get_submodule(name)(x)
        return y


def attach(sam: Sam, rank: int = 4, seed: int = 0) -> dict[str, nn.Parameter]:
    """Freeze a SAM and add updates to queries and values of every block of its image encoder, in place.

    Args:
        sam: The model.
        rank: Of each update.
        seed: Of the initial values.

    Returns:
        What is trained, as ``attached``.
    """
    generator = torch.Generator().manual_seed(seed)
    sam.requires_grad_(False)
    update_blocks(sam.image_encoder.blocks, rank, generator)
    return attached(sam)


def update_blocks(
    blocks: Iterable[Any],
    rank: int = 4,
    generator: torch.Generator | None = None,
    rows: Callable[[nn.Linear], Mapping[str, slice]] = updated_rows,
) -> None:
    """Freeze the fused layer ``attn.qkv`` of transformer blocks and add updates to it, in place.

    Args:
        blocks: Modules, SAM's or SAM 2's.
        rank: Of each update.
        generator: Draws the initial values; PyTorch's own by default.
        rows: Tells which rows of a layer are updated.
    """
    for block in blocks:
        block.attn.qkv = LowRankRows(block.attn.qkv, rows(block.attn.qkv), rank, generator)


@contextmanager
def without_updates(sam: Sam) -> Iterator[None]:
    """Let a SAM be what it was before ``attach``, bit for bit; so the original needs no memory of its own."""
    layers = [block.attn.qkv for block in sam.image_encoder.blocks]
    for layer in layers:
        layer.updated = False
    try:
        yield
    finally:
        for layer in layers:
            layer.updated = True


def attached(sam: Sam) -> dict[str, nn.Parameter]:
    """Return the parameters of all updates of a SAM, under the names of an adapter file (``sam.adapter``)."""
    return {name: value for name, value in sam.image_encoder.named_parameters() if LAYER.fullmatch(name)}
