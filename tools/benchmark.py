#!/usr/bin/env python3
"""Measures the fast paths against plain references, both in the same run.

    tools/benchmark.py cache                          # size and reading time against dense masks with gzip
    tools/benchmark.py cache --cache cache/densepass  # the same on masks of your own

No figure stands without its reference beside it; quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian

try:
    from stage1_sam_cache import command_line as cli
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')
from stage1_sam_cache.boundary_map import boundary_map
from stage1_sam_cache.build_cache import CacheSettings
from stage1_sam_cache.cache_file import OverlapBoundary, PanoramaMasks
from stage1_sam_cache.cache_writer import CacheWriter
from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.felzenszwalb_masks import FelzenszwalbMaskGenerator
from stage1_sam_cache.instance_masks import InstanceMasks
from stage1_sam_cache.mask_cache import MaskCache, entry_name, open_cache

HEIGHT, WIDTH = 400, 512


def blobs(rng: np.random.Generator, count: int = 75) -> InstanceMasks:
    """Irregular overlapping blobs of 100 to 60000 pixels, as many as SAM finds in a window; no image behind them."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    masks = np.empty((count, HEIGHT, WIDTH), dtype=bool)
    for mask in masks:
        radius = np.sqrt(np.exp(rng.uniform(np.log(100), np.log(60000))) / np.pi)
        flat = rng.uniform(0.5, 2.0)
        distance = np.hypot((rows - rng.uniform(0, HEIGHT)) * flat, (columns - rng.uniform(0, WIDTH)) / flat) / radius
        ragged = gaussian(rng.standard_normal((HEIGHT, WIDTH)), max(2.0, radius / 6))
        mask[:] = distance + 0.25 * ragged / ragged.std() < 1
    return InstanceMasks.from_dense(masks, rng.uniform(0.88, 1, count).tolist(), rng.uniform(0.95, 1, count).tolist())


def median_ms(call: Callable[[], object], times: int) -> float:
    """Median milliseconds of several calls, after one that does not count."""
    call()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return 1000 * statistics.median(taken)


def benchmark_cache(times: int, existing: Path | None) -> None:
    """Bytes a window, and milliseconds a window to read, of drawn masks or of a cache's first panorama."""
    titles = ('masks of a window', 'count', 'form', 'bytes/window', 'ratio', 'read ms/window', 'faster')
    print('{:<22} {:>5} {:<14} {:>12} {:>7} {:>15} {:>8}'.format(*titles))
    with tempfile.TemporaryDirectory() as folder:
        if existing is not None:
            cache = open_cache(existing)
            if (first := next(iter(cache), None)) is None:
                raise MaskCacheError(f'{existing}: the cache is empty')
            _compare(cache, first, Path(folder), times)
            return
        rng = np.random.default_rng(0)
        picture = gaussian(rng.uniform(0, 255, (HEIGHT, WIDTH, 3)), 6, channel_axis=2)
        picture = ((picture - picture.min()) / np.ptp(picture) * 255).astype(np.uint8)
        generator = FelzenszwalbMaskGenerator()
        fingerprint = CacheSettings().fingerprint(generator)
        writer = CacheWriter(folder, fingerprint)
        for name, drawn in {'SAM-like blobs': blobs(rng), 'felzenszwalb regions': generator.generate(picture)}.items():
            masks = drawn.in_painting_order()
            grid = CacheSettings().grid(HEIGHT, 2048)
            boundary = boundary_map(masks.id_map[:, :256])
            overlaps = [OverlapBoundary(overlap, boundary) for overlap in grid.overlaps]
            windows = [masks] * len(grid.windows)
            writer.commit(PanoramaMasks(name, '0' * 64, (HEIGHT, 2048), fingerprint, windows, overlaps))
            _compare(writer.cache, name, Path(folder), times)


def _compare(cache: MaskCache, image_id: str, folder: Path, times: int) -> None:
    """Prints three rows: the same masks dense with gzip, the cache as runs, the cache unpacked."""
    windows = cache[image_id].windows
    n = len(windows)
    plain = folder / 'dense.h5'
    _write_dense(plain, [masks.masks for masks in windows])
    size, plain_size = (file.stat().st_size / n for file in (cache.path / entry_name(image_id), plain))
    read_plain = median_ms(lambda: _read_dense(plain), times) / n
    read_runs = median_ms(lambda: cache[image_id], times) / n
    read_dense = median_ms(lambda: [masks.masks for masks in cache[image_id].windows], times) / n
    count = round(sum(map(len, windows)) / n)
    print(
        f'{image_id:<22} {count:>5} {"dense + gzip":<14} {plain_size:>12.0f} {1:>7.3f} {read_plain:>15.2f} {1:>7.1f}x'
    )
    for form, taken in (('cache: runs', read_runs), ('cache: dense', read_dense)):
        faster = read_plain / taken
        print(f'{"":<28} {form:<14} {size:>12.0f} {size / plain_size:>7.3f} {taken:>15.2f} {faster:>7.1f}x')


def _write_dense(path: Path, windows: list[NDArray[np.bool_]]) -> None:
    with h5py.File(path, 'w') as file:
        for i, masks in enumerate(windows):
            file.create_dataset(f'windows/{i}', data=masks, chunks=masks.shape, compression='gzip')


def _read_dense(path: Path) -> list[NDArray[np.bool_]]:
    with h5py.File(path) as file:
        return [file[f'windows/{i}'][()] for i in range(len(file['windows']))]


def main(argv: list[str] | None = None) -> int:
    """Runs one benchmark."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('cache',), help='what to measure')
    parser.add_argument('--cache', type=cli.named_path, metavar='DIR', help='masks of this cache, not drawn ones')
    parser.add_argument('--times', type=int, default=7, help='repeats; the median counts (default: %(default)s)')
    args = parser.parse_args(argv)
    print(f'{platform.machine()}, Python {platform.python_version()}, h5py {h5py.__version__}, NumPy {np.__version__}')
    benchmark_cache(args.times, args.cache)
    print(
        'the cache holds scores, boxes, boundary maps and a digest beside the masks, and every read checks the digest; '
        'the reference holds the masks alone (bool K x h x w, gzip 4, one chunk a window)'
    )
    return 0


if __name__ == '__main__':
    cli.run_command(main)
