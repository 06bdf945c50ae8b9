"""The sizes of many images, by their headers: which there are, and which images have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from stage1_sam_cache.data.images import MAX_PIXELS, read_size
from stage1_sam_cache.errors import ImageError

_THREADS = 8  # they wait for the disk or the network


class Sizes(NamedTuple):
    """Sizes of a list of images.

    Attributes:
        images: By rows and columns, upright, the positions in the list of the images that have them.
        problems: By position, why an image can't be read.
    """

    images: dict[tuple[int, int], list[int]]
    problems: dict[int, ImageError]


def read_sizes(paths: Sequence[Path], max_pixels: int = MAX_PIXELS, limit_name: str = '') -> Sizes:
    """Read the sizes of images, with a progress bar if it takes seconds.

    Args:
        paths: The files.
        max_pixels, limit_name: As for ``images.read_rgb``.
    """

    def size_of(path: Path) -> tuple[int, int] | ImageError:
        try:
            return read_size(path, max_pixels, limit_name)
        except ImageError as problem:
            return problem

    images: dict[tuple[int, int], list[int]] = {}
    problems = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        found = tqdm(pool.map(size_of, paths), 'reading sizes', len(paths), False, unit='image', delay=3)
        for position, size in enumerate(found):
            if isinstance(size, ImageError):
                problems[position] = size
            else:
                images.setdefault(size, []).append(position)
    return Sizes(images, problems)


def name_sizes(images: Mapping[tuple[int, int], Sequence[int]], names: Sequence[str], count: int = 4) -> str:
    """Name sizes as rows x columns, the most frequent first, each with its number of images and the first of them.

    Args:
        images: As ``Sizes.images``.
        names: Of all images of the list.
        count: How many sizes are named.
    """
    order = sorted(images.items(), key=lambda item: -len(item[1]))
    parts = [
        f'{height}x{width} ({len(places)} {"image" if len(places) == 1 else "images"}, such as {names[places[0]]})'
        for (height, width), places in order[:count]
    ]
    return ', '.join(parts) + (f', and {len(order) - count} more' if len(order) > count else '')
