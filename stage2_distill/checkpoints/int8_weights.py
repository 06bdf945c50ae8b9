"""Weights as 8-bit integers: a quarter of float32's bytes, for networks that come with the package.

A tensor ``x`` of two or more axes is kept as int8, with ``x.scale``, float16, one value a row of the first axis; all
other tensors stay as they are. The value is int8 x scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = '.scale'


def dequantize(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn int8 tensors back to float32; weights without any are returned as they are.

    Raises:
        ValueError: If an int8 tensor has no scale, or the scale is not one finite value a row.
    """
    rounded = {name for name, weight in weights.items() if weight.dtype == torch.int8}
    kept = {name: weight for name, weight in weights.items() if name.removesuffix(SCALE) not in rounded}
    for name in rounded:
        scale = weights.get(name + SCALE)
        if scale is None:
            raise ValueError(f'{name} is int8 and has no {name}{SCALE}')
        weight = weights[name]
        if weight.ndim < 1 or tuple(scale.shape) != tuple(weight.shape[:1]) or not scale.isfinite().all():
            raise ValueError(f'{name}{SCALE} is not one finite value for each row of {tuple(weight.shape)}')
        kept[name] = weight.float() * scale.float().view(-1, *[1] * (weight.ndim - 1))
    return {name: kept[name] for name in weights if name in kept}
