"""Windows of a whole batch as tensors: ``(B, ..., H, W)`` to ``(B, n, ..., h, w)`` and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.geometry.windows import WindowGrid


def cut_windows(panoramas: Tensor, grid: WindowGrid) -> Tensor:
    """Cut all windows out of every panorama: ``(B, ..., H, W)`` to ``(B, n, ..., h, w)``; padding is 0."""
    return cut_boxes(panoramas, grid, grid.windows)


def stitch_windows(windows: Tensor, grid: WindowGrid, mode: str = 'owners') -> Tensor:
    """Put windows together to panoramas: ``(B, n, ..., h, w)`` to ``(B, ..., H, W)``, as ``WindowGrid.stitch``."""
    return grid.stitch(windows.transpose(0, 1), mode)  # type: ignore[arg-type]


@lru_cache(maxsize=8)
def places(grid: WindowGrid, device: torch.device) -> Tensor:
    """Where the pixels of every window lie in the panorama, counted row by row; int64 ``(n, h, w)``, 0 in padding."""
    return cut_windows(torch.arange(grid.height * grid.width, device=device).view(1, grid.height, -1), grid)[0]


@lru_cache(maxsize=8)
def outside(grid: WindowGrid, device: torch.device | str = 'cpu') -> Tensor | None:
    """bool ``(n, h, w)``, true in the padding of windows; None for a grid without padding."""
    if all(grid.valid(box) == box for box in grid.windows):
        return None
    inside = torch.ones(grid.height, grid.width, dtype=torch.uint8, device=device)
    return cut_windows(inside[None], grid)[0] == 0


def cut_boxes(panoramas: Tensor, grid: WindowGrid, boxes: Sequence[Box]) -> Tensor:
    """Cut boxes of one size out of every panorama: ``(B, ..., H, W)`` to ``(B, m, ..., h, w)``; padding is 0."""
    if torch.is_grad_enabled() and panoramas.requires_grad:
        return _Cut.apply(panoramas, grid, boxes)
    return torch.stack([grid.crop(panoramas, box) for box in boxes], 1)


class _Cut(torch.autograd.Function):
    """Adds the gradients of all boxes into one panorama; for stacked crops PyTorch would add up a panorama each."""

    @staticmethod
    def forward(ctx: Any, panoramas: Tensor, grid: WindowGrid, boxes: Sequence[Box]) -> Tensor:
        ctx.grid, ctx.boxes = grid, boxes
        return torch.stack([grid.crop(panoramas, box) for box in boxes], 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None, None]:
        size = (ctx.grid.height, ctx.grid.width)
        whole = gradients.new_zeros(len(gradients), *gradients.shape[2:-2], *size)
        for box, gradient in zip(ctx.boxes, gradients.unbind(1), strict=True):
            valid = ctx.grid.valid(box)
            for region, columns in ctx.grid.regions(valid):
                whole[region].add_(gradient[..., : valid.height, columns])
        return whole, None, None
