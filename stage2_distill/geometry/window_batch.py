"""Windows and overlaps of a whole batch as tensors: ``(B, ..., H, W)`` to ``(B, n, ..., h, w)`` and back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stage1_sam_cache.geometry.windows import Box, WindowGrid


class OverlapGroup(NamedTuple):
    """Overlaps that lie alike in their windows, so that all of them can be cut at once.

    Attributes:
        members: Their indices in ``grid.overlaps``.
        axis: ``'columns'`` or ``'rows'``, as in ``windows.Overlap``.
        boxes: Where they lie in the panorama, without padding.
        first, second: Indices of their windows i and j.
        first_at, second_at: Where the overlap lies in the window: rows and columns.
    """

    members: list[int]
    axis: str
    boxes: list[Box]
    first: list[int]
    second: list[int]
    first_at: tuple[slice, slice]
    second_at: tuple[slice, slice]


def overlap_groups(grid: WindowGrid) -> list[OverlapGroup]:
    """All overlaps of a grid; the paper's six are one group."""
    groups: dict[tuple[object, ...], OverlapGroup] = {}
    for index, overlap in enumerate(grid.overlaps):
        box = grid.valid(overlap.box)
        places = []
        for window in (grid.windows[overlap.first], grid.windows[overlap.second]):
            top = box.top - window.top
            left = (box.left - window.left) % grid.width if grid.wrap else box.left - window.left
            places.append((top, left))
        key = (overlap.axis, *places, box.height, box.width)
        if key not in groups:
            at = [(slice(t, t + box.height), slice(left, left + box.width)) for t, left in places]
            groups[key] = OverlapGroup([], overlap.axis, [], [], [], at[0], at[1])
        group = groups[key]
        group.members.append(index)
        group.boxes.append(box)
        group.first.append(overlap.first)
        group.second.append(overlap.second)
    return list(groups.values())


def cut_windows(panoramas: Tensor, grid: WindowGrid) -> Tensor:
    """All windows of every panorama: ``(B, ..., H, W)`` to ``(B, n, ..., h, w)``; padding is 0."""
    return _cut(panoramas, grid, grid.windows)


@lru_cache(maxsize=8)
def places(grid: WindowGrid, device: torch.device) -> Tensor:
    """Where the pixels of every window lie in the panorama, counted row by row; int64 ``(n, h, w)``, 0 in padding."""
    return cut_windows(torch.arange(grid.height * grid.width, device=device).view(1, grid.height, -1), grid)[0]


def stitch_windows(windows: Tensor, grid: WindowGrid, mode: str = 'owners') -> Tensor:
    """The panoramas that windows make up: ``(B, n, ..., h, w)`` to ``(B, ..., H, W)``, as ``WindowGrid.stitch``."""
    return grid.stitch(windows.transpose(0, 1), mode)  # type: ignore[arg-type]


def both_sides(windows: Tensor, group: OverlapGroup) -> tuple[Tensor, Tensor]:
    """A group's overlaps seen from windows i and j: ``(B, n, ..., h, w)`` to two of ``(B, m, ..., h', o)``."""
    if torch.is_grad_enabled() and windows.requires_grad:
        return _Sides.apply(windows, group)
    return _sides(windows, group)


def _sides(windows: Tensor, group: OverlapGroup) -> tuple[Tensor, Tensor]:
    left, right = group.first_at, group.second_at
    return windows[:, group.first, ..., left[0], left[1]], windows[:, group.second, ..., right[0], right[1]]


def cut_overlaps(panoramas: Tensor, grid: WindowGrid, group: OverlapGroup) -> Tensor:
    """A group's overlaps cut out of panoramas: ``(B, ..., H, W)`` to ``(B, m, ..., h', o)``."""
    return _cut(panoramas, grid, group.boxes)


def outside(grid: WindowGrid, device: torch.device | str = 'cpu') -> Tensor | None:
    """bool ``(n, h, w)``, true in the padding of windows; None for a grid without padding."""
    if all(grid.valid(box) == box for box in grid.windows):
        return None
    inside = torch.ones(grid.height, grid.width, dtype=torch.uint8, device=device)
    return cut_windows(inside[None], grid)[0] == 0


def _cut(panoramas: Tensor, grid: WindowGrid, boxes: list[Box]) -> Tensor:
    if torch.is_grad_enabled() and panoramas.requires_grad:
        return _Cut.apply(panoramas, grid, boxes)
    return torch.stack([grid.crop(panoramas, box) for box in boxes], 1)


class _Cut(torch.autograd.Function):
    """Its gradients meet in one panorama; of crops that are stacked, PyTorch adds up a panorama each."""

    @staticmethod
    def forward(ctx: Any, panoramas: Tensor, grid: WindowGrid, boxes: list[Box]) -> Tensor:
        ctx.grid, ctx.boxes = grid, boxes
        return torch.stack([grid.crop(panoramas, box) for box in boxes], 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None, None]:
        size = (ctx.grid.height, ctx.grid.width)
        whole = gradients.new_zeros(len(gradients), *gradients.shape[2:-2], *size)
        for box, gradient in zip(ctx.boxes, gradients.unbind(1), strict=True):
            valid = ctx.grid.valid(box)
            whole[ctx.grid.region(valid)] += gradient[..., : valid.height, : valid.width]
        return whole, None, None


class _Sides(torch.autograd.Function):
    """As ``_Cut``: gradients of both sides meet in the windows."""

    @staticmethod
    def forward(ctx: Any, windows: Tensor, group: OverlapGroup) -> tuple[Tensor, Tensor]:
        ctx.group, ctx.shape = group, windows.shape
        return _sides(windows, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, left: Tensor, right: Tensor) -> tuple[Tensor, None]:
        group, whole = ctx.group, left.new_zeros(ctx.shape)
        for members, at, gradients in (
            (group.first, group.first_at, left),
            (group.second, group.second_at, right),
        ):
            for window, gradient in zip(members, gradients.unbind(1), strict=True):
                whole[:, window][..., at[0], at[1]] += gradient
        return whole, None
