"""Boundary maps of a network's prediction (Sec. 3.2): hard ones from labels, soft ones from probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def hard_boundary(labels: Tensor, thickness: int = 2) -> Tensor:
    """Mark pixels with a 4-neighbour of another label inside the crop, as stage 1 does for SAM's maps.

    Args:
        labels: Integer ``(..., h, w)``.
        thickness: 2 marks both sides of an edge; 1 only the upper or left side.

    Returns:
        bool ``(..., h, w)``.

    Raises:
        ValueError: If the thickness is neither 1 nor 2.
    """
    if thickness not in (1, 2):
        raise ValueError(f'boundary thickness {thickness}; 1 or 2 is needed')
    edge = torch.zeros_like(labels, dtype=torch.bool)
    down = labels[..., 1:, :] != labels[..., :-1, :]
    right = labels[..., :, 1:] != labels[..., :, :-1]
    edge[..., :-1, :] |= down
    edge[..., :, :-1] |= right
    if thickness == 2:
        edge[..., 1:, :] |= down
        edge[..., :, 1:] |= right
    return edge


def soft_boundary(probabilities: Tensor, radius: int = 1, thickness: int = 2) -> Tensor:
    """Compute the largest total variation distance between a pixel's distribution and a neighbour's.

    Equals ``hard_boundary`` of the labels where the distributions are one-hot and ``radius`` is 1, and is 0 in flat
    regions however uncertain they are.

    Args:
        probabilities: ``(..., C, h, w)``, summing to 1 over C.
        radius: Distance of the four neighbours in pixels; those outside the crop don't count.
        thickness: As in ``hard_boundary``.

    Returns:
        ``(..., h, w)`` in [0, 1], differentiable almost everywhere.

    Raises:
        ValueError: If the thickness is neither 1 nor 2, or the radius not positive.
    """
    if thickness not in (1, 2) or radius < 1:
        raise ValueError(f'boundary thickness {thickness}, radius {radius}; 1 or 2, and at least 1 are needed')
    p, r = probabilities, radius
    empty = p.new_zeros(*p.shape[:-3], *p.shape[-2:])
    around = []
    if p.shape[-2] > r:
        down = _TotalVariation.apply(p, -2, r)
        rest = empty[..., :r, :]
        around += [torch.cat([down, rest], -2), torch.cat([rest, down], -2)][:thickness]
    if p.shape[-1] > r:
        right = _TotalVariation.apply(p, -1, r)
        rest = empty[..., :, :r]
        around += [torch.cat([right, rest], -1), torch.cat([rest, right], -1)][:thickness]
    for distance in around:
        empty = torch.maximum(empty, distance)
    return empty


class _TotalVariation(torch.autograd.Function):
    """Total variation of pixels ``step`` apart; the gradients of both are added up in one tensor."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, dim: int, step: int) -> Tensor:
        ctx.save_for_backward(p)
        ctx.dim, ctx.step = dim, step
        return _difference(p, dim, step).abs_().sum(-3).div_(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (p,), dim, step = ctx.saved_tensors, ctx.dim, ctx.step
        flow = _difference(p, dim, step).sign_().mul_(gradient.unsqueeze(-3) / 2)
        whole = torch.zeros_like(p)
        whole.narrow(dim, step, flow.shape[dim]).add_(flow)
        whole.narrow(dim, 0, flow.shape[dim]).sub_(flow)
        return whole, None, None


def _difference(p: Tensor, dim: int, step: int) -> Tensor:
    length = p.shape[dim] - step
    return p.narrow(dim, step, length) - p.narrow(dim, 0, length)
