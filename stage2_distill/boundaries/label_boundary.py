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
    return _LargestVariation.apply(probabilities, radius, thickness)


class _LargestVariation(torch.autograd.Function):
    """``soft_boundary``; the gradients of all neighbours are added up in one tensor."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, radius: int, thickness: int) -> Tensor:
        ctx.radius, ctx.thickness = radius, thickness
        ctx.dims = [dim for dim in (-2, -1) if p.shape[dim] > radius]
        maps = [_variation(p, dim, radius) for dim in ctx.dims]
        near = _neighbours(maps, ctx)
        largest = near[:1] or [p.new_zeros(*p.shape[:-3], *p.shape[-2:])]
        for distance in near[1:]:
            largest.append(torch.maximum(largest[-1], distance))
        ctx.save_for_backward(p, *maps, *largest[1:-1])
        return largest[-1].clone() if len(largest) == 1 else largest[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        p, *saved = ctx.saved_tensors
        maps, between = saved[: len(ctx.dims)], saved[len(ctx.dims) :]
        flows = [torch.zeros_like(map_) for map_ in maps]
        near, into = (_neighbours(of, ctx) for of in (maps, flows))
        for k in range(len(near) - 1, 0, -1):
            # As PyTorch's maximum: of two that are equal, each gets half. Both numbers are twice the share.
            won = (near[k] - (between[k - 2] if k > 1 else near[0])).sign_().add_(1).mul_(gradient)
            into[k].add_(won, alpha=0.5)
            gradient = torch.sub(gradient, won, alpha=0.5)
        if near:
            into[0].add_(gradient)
        whole = torch.zeros_like(p)
        for dim, flow in zip(ctx.dims, flows, strict=True):
            length = p.shape[dim] - ctx.radius
            inner = flow.narrow(dim, ctx.radius, length).div_(2).unsqueeze(-3)
            change = _difference(p, dim, ctx.radius).sign_().mul_(inner)
            whole.narrow(dim, ctx.radius, length).add_(change)
            whole.narrow(dim, 0, length).sub_(change)
        return whole, None, None


def _variation(p: Tensor, dim: int, radius: int) -> Tensor:
    """Total variation of pixels a radius apart, between two rows or columns of as many zeros: ``(..., h + r, w)``."""
    shape = [*p.shape[:-3], *p.shape[-2:]]
    shape[dim] += radius
    padded = p.new_zeros(shape)
    total = _difference(p, dim, radius).abs_().sum(-3)
    torch.div(total, 2, out=padded.narrow(dim, radius, p.shape[dim] - radius))
    return padded


def _neighbours(maps: list[Tensor], ctx: Any) -> list[Tensor]:
    """What the maps of ``_variation`` hold for each pixel and its next neighbour, and the one before; views."""
    views = []
    for dim, padded in zip(ctx.dims, maps, strict=True):
        size = padded.shape[dim] - ctx.radius
        views += [padded.narrow(dim, ctx.radius, size), padded.narrow(dim, 0, size)][: ctx.thickness]
    return views


def _difference(p: Tensor, dim: int, step: int) -> Tensor:
    length = p.shape[dim] - step
    return p.narrow(dim, step, length) - p.narrow(dim, 0, length)
