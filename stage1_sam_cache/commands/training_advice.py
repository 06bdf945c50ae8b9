"""What training will say about images and windows, said before their masks are made."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from stage1_sam_cache.data.image_sizes import name_sizes, read_sizes
from stage1_sam_cache.geometry.windows import DEFAULT_WINDOWS, WindowGrid, WindowSettings


def warnings_of(paths: Sequence[Path], names: Sequence[str], windows: WindowSettings, max_pixels: int) -> list[str]:
    """Warn of sizes that training can't put into one batch, and of panoramas that it can't mirror.

    Args:
        paths: The images; their headers are read.
        names: Their ids.
        windows: The windows that masks will be made of.
        max_pixels: Larger images are refused.
    """
    sizes = read_sizes(paths, max_pixels).images
    warnings = []
    if len(sizes) > 1:
        warnings.append(
            f'the images have {len(sizes)} sizes: {name_sizes(sizes, names)}; training takes one image at a time then '
            '(tools/train.py ... --cfg-options train_dataloader.batch_size=1)'
        )
    unequal = {size: places for size, places in sizes.items() if not _can_mirror(windows, *size)}
    if unequal:
        other = _other_stride(windows, list(sizes))
        warnings.append(
            f'training cannot mirror {sum(map(len, unequal.values()))} of {len(names)} panoramas with these windows: '
            f'{name_sizes(unequal, names)}; goodsam_b0_own.py leaves them as they are'
            + (f', with --stride {other} all could be mirrored' if other else '')
        )
    return warnings


def training_options(windows: WindowSettings) -> str:
    """The options that a config with the default windows needs for the masks of other windows; empty for those."""
    rows, columns = windows.strides
    values = {
        'window': list(windows.window),
        'stride': columns if rows == windows.window[0] else [rows, columns],
        'wrap': windows.wrap,
    }
    options = [
        f'model.grid.{name}={value}'.replace(' ', '')
        for name, value in values.items()
        if getattr(windows, name) != getattr(DEFAULT_WINDOWS, name)
    ]
    return shlex.join(['--cfg-options', *options]) if options else ''


def _can_mirror(windows: WindowSettings, height: int, width: int) -> bool:
    """Whether the windows of the mirrored panorama are those of the panorama."""
    try:
        grid: WindowGrid = windows.over(height, width)
    except ValueError:  # narrower than a window that wraps: refused when its masks are made
        return True
    lefts = {width - left - windows.window[1] for left in grid.starts}
    return {left % width for left in lefts} == set(grid.starts) if windows.wrap else lefts == set(grid.starts)


def _other_stride(windows: WindowSettings, sizes: Sequence[tuple[int, int]]) -> str:
    """The nearest stride with which all can be mirrored, as ``--stride`` takes it; empty below a quarter window."""
    (rows, columns), (row_stride, stride) = windows.window, windows.strides
    by_width = {width: (height, width) for height, width in sizes}.values()
    for other in sorted(range(max(1, columns // 4), columns + 1), key=lambda other: abs(other - stride)):
        changed = WindowSettings((rows, columns), (row_stride, other), windows.wrap)
        if all(_can_mirror(changed, *size) for size in by_width):
            return str(other) if row_stride == rows else f'{row_stride}x{other}'
    return ''
