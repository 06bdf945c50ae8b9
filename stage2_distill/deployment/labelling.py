"""One image to its labels: whole or in windows, in memory that does not grow with classes times pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.geometry.windows import WindowGrid, WindowSettings
from stage2_distill.deployment.enlarge import enlarged_labels
from stage2_distill.deployment.fitting import seam_columns
from stage2_distill.deployment.student import Enlarge, Student

Pixels = NDArray[np.uint8]
CELL = 4  # pixels; logits of windows meet on a grid of such cells, the resolution of SegFormer's logits


def label_whole(student: Student, pixels: Pixels, wrap: bool = False, enlarge: Enlarge = enlarged_labels) -> Pixels:
    """Label an image that the student sees at once.

    Args:
        student: The network.
        pixels: RGB, uint8 ``(H, W, 3)``.
        wrap: Let it see an eighth of the image across the 0/360 degree seam at each border.
        enlarge: Makes what is returned of the network's logits.

    Returns:
        Class ids, uint8 ``(H, W)``; with ``enlarged_with_confidence`` ``(2, H, W)``.

    Raises:
        NotFiniteError: If a logit is NaN or infinite.
    """
    return student.label(pixels, seam_columns(pixels.shape[1], wrap), enlarge)


@torch.no_grad()
def label_in_windows(
    student: Student,
    pixels: Pixels,
    settings: WindowSettings,
    progress: Callable[[int, int], None] = lambda *_: None,
    enlarge: Enlarge = enlarged_labels,
) -> Pixels:
    """Label an image in windows whose logits are averaged where they overlap, as mmseg's ``slide_inference`` does.

    mmseg adds up logits at the image's size, three times ``(C, H, W)`` at once. Here they are added up at the
    network's resolution, on a grid of cells of 4x4 pixels, and enlarged once. With ``settings.wrap`` columns are
    cyclic: windows run across the 0/360 degree seam like across any other place.

    Args:
        student: The network.
        pixels: RGB, uint8 ``(H, W, 3)``.
        settings: Windows and strides in pixels, rounded to whole cells.
        progress: Called with the number of finished windows and of all.
        enlarge: Makes what is returned of the averaged logits.

    Returns:
        Class ids, uint8 ``(H, W)``; with ``enlarged_with_confidence`` ``(2, H, W)``.

    Raises:
        NotFiniteError: If a logit is NaN or infinite.
    """
    size = pixels.shape[0], pixels.shape[1]
    grid = cell_grid(settings, size)
    total, windows_at = None, torch.zeros(grid.height, grid.width, device=student.mean.device)
    for index, box in enumerate(grid.windows):
        crop, padding = cut_pixels(pixels, grid, box)
        logits = student.small_logits(crop, padding)
        if logits.shape[-2:] != (box.height, box.width):
            logits = F.interpolate(logits[None], (box.height, box.width), mode='bilinear', align_corners=False)[0]
        if total is None:
            total = logits.new_zeros(len(logits), grid.height, grid.width)
        for region, columns in grid.regions(box):
            total[region] += logits[..., columns]
            windows_at[region] += 1
        progress(index + 1, len(grid.windows))
    assert total is not None
    labels = _enlarge(total.div_(windows_at), size, settings.wrap, enlarge)
    return labels.cpu().numpy()


def _enlarge(cells: Tensor, size: tuple[int, int], wrap: bool, enlarge: Enlarge) -> Tensor:
    """Labels of cells; with ``wrap`` the first and last columns are interpolated with each other."""
    if not wrap:
        return enlarge(cells, size)
    cells = torch.cat([cells[..., -1:], cells, cells[..., :1]], -1)
    return enlarge(cells, (size[0], size[1] + 2 * CELL))[..., CELL:-CELL]


def cell_grid(settings: WindowSettings, size: tuple[int, int]) -> WindowGrid:
    """Return the windows over an image, in cells; a window is at most as large as the image."""
    height, width = (-(-side // CELL) for side in size)
    window = min(-(-settings.window[0] // CELL), height), min(-(-settings.window[1] // CELL), width)
    strides = [min(max(1, stride // CELL), side) for stride, side in zip(settings.strides, window, strict=True)]
    return WindowSettings(window, (strides[0], strides[1]), settings.wrap).over(height, width)


def cut_pixels(pixels: Pixels, grid: WindowGrid, box: Box) -> tuple[Pixels, tuple[int, int]]:
    """Cut the pixels of a window out of an image.

    Args:
        pixels: ``(H, W, 3)``.
        grid: Of cells.
        box: One of its windows, in cells.

    Returns:
        The pixels, and how many rows and columns the image lacks to fill the last cells.
    """
    width = pixels.shape[1]
    top, rows, columns = CELL * box.top, CELL * box.height, CELL * box.width
    band = pixels[top : top + rows]
    if grid.wrap:
        # Cells are a little under 4 pixels wide where the width is no multiple of 4.
        left = round(box.left * width / grid.width)
        if left + columns > width:
            crop = band[:, np.arange(left, left + columns) % width]
        else:
            crop = band[:, left : left + columns]
    else:
        crop = band[:, CELL * box.left : CELL * box.left + columns]
    return crop, (rows - crop.shape[0], columns - crop.shape[1])
