"""Windows of native pixels and the square patches that the network sees of them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.geometry.window_batch import cut_windows


def cut_patches(panoramas: Tensor, grid: WindowGrid, size: int) -> Tensor:
    """Cut all windows and resize each to a square patch: ``(B, 3, H, W)`` to ``(B, n, 3, size, size)``, bicubic."""
    windows = cut_windows(panoramas, grid)
    # Pillow's bicubic filter: smooth where an axis shrinks.
    patches = F.interpolate(windows.flatten(0, 1), (size, size), mode='bicubic', align_corners=False, antialias=True)
    return patches.unflatten(0, windows.shape[:2])


def cut_label_patches(labels: Tensor, grid: WindowGrid, size: int, ignored: int = 255) -> Tensor:
    """Cut the labels of all windows and resize them: int64 ``(B, H, W)`` to ``(B, n, size, size)``, nearest.

    Where a window reaches over the panorama's border its labels are ``ignored``.
    """
    raise NotImplementedError


def window_logits(logits: Tensor, grid: WindowGrid) -> Tensor:
    """Resize logits of patches to the size of their windows: ``(..., C, S, S)`` to ``(..., C, h, w)``, bilinear."""
    raise NotImplementedError
