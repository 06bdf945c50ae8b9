"""Panels of a panorama as layers of the page: pictures inside of the HTML, no larger than a browser takes."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_WIDTH = 4096  # of a texture that every graphics card takes
_PHOTOGRAPHIC = ('image', 'masks', 'boundaries')  # JPEG; labels keep their exact colours as PNG


def as_layers(image_id: str, panels: Mapping[str, tuple[str, NDArray[np.uint8]]]) -> dict[str, Any]:
    """Return a panorama as the page's script takes it.

    Args:
        image_id: Shown as its name.
        panels: Caption and RGB pixels, uint8 ``(H, W, 3)``, by name; all of one size. The first lies below the others.

    Returns:
        ``id``, ``width``, ``height`` and ``layers``: a list of ``name``, ``caption`` and ``source``, a data address.
    """
    height, width = next(iter(panels.values()))[1].shape[:2]
    scale = min(1.0, MAX_WIDTH / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    layers = [
        {'name': name, 'caption': caption, 'source': _data_address(pixels, size, name in _PHOTOGRAPHIC)}
        for name, (caption, pixels) in panels.items()
    ]
    return {'id': image_id, 'width': size[0], 'height': size[1], 'layers': layers}


def _data_address(pixels: NDArray[np.uint8], size: tuple[int, int], photographic: bool) -> str:
    picture = Image.fromarray(pixels)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR if photographic else Image.Resampling.NEAREST)
    content = io.BytesIO()
    if photographic:
        picture.save(content, 'JPEG', quality=88)
    else:
        picture.save(content, 'PNG', optimize=True)
    kind = 'jpeg' if photographic else 'png'
    return f'data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}'
