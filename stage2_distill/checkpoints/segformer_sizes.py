"""The sizes of SegFormer, and which of them a set of weights is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch


class Size(NamedTuple):
    """Channels of the first level, blocks of each level, channels of the authors' head; mmseg's head has 256."""

    width: int
    blocks: tuple[int, ...]
    head: int


SIZES = {
    'b0': Size(32, (2, 2, 2, 2), 256),
    'b1': Size(64, (2, 2, 2, 2), 256),
    'b2': Size(64, (3, 4, 6, 3), 768),
    'b3': Size(64, (3, 4, 18, 3), 768),
    'b4': Size(64, (3, 8, 27, 3), 768),
    'b5': Size(64, (3, 6, 40, 3), 768),
}
LAYOUTS = ('mmseg', 'authors')
HEADS = (1, 2, 5, 8)  # of attention, by level; a level's channels are as many times those of the first
_NORM = 'decode_head.convs.0.bn.weight'  # which the authors' head does not have
_PROJECTION = 'decode_head.convs.0.conv.weight'


def size_of(weights: Mapping[str, Any]) -> tuple[str, str] | None:
    """Size and layout of a whole SegFormer.

    Args:
        weights: Under the names of mmseg.

    Returns:
        A key of ``SIZES`` and one of ``LAYOUTS``; None if it is another network, or one of other sizes.
    """
    first = weights.get('backbone.layers.0.0.projection.weight')
    if not isinstance(first, torch.Tensor) or _PROJECTION not in weights:
        return None
    blocks = tuple(blocks_of(weights, level) for level in range(len(HEADS)))
    found = [name for name, size in SIZES.items() if (size.width, size.blocks) == (len(first), blocks)]
    return (found[0], LAYOUTS[_NORM not in weights]) if found else None


def blocks_of(weights: Mapping[str, Any], level: int) -> int:
    """The number of blocks of a level, from 0."""
    start = f'backbone.layers.{level}.1.'
    return len({name.removeprefix(start).partition('.')[0] for name in weights if name.startswith(start)})
