"""Pictures of what caches hold: of one panorama windows, masks and boundary maps; of one window its masks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.geometry.windows import WindowGrid

_CAPTION_HEIGHT = 28
_GAP = 8  # between panels that stand side by side
_ENLARGED_HEIGHT = 400  # up to which a window is enlarged, by a whole number
_LINE_COLOURS = ((255, 80, 80), (80, 200, 255), (255, 220, 60))


def draw(panorama: PanoramaMasks, pixels: NDArray[np.uint8] | None = None) -> Image.Image:
    """Draw three panels, one above the other, each as large as the panorama and with a caption.

    They show the outlines of the windows over the image; the masks of the owner windows, each in its own colour; and
    the boundary maps in yellow over the darkened image, with the outlines of the overlaps.

    Args:
        panorama: From the cache.
        pixels: The image, uint8 ``(H, W, 3)``; None draws on grey.

    Raises:
        MaskCacheError: If the image has another size than the cached panorama.
    """
    grid = panorama.grid
    pixels = _pixels_of(panorama, pixels)
    name = _generator(panorama)
    count = sum(len(masks) for masks in panorama.windows)
    coverage = float(np.mean(panorama.coverage))
    rows, columns = grid.window
    panels = [
        (f'{panorama.image_id}: {len(grid.windows)} windows of {rows}x{columns}', _windows(pixels, grid)),
        (f'{count} {name} masks, {coverage:.0%} of the pixels covered', draw_masks(panorama, pixels)),
        (f'{name} boundary maps of the {len(grid.overlaps)} overlaps', _boundaries(panorama, pixels)),
    ]
    height, width = panorama.image_size
    sheet = Image.new('RGB', (width, len(panels) * (height + _CAPTION_HEIGHT)), 'white')
    text = ImageDraw.Draw(sheet)
    for i, (caption, panel) in enumerate(panels):
        top = i * (height + _CAPTION_HEIGHT)
        text.text((6, top + 3), caption, fill='black', font=ImageFont.load_default(size=18))
        sheet.paste(panel, (0, top + _CAPTION_HEIGHT))
    return sheet


def draw_window(panoramas: Sequence[PanoramaMasks], index: int, pixels: NDArray[np.uint8] | None = None) -> Image.Image:
    """Draw one window and, beside it, its masks in each of several caches, all of one panorama.

    Args:
        panoramas: The same panorama from these caches.
        index: Which window, from 0.
        pixels: The image, uint8 ``(H, W, 3)``; None draws on grey.

    Raises:
        MaskCacheError: If there is no such window, or windows or image have other sizes than the first cache says.
    """
    first = panoramas[0]
    pixels = _pixels_of(first, pixels)
    for panorama in panoramas:
        if panorama.grid != first.grid:
            raise MaskCacheError(
                f'{panorama.image_id}: the caches have other windows', 'compare caches of the same windows'
            )
    if not 0 <= index < len(first.windows):
        raise MaskCacheError(
            f'{first.image_id}: there is no window {index}', f'give one of 0 to {len(first.windows) - 1}'
        )
    window = np.moveaxis(first.grid.crop(np.moveaxis(pixels, -1, 0), first.grid.windows[index]), 0, -1).copy()
    panels = [(f'{first.image_id}, window {index}', Image.fromarray(window))]
    for panorama in panoramas:
        masks = panorama.windows[index]
        caption = f'{len(masks)} {_generator(panorama)} masks, {panorama.coverage[index]:.0%} covered'
        panels.append((caption, _painted(masks.id_map, window, len(masks))))
    height, width = (max(1, _ENLARGED_HEIGHT // len(window)) * side for side in window.shape[:2])
    sheet = Image.new('RGB', (len(panels) * (width + _GAP) - _GAP, height + _CAPTION_HEIGHT), 'white')
    text = ImageDraw.Draw(sheet)
    for i, (caption, panel) in enumerate(panels):
        text.text((i * (width + _GAP) + 6, 3), caption, fill='black', font=ImageFont.load_default(size=18))
        sheet.paste(panel.resize((width, height), Image.Resampling.NEAREST), (i * (width + _GAP), _CAPTION_HEIGHT))
    return sheet


def _pixels_of(panorama: PanoramaMasks, pixels: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Check the size of the image, or return a grey one."""
    if pixels is None:
        return np.full((*panorama.image_size, 3), 128, dtype=np.uint8)
    if pixels.shape[:2] != panorama.image_size:
        raise MaskCacheError(
            f'{panorama.image_id}: the image has {pixels.shape[:2]} pixels, its masks {panorama.image_size}',
            'is it the right one?',
        )
    return pixels


