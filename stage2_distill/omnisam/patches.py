"""Windows in native pixels, and the square patches of them that the network works on.

The grid stays in native pixels, so that it is the grid of the mask cache and of GoodSAM as well; a window of any shape
becomes a square patch, which the memory attention needs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stage1_sam_cache.errors import InputSizeError
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.geometry.window_batch import cut_windows, outside


def cut_patches(panoramas: Tensor, grid: WindowGrid, size: int) -> Tensor:
    """Cut all windows and resize each to a square patch, bicubic.

    Args:
        panoramas: Normalised images, floating point ``(B, 3, H, W)``.
        grid: Windows over them.
        size: S, the side of a patch.

    Returns:
        ``(B, n, 3, S, S)``; padding of windows is 0.

    Raises:
        ValueError: If the panoramas are not as large as the grid's.
    """
    return to_patches(cut_windows(panoramas, grid), size)


def to_patches(windows: Tensor, size: int) -> Tensor:
    """Resize windows ``(B, n, 3, h, w)`` to square patches ``(B, n, 3, S, S)``, bicubic."""
    if windows.shape[-2:] == (size, size):
        return windows
    # Antialiased, as Pillow's bicubic filter is: smooth also where a window is larger than the patch.
    patches = F.interpolate(windows.flatten(0, 1), (size, size), mode='bicubic', align_corners=False, antialias=True)
    return patches.unflatten(0, windows.shape[:2])


def cut_label_patches(labels: Tensor, grid: WindowGrid, size: int, ignored: int = 255) -> Tensor:
    """Cut the labels of all windows and resize them, nearest.

    Args:
        labels: Of any integer type, ``(B, H, W)``.
        grid: Windows over them.
        size: S, the side of a patch.
        ignored: Label where a window reaches past the panorama.

    Returns:
        ``(B, n, S, S)`` of the same type.

    Raises:
        ValueError: If the labels are not as large as the grid's panorama.
    """
    windows = cut_windows(labels, grid)
    padding = outside(grid, labels.device)
    if padding is not None:
        windows = windows.masked_fill(padding, ignored)
    rows, columns = (nearest_places(side, size, labels.device) for side in grid.window)
    return windows[..., rows[:, None], columns]


def window_logits(logits: Tensor, grid: WindowGrid) -> Tensor:
    """Resize logits of patches to the size of their windows, bilinear.

    Args:
        logits: Of square patches, ``(..., C, S, S)``.
        grid: The windows.

    Returns:
        ``(..., C, h, w)``.

    Raises:
        InputSizeError: If the patches are not square.
    """
    side = logits.shape[-1]
    if logits.shape[-2] != side:
        raise InputSizeError(
            f'logits of {logits.shape[-2]}x{side} pixels are not of square patches',
            'cut patches with cut_patches, which resizes windows of any shape to squares',
        )
    if (side, side) == grid.window:
        return logits
    maps = logits.reshape(-1, *logits.shape[-3:])
    return F.interpolate(maps, grid.window, mode='bilinear', align_corners=False).reshape(
        *logits.shape[:-2], *grid.window
    )


def nearest_places(source: int, target: int, device: torch.device) -> Tensor:
    """Return for each pixel of ``target`` the pixel of ``source`` that its centre lies in, int64 ``(target,)``."""
    # (i + 1/2) source / target, rounded down, in whole numbers.
    return (2 * torch.arange(target, device=device) + 1) * source // (2 * target)
