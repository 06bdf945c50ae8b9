"""Weights as 8-bit integers: a quarter of float32's bytes, for networks that come with the package.

A tensor ``x`` of two or more axes is kept as int8, with ``x.scale``, float16, one value a row of the first axis; all
other tensors stay as they are. The value is int8 x scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = '.scale'


def quantize(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round floating-point tensors of two or more rows and axes to int8, the largest magnitude of a row to 127.

    Other tensors stay as they are: one scale for a whole tensor would be too coarse.
    """
    kept: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if not weight.is_floating_point() or weight.ndim < 2 or len(weight) < 2:
            kept[name] = weight
            continue
        scale = (weight.float().flatten(1).abs().amax(1) / 127).half()
        steps = weight.float() / scale.float().clamp(min=1e-12).view(-1, *[1] * (weight.ndim - 1))
        kept[name], kept[name + SCALE] = steps.round().clamp(-127, 127).to(torch.int8), scale
    return kept


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
