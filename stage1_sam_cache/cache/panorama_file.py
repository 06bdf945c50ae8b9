"""One panorama's masks as one immutable file: HDF5 after a digest of its content.

The first 512 bytes are an HDF5 user block with the SHA-256 of all that follows, an ordinary HDF5 file (any HDF5 tool of
version 1.10 or newer opens the file)::

    /                        image_id, image_sha256, image_size, fingerprint, made_with      (attributes)
    /windows/{i}             box = top, left, height, width                                  (attribute)
    /windows/{i}/runs        uint16 (3, R): row, start, end of every run, coded (see ``_code_runs``)
    /windows/{i}/masks       one record per mask in painting order: runs, area, bbox, predicted_iou, stability
    /overlaps/{i}            first, second, axis, box                                        (attributes)
    /overlaps/{i}/boundary   uint8, the bool (h, o) map, eight pixels per byte

The id map is not stored: it is painted from the runs, so that it can't contradict the masks. A file is encoded and
decoded completely in memory: no handle stays open, nothing is shared with forked workers, and every byte is checked
before it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.cache.fingerprint import Fingerprint
from stage1_sam_cache.cache.remedies import make_again
from stage1_sam_cache.errors import DamagedFileError
from stage1_sam_cache.geometry.boxes import Overlap
from stage1_sam_cache.geometry.windows import WindowGrid, WindowSettings
from stage1_sam_cache.masks.instance_masks import InstanceMasks

USER_BLOCK = 512
MAX_WINDOW = 2**16 - 1  # rows or columns that fit uint16
_MASK_RECORD = np.dtype(
    [('runs', '<u4'), ('area', '<u4'), ('bbox', '<u2', (4,)), ('predicted_iou', '<f4'), ('stability', '<f4')]
)


@dataclass(frozen=True, eq=False)
class OverlapBoundary:
    """SAM's boundary map of one overlap: ``boundary`` is bool ``(h, o)`` (``B_SAM`` of Sec. 3.2)."""

    overlap: Overlap
    boundary: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PanoramaMasks:
    """What stage 1 makes of one panorama.

    Attributes:
        image_id: Its name in the data set, such as ``Amsterdam/1``.
        image_sha256: Hex digest of the image file.
        image_size: ``(H, W)`` as decoded, in pixels.
        fingerprint: Settings of the masks.
        windows: Instance masks of every window of the grid, in its order; masks in painting order.
        overlaps: Boundary map of every overlap of the grid, in its order.
        made_with: Versions and device, for information only.
    """

    image_id: str
    image_sha256: str
    image_size: tuple[int, int]
    fingerprint: Fingerprint
    windows: list[InstanceMasks]
    overlaps: list[OverlapBoundary]
    made_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def grid(self) -> WindowGrid:
        """The window grid over this panorama."""
        return WindowSettings.from_json(self.fingerprint.settings['grid']).over(*self.image_size)

    @property
    def coverage(self) -> list[float]:
        """Coverage rate of every window: the share of its pixels of the panorama that lie in a mask, in [0, 1]."""
        grid = self.grid
        visible = [grid.valid(box) for box in grid.windows]
        return [
            np.count_nonzero(masks.id_map) / (valid.height * valid.width)
            for masks, valid in zip(self.windows, visible, strict=True)
        ]


def encode(panorama: PanoramaMasks) -> bytes:
    """Return the bytes of the panorama's file; equal content gives equal bytes.

    Raises:
        ValueError: If windows or overlaps are not those of the panorama's grid, or too large for the format.
    """
    grid = panorama.grid
    if max(grid.window) > MAX_WINDOW:
        raise ValueError(f'window of {grid.window} pixels; at most {MAX_WINDOW} per side can be cached')
    if [w.shape for w in panorama.windows] != [(b.height, b.width) for b in grid.windows]:
        raise ValueError(f'{panorama.image_id}: the windows are not those of the grid')
    if [o.overlap for o in panorama.overlaps] != grid.overlaps:
        raise ValueError(f'{panorama.image_id}: the overlaps are not those of the grid')
    buffer = io.BytesIO()
    # A fixed format version keeps the bytes identical with later HDF5 releases, and metadata small and checksummed.
    with h5py.File(buffer, 'w', libver=('v110', 'v110'), userblock_size=USER_BLOCK) as file:
        file.attrs['image_id'] = panorama.image_id
        file.attrs['image_sha256'] = panorama.image_sha256
        file.attrs['image_size'] = panorama.image_size
        file.attrs['fingerprint'] = panorama.fingerprint.canonical
        file.attrs['made_with'] = json.dumps(dict(panorama.made_with), sort_keys=True)
        for i, (box, masks) in enumerate(zip(grid.windows, panorama.windows, strict=True)):
            group = file.create_group(f'windows/{i}')
            group.attrs['box'] = box
            _store(group, 'runs', _code_runs(masks))
            _store(group, 'masks', _mask_records(masks))
        for i, seam in enumerate(panorama.overlaps):
            group = file.create_group(f'overlaps/{i}')
            group.attrs['first'], group.attrs['second'] = seam.overlap.first, seam.overlap.second
            group.attrs['axis'] = seam.overlap.axis
            group.attrs['box'] = seam.overlap.box
            _store(group, 'boundary', np.packbits(seam.boundary))
    content = buffer.getvalue()[USER_BLOCK:]
    return _user_block(content) + content