def _generator(panorama: PanoramaMasks) -> str:
    generator = panorama.fingerprint.settings['generator']
    return ' '.join(str(generator[key]) for key in ('name', 'model') if key in generator)


def _windows(pixels: NDArray[np.uint8], grid: WindowGrid) -> Image.Image:
    panel = Image.fromarray(pixels.copy())
    for i, box in enumerate(grid.windows):
        # Outlines of neighbours are shifted, so that overlapping windows can be told apart.
        _outline(panel, grid, box, _LINE_COLOURS[i % 3], inset=3 * (i % 3))
        corner = (box.left + 10 + 3 * (i % 3), box.top + 8 + 3 * (i % 3))
        ImageDraw.Draw(panel).text(
            corner,
            str(i),
            fill=_LINE_COLOURS[i % 3],
            stroke_width=2,
            stroke_fill='black',
            font=ImageFont.load_default(size=24),
        )
    return panel


def draw_masks(panorama: PanoramaMasks, pixels: NDArray[np.uint8]) -> Image.Image:
    """Draw the masks that lie on top over the image, each in its own colour."""
    # Ids start from 1 in every window; an offset makes them unique in the picture.
    offsets = np.cumsum([0] + [len(masks) for masks in panorama.windows])
    numbers = np.stack(
        [
            np.where(masks.id_map > 0, masks.id_map + int(offset), 0)
            for masks, offset in zip(panorama.windows, offsets, strict=False)
        ]
    )
    return _painted(panorama.grid.stitch(numbers), pixels, int(offsets[-1]))


def _painted(labels: NDArray[np.integer], pixels: NDArray[np.uint8], highest: int) -> Image.Image:
    """Paint the ids 1 to ``highest`` over an image, each in its own colour; 0 is left as it is."""
    # Steps of the golden ratio keep the hues of successive masks apart.
    colours = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.55 + 0.45 * (i % 2), 1.0) for i in range(highest + 1)]
    used = np.unique(labels[labels > 0])
    if not len(used):
        return Image.fromarray(pixels)  # which label2rgb would darken
    from skimage.color import label2rgb  # here, because it takes long to import

    painted = label2rgb(labels, pixels, colors=[colours[i] for i in used], alpha=0.55, bg_label=0)
    return Image.fromarray((painted * 255).astype(np.uint8))


def _boundaries(panorama: PanoramaMasks, pixels: NDArray[np.uint8]) -> Image.Image:
    grid = panorama.grid
    edges = np.zeros(panorama.image_size, dtype=bool)
    for seam in panorama.overlaps:
        box = seam.overlap.box
        valid = grid.valid(box)
        for region, columns in grid.regions(valid):
            edges[region] |= seam.boundary[: valid.height, columns]
    dark = pixels // 3
    dark[edges] = (255, 230, 60)
    panel = Image.fromarray(dark)
    for i, seam in enumerate(panorama.overlaps):
        _outline(panel, grid, seam.overlap.box, _LINE_COLOURS[i % 2])
    return panel


def _outline(panel: Image.Image, grid: WindowGrid, box: Box, colour: tuple[int, int, int], inset: int = 0) -> None:
    """Draw the outline of a box; one that crosses the seam is drawn twice, once from each side."""
    valid = grid.valid(box)
    draw = ImageDraw.Draw(panel)
    for left in {valid.left, valid.left - grid.width} if grid.wrap else {valid.left}:
        corners = [left + inset, valid.top + inset]
        corners += [left + valid.width - 1 - inset, valid.top + valid.height - 1 - inset]
        if corners[2] > corners[0] and corners[3] > corners[1]:
            draw.rectangle(corners, outline=colour, width=2)
