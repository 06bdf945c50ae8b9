"""Storage: the cache against dense masks with gzip, and against COCO's run lengths where pycocotools is installed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import HEIGHT, WIDTH, Measurement, alternate, blobs, picture
from stage1_sam_cache import open_cache
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.panorama_file import OverlapBoundary, PanoramaMasks
from stage1_sam_cache.cache.reader import MaskCache, entry_name
from stage1_sam_cache.cache.writer import CacheWriter
from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.masks.boundary_map import boundary_map
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator
from stage2_distill.fusion.mask_atoms import MaskAtoms


def measure(times: int, existing: Path | None) -> list[Measurement]:
    """Measure bytes and read time per window, of drawn masks or of a cache's first panorama."""
    with tempfile.TemporaryDirectory() as folder:
        if existing is not None:
            cache = open_cache(existing)
            if (first := next(iter(cache), None)) is None:
                raise MaskCacheError(f'{existing}: the cache is empty')
            return _compare(cache, first, Path(folder), times)
        generator = FelzenszwalbMaskGenerator()
        fingerprint = CacheSettings().fingerprint(generator)
        writer = CacheWriter(folder, fingerprint)
        rows = []
        drawn = {'SAM-like blobs': blobs(np.random.default_rng(0)), 'regions': generator.generate(picture(0))}
        for name, unordered in drawn.items():
            masks = unordered.in_painting_order()
            grid = CacheSettings().over(HEIGHT, 4 * WIDTH)
            boundary = boundary_map(masks.id_map[:, : WIDTH // 2])
            overlaps = [OverlapBoundary(overlap, boundary) for overlap in grid.overlaps]
            windows = [masks] * len(grid.windows)
            writer.commit(PanoramaMasks(name, '0' * 64, (HEIGHT, 4 * WIDTH), fingerprint, windows, overlaps))
            rows += _compare(writer.cache, name, Path(folder), times)
        return rows


def _compare(cache: MaskCache, image_id: str, folder: Path, times: int) -> list[Measurement]:
    windows = cache[image_id].windows
    n = len(windows)
    about = f'{image_id}, {sum(map(len, windows)) / n:.0f} masks'
    plain = folder / 'dense.h5'
    _write_dense(plain, [masks.masks for masks in windows])
    size = (cache.path / entry_name(image_id)).stat().st_size / n
    plain_size = plain.stat().st_size / n
    same = all(np.array_equal(a, b.masks) for a, b in zip(_read_dense(plain), cache[image_id].windows, strict=True))

    def read_dense() -> list[NDArray[np.bool_]]:
        return _read_dense(plain)

    def read_runs() -> PanoramaMasks:
        return cache[image_id]

    def unpack_runs() -> list[NDArray[np.bool_]]:
        return [masks.masks for masks in cache[image_id].windows]

    def atoms_of_dense() -> list[MaskAtoms]:
        return [MaskAtoms.from_masks(masks) for masks in _read_dense(plain)]

    def atoms_of_cache() -> list[MaskAtoms]:
        return [MaskAtoms.from_masks(masks) for masks in cache[image_id].windows]

    ways = [read_dense, read_runs, unpack_runs, atoms_of_dense, atoms_of_cache]
    dense, runs, unpacked, slow, ready = (value / n for value in alternate(ways, times))
    said = 'identical' if same else 'DIFFERENT'
    rows = [
        Measurement(f'{about}: bytes per window', plain_size, size, 'B', said, {'share': size / plain_size}),
        Measurement(f'{about}: read per window, as runs', dense, runs),
        Measurement(f'{about}: read per window, as dense masks', dense, unpacked),
        Measurement(f'{about}: read per window, ready for fusion', slow, ready),
    ]
    return rows + _coco(about, [m.masks for m in windows], size, runs, times)


def _coco(about: str, windows: list[NDArray[np.bool_]], size: float, runs: float, times: int) -> list[Measurement]:
    """Compare with COCO's format, if its package is installed."""
    try:
        from pycocotools import mask as coco
    except ModuleNotFoundError:
        return []
    packed: list[Any] = [coco.encode(np.asfortranarray(m.transpose(1, 2, 0).astype(np.uint8))) for m in windows]
    theirs = sum(len(record['counts']) for window in packed for record in window) / len(windows)
    decode = alternate([lambda: [coco.decode(window) for window in packed]], times)[0] / len(windows)
    return [
        Measurement(f'{about}: bytes per window against COCO run lengths', theirs, size, 'B'),
        Measurement(f'{about}: read per window against COCO run lengths in memory', decode, runs),
    ]


def _write_dense(path: Path, windows: list[NDArray[np.bool_]]) -> None:
    with h5py.File(path, 'w') as file:
        for i, masks in enumerate(windows):
            file.create_dataset(f'windows/{i}', data=masks, chunks=masks.shape, compression='gzip')


def _read_dense(path: Path) -> list[NDArray[np.bool_]]:
    with h5py.File(path) as file:
        return [file[f'windows/{i}'][()] for i in range(len(file['windows']))]
