"""Crops of ToyPASS's pinhole images, and prompts on them with the masks that they ask for."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.ops import masks_to_boxes

from stage1_sam_cache.sam.toy_sam import SIZE, STRIDE

MASK_STRIDE = STRIDE // 4  # of SAM's low-resolution masks, in pixels of its input
MIN_PIXELS = 32  # of a thing that gets a prompt
ZOOM = (0.78, 1.6)  # 0.78 shows a source image as high as a window of the demo's panoramas


def crop(
    image: NDArray[np.uint8], maps: list[NDArray[np.uint16]], rng: np.random.Generator | None
) -> tuple[NDArray[np.uint8], list[NDArray[np.uint16]]]:
    """Cut a window of at most ``SIZE`` pixels per side.

    Args:
        image: uint8 ``(H, W, 3)``.
        maps: Segment numbers, uint16 ``(H, W)``.
        rng: Zooms, moves and mirrors the window; None takes the middle at the lowest zoom.

    Returns:
        The window of the image and of each map.
    """
    low, high = ZOOM
    zoom = low if rng is None else float(np.exp(rng.uniform(np.log(low), np.log(high))))
    height, width = (round(side * zoom) for side in image.shape[:2])
    h, w = (min(side, SIZE) // 2 * 2 for side in (height, width))
    share = (0.5, 0.5) if rng is None else rng.random(2)
    top, left = (round(free * s) for free, s in zip((height - h, width - w), share, strict=True))
    # The box in pixels of the file, so that only the crop is resized.
    box = (left / zoom, top / zoom, min((left + w) / zoom, image.shape[1]), min((top + h) / zoom, image.shape[0]))
    seen = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR, box=box))
    cut = [np.asarray(Image.fromarray(m).resize((w, h), Image.Resampling.NEAREST, box=box)) for m in maps]
    if rng is not None and rng.random() < 0.5:
        seen, cut = seen[:, ::-1], [m[:, ::-1] for m in cut]
    return seen.copy(), [m.copy() for m in cut]


def choose_places(
    parts: NDArray[np.uint16], wholes: NDArray[np.uint16], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw pixels: half of them anywhere, as automatic mask generation asks, half in random segments.

    Returns:
        Rows and columns, int64 ``(count, 2)``.
    """
    anywhere = rng.integers(0, parts.shape, (count // 2, 2))
    by_thing = []
    for labels in (parts, wholes):
        _, inverse, area = np.unique(labels, return_inverse=True, return_counts=True)
        order = np.argsort(inverse.ravel(), kind='stable')
        first = np.cumsum(area) - area
        large = np.flatnonzero(area >= MIN_PIXELS)
        chosen = rng.choice(large, (count - len(anywhere) + 1) // 2)
        pixel = order[first[chosen] + (rng.random(len(chosen)) * area[chosen]).astype(np.int64)]
        by_thing.append(np.stack(np.unravel_index(pixel, labels.shape), 1))
    places = np.concatenate([anywhere, *by_thing])[:count]
    return places[rng.permutation(count)]


def one_place_per_thing(wholes: NDArray[np.uint16], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a pixel of every thing of at least ``MIN_PIXELS``: rows and columns, int64 ``(n, 2)``."""
    places = []
    for name, area in zip(*np.unique(wholes, return_counts=True), strict=True):
        if area >= MIN_PIXELS:
            rows, columns = np.nonzero(wholes == name)
            pixel = rng.integers(len(rows))
            places.append((rows[pixel], columns[pixel]))
    return np.array(places, np.int64).reshape(-1, 2)


def target_masks(parts: NDArray[np.uint16], wholes: NDArray[np.uint16], places: NDArray[np.int64]) -> Tensor:
    """Return part and whole under each place, as shares of a pixel over 255: uint8 ``(N, 2, h / 2, w / 2)``."""
    labels = np.stack([parts, wholes])
    under = labels[:, places[:, 0], places[:, 1]].T  # (N, 2)
    masks = (labels[None] == under[..., None, None]).astype(np.float32)
    return (F.avg_pool2d(torch.from_numpy(masks), MASK_STRIDE) * 255).to(torch.uint8)


def loose_boxes(wholes: NDArray[np.uint16], places: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
    """Return the boxes of the wholes under places, each side moved by up to a tenth: float32 ``(M, 4)``, x then y."""
    under = wholes[places[:, 0], places[:, 1]]
    boxes = masks_to_boxes(torch.from_numpy(wholes == under[:, None, None]))
    boxes[:, 2:] += 1  # the far side of the last pixel
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    loose = torch.from_numpy(rng.normal(0, 0.1, boxes.shape).clip(-0.1, 0.1)).float()
    return (boxes + loose * sides).clamp(0, SIZE)