def decode(data: bytes, name: str) -> PanoramaMasks:
    """Decode a panorama's file after checking its digest.

    Args:
        data: The complete file.
        name: Name of the file in error messages.

    Raises:
        DamagedFileError: If a byte differs from what was written, or the content is not of this format.
    """
    check_digest(data, name)
    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            fingerprint = Fingerprint(json.loads(file.attrs['fingerprint']))
            height, width = (int(n) for n in file.attrs['image_size'])
            panorama = PanoramaMasks(
                file.attrs['image_id'],
                file.attrs['image_sha256'],
                (height, width),
                fingerprint,
                [],
                [],
                json.loads(file.attrs['made_with']),
            )
            grid = panorama.grid
            for i, box in enumerate(grid.windows):
                group = file[f'windows/{i}']
                panorama.windows.append(_decode_masks(group['runs'][()], group['masks'][()], (box.height, box.width)))
            for i, overlap in enumerate(grid.overlaps):
                h, o = overlap.box.height, overlap.box.width
                bits = np.unpackbits(file[f'overlaps/{i}/boundary'][()], count=h * o)
                panorama.overlaps.append(OverlapBoundary(overlap, bits.view(bool).reshape(h, o)))
    except (KeyError, OSError, ValueError, TypeError) as problem:
        # The digest is right, so the file was written like this: by another version, or by another program.
        raise DamagedFileError(
            f'{name}: not a mask cache file of this version ({problem})', make_again(Path(name).parent)
        ) from problem
    return panorama


def check_digest(data: bytes, name: str) -> str:
    """Return the SHA-256 (hex) of a file's content, after comparing it with the digest in the file's header.

    Raises:
        DamagedFileError: If they differ; says whether the file is not a cache file, truncated, or changed.
    """
    content = data[USER_BLOCK:]
    block = _user_block(content)
    if data[:USER_BLOCK] != block:
        header, actual = _size_and_digest(data[:USER_BLOCK]), _size_and_digest(block)
        if header is None or actual is None:
            damage = 'not a mask cache file, or its first bytes are damaged'
        elif header[0] != actual[0]:
            damage = f'holds {actual[0]} bytes after its header where {header[0]} were written'
        else:
            damage = f'content has SHA-256 {actual[1][:12]}... where {header[1][:12]}... was written'
        raise DamagedFileError(f'{name}: damaged: {damage}', make_again(Path(name).parent))
    return hashlib.sha256(content).hexdigest()


def _user_block(content: bytes) -> bytes:
    text = f'GoodSAM mask cache\nbytes={len(content)}\nsha256={hashlib.sha256(content).hexdigest()}\n'
    return text.encode().ljust(USER_BLOCK, b'\0')


def _size_and_digest(block: bytes) -> tuple[str, str] | None:
    lines = block.rstrip(b'\0').split(b'\n')
    if len(lines) != 4 or lines[0] != b'GoodSAM mask cache':
        return None
    size, digest = (line.partition(b'=')[2].decode('ascii', 'replace') for line in lines[1:3])
    return size, digest


def _store(group: h5py.Group, name: str, data: NDArray) -> None:
    # HDF5 has no empty chunks, and therefore no filters for a window without masks.
    filters: dict[str, Any] = (
        {'chunks': data.shape, 'compression': 'gzip', 'compression_opts': 9, 'shuffle': True, 'fletcher32': True}
        if data.size
        else {}
    )
    group.create_dataset(name, data=data, **filters)


def _mask_records(masks: InstanceMasks) -> NDArray:
    records = np.zeros(len(masks), dtype=_MASK_RECORD)
    records['runs'] = masks.runs_per_mask
    for name in ('area', 'bbox', 'predicted_iou', 'stability'):
        records[name] = getattr(masks, name)
    return records


def _code_runs(masks: InstanceMasks) -> NDArray[np.uint16]:
    """Code rows, starts and ends of all runs as zigzag differences to the previous run, modulo 2**16.

    Consecutive runs follow an outline down the rows, so nearly all differences are a few pixels. Zigzag interleaves
    negative and positive ones, which keeps the high byte zero. This is what makes the files small.
    """
    assert max(masks.shape) <= MAX_WINDOW
    columns = np.stack([masks.rows, masks.starts, masks.ends])
    steps = np.diff(columns, axis=1, prepend=0).astype(np.uint16).view(np.int16)
    return ((steps << 1) ^ (steps >> 15)).view(np.uint16)


def _decode_masks(coded: NDArray[np.uint16], records: NDArray, shape: tuple[int, int]) -> InstanceMasks:
    steps = (coded >> 1) ^ -(coded & 1)
    rows, starts, ends = np.cumsum(steps, axis=1, dtype=np.uint16).astype(np.int64)
    counts = records['runs'].astype(np.int64)
    inside = (rows < shape[0]) & (starts < ends) & (ends <= shape[1])
    if counts.sum() != len(rows) or not counts.all() or not inside.all():
        raise ValueError('runs that do not fit the masks or the window')
    return InstanceMasks(shape, counts, rows, starts, ends, records['predicted_iou'], records['stability'])


def check_records(panorama: PanoramaMasks, data: bytes, name: str) -> None:
    """Compare the areas and boxes stored in a file with those of its masks (part of ``verify --full``).

    Args:
        panorama: The file, decoded.
        data: The complete file.
        name: Name of the file in error messages.

    Raises:
        DamagedFileError: If they differ.
    """
    with h5py.File(h5py.h5f.open_file_image(data)) as file:
        for i, masks in enumerate(panorama.windows):
            stored, computed = file[f'windows/{i}/masks'][()], _mask_records(masks)
            if stored.tobytes() != computed.tobytes():
                raise DamagedFileError(
                    f'{name}: window {i}: areas or boxes are not those of its masks', make_again(Path(name).parent)
                )
