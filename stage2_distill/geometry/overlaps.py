"""Overlaps of a whole batch as tensors: both windows' view of them, and what lies there in a panorama."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.geometry.window_batch import cut_boxes


class OverlapGroup(NamedTuple):
    """Overlaps that lie at the same place of their windows, so that all of them can be cut at once.

    Attributes:
        members: Their indices in ``grid.overlaps``.
        axis: ``'columns'`` or ``'rows'``, as in ``geometry.windows.Overlap``.
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


@lru_cache(maxsize=8)
def overlap_groups(grid: WindowGrid) -> tuple[OverlapGroup, ...]:
    """Group all overlaps of a grid; the paper's six are one group."""
    groups: dict[tuple[object, ...], OverlapGroup] = {}
    for index, overlap in enumerate(grid.overlaps):
        box = grid.valid(overlap.box)
        corners = []
        for window in (grid.windows[overlap.first], grid.windows[overlap.second]):
            left = box.left - window.left
            corners.append((box.top - window.top, left % grid.width if grid.wrap else left))
        key = (overlap.axis, *corners, box.height, box.width)
        if key not in groups:
            at = [(slice(top, top + box.height), slice(left, left + box.width)) for top, left in corners]
            groups[key] = OverlapGroup([], overlap.axis, [], [], [], at[0], at[1])
        group = groups[key]
        group.members.append(index)
        group.boxes.append(box)
        group.first.append(overlap.first)
        group.second.append(overlap.second)
    return tuple(groups.values())


def both_sides(windows: Tensor, group: OverlapGroup) -> tuple[Tensor, Tensor]:
    """Cut a group's overlaps out of windows i and j: ``(B, n, ..., h, w)`` to two of ``(B, m, ..., h', o)``."""
    if torch.is_grad_enabled() and windows.requires_grad:
        return _Sides.apply(windows, group)
    return _sides(windows, group)


def cut_overlaps(panoramas: Tensor, grid: WindowGrid, group: OverlapGroup) -> Tensor:
    """Cut a group's overlaps out of panoramas: ``(B, ..., H, W)`` to ``(B, m, ..., h', o)``."""
    return cut_boxes(panoramas, grid, group.boxes)


def _sides(windows: Tensor, group: OverlapGroup) -> tuple[Tensor, Tensor]:
    first, second = (
        torch.stack([windows[:, i, ..., rows, columns] for i in members], 1)
        for members, (rows, columns) in ((group.first, group.first_at), (group.second, group.second_at))
    )
    return first, second


class _Sides(torch.autograd.Function):
    """Adds the gradients of both sides into the windows, as ``window_batch._Cut`` does for crops."""

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
                whole[:, window, ..., at[0], at[1]].add_(gradient)
        return whole, None
