#!/usr/bin/env python3
"""The demo: draws two street panoramas, caches their masks and writes pictures of what the cache holds.

    tools/demo.py --out demo

It needs no weights and no data. The masks are Felzenszwalb's, not SAM's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HEIGHT, WIDTH = 400, 2048
TOOLS = Path(__file__).resolve().parent


def draw_street(seed: int) -> Image.Image:
    """A closed 360 degree street scene, 400x2048: sky, houses with windows, trees, cars, road with markings."""
    rng = np.random.default_rng(seed)
    horizon = HEIGHT // 2
    image = Image.new('RGB', (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(image)
    sky, ground = np.array([110, 160, 225]), np.array([96, 94, 98])
    for row in range(HEIGHT):
        blend = row / horizon
        colour = sky + blend * 70 if row < horizon else ground - (row - horizon) // 8
        draw.line([(0, row), (WIDTH, row)], fill=tuple(int(c) for c in np.clip(colour, 0, 255)))

    def closed(shape: str, box: tuple[float, float, float, float], colour: object) -> None:
        """Draws a shape and its copies one turn to the left and right, so that the borders join."""
        for turn in (-WIDTH, 0, WIDTH):
            left, top, right, bottom = box
            getattr(draw, shape)((left + turn, top, right + turn, bottom), fill=tuple(int(c) for c in colour))

    left = 0.0
    while left < WIDTH:
        width, height = rng.uniform(90, 220), rng.uniform(60, 170)
        wall = rng.uniform(90, 210, 3)
        closed('rectangle', (left, horizon - height, left + width, horizon + 25), wall)
        for x in np.arange(left + 10, left + width - 18, 26):
            for y in np.arange(horizon - height + 12, horizon - 8, 30):
                closed('rectangle', (x, y, x + 13, y + 18), wall * 0.45 + rng.uniform(0, 25))
        left += width + rng.uniform(0, 60)
    closed('rectangle', (0, horizon + 25, WIDTH, horizon + 45), (168, 160, 152))  # pavement
    for x in np.arange(0, WIDTH, 128):
        closed('rectangle', (x, horizon + 118, x + 60, horizon + 124), (225, 225, 215))  # lane markings
    for x in rng.uniform(0, WIDTH, 10):
        size = rng.uniform(22, 55)
        closed('rectangle', (x - 4, horizon - 30, x + 4, horizon + 42), (82, 60, 42))
        closed(
            'ellipse',
            (x - size, horizon - 30 - 2 * size, x + size, horizon - 20),
            rng.uniform((20, 70, 15), (70, 130, 50)),
        )
    for x in rng.uniform(0, WIDTH, 9):
        size, paint = rng.uniform(0.7, 1.8), rng.uniform(30, 230, 3)
        base = horizon + 50 + 25 * size
        closed('rectangle', (x - 48 * size, base - 26 * size, x + 48 * size, base - 6 * size), paint)
        closed('rectangle', (x - 26 * size, base - 43 * size, x + 26 * size, base - 24 * size), paint * 0.5)
        for wheel in (-30, 30):
            closed(
                'ellipse',
                (x + (wheel - 9) * size, base - 15 * size, x + (wheel + 9) * size, base + 3 * size),
                (25, 25, 28),
            )
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), dtype=float)
    return Image.fromarray(np.clip(soft + rng.normal(0, 3, soft.shape), 0, 255).astype(np.uint8))


def run(tool: str, *arguments: str | Path) -> None:
    """Runs one of the tools as a reader would, after printing the command."""
    words = [str(word) for word in arguments]
    print(f'\n$ tools/{tool} {" ".join(words)}', flush=True)
    subprocess.run([sys.executable, str(TOOLS / tool), *words], check=True)


def main() -> None:
    """Draws, caches, shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('demo'), help='folder for all that is made')
    out = parser.parse_args().out
    images = out / 'panoramas'
    images.mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        path = images / f'street_{number}.png'
        if not path.exists():
            draw_street(number).save(path)
    run('cache_sam.py', '--images', images, '--generator', 'felzenszwalb', '--wrap', '--out', out / 'cache')
    run('inspect_cache.py', 'verify', out / 'cache', '--full')
    run('inspect_cache.py', 'stats', out / 'cache')
    for number in (1, 2):
        name = f'street_{number}'
        run(
            'inspect_cache.py',
            'show',
            out / 'cache',
            '--images',
            images,
            '--id',
            name,
            '--out',
            out / f'{name}_masks.png',
        )
    print(f'\nLook at {out}/street_1_masks.png and {out}/street_2_masks.png')


if __name__ == '__main__':
    try:
        main()
    except subprocess.CalledProcessError as failure:
        sys.exit(failure.returncode)
