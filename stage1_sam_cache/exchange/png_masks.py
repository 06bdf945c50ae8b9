"""PNG files of masks: a folder of binary masks per image, as SAM's own script writes it, or one map of instance ids.

A folder may hold ``metadata.csv`` with the columns ``id`` (the PNG's name without extension), ``predicted_iou`` and
``stability_score``. A map of ids has 8 or 16 bits; 0 is no instance, and masks do not overlap.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from stage1_sam_cache.data.images import open_header
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.exchange.content import FileContent
from stage1_sam_cache.masks.cutting import concatenate
from stage1_sam_cache.masks.instance_masks import InstanceMasks

METADATA = 'metadata.csv'
_COLUMNS = ('id', 'area', 'bbox_x0', 'bbox_y0', 'bbox_w', 'bbox_h', 'predicted_iou', 'stability_score')


@dataclass(frozen=True, eq=False)
class PngStack:
    """A folder with one binary PNG per mask, read one after the other.

    Attributes:
        file: The folder.
        masks: Its PNGs.
        metadata: Its ``metadata.csv``; None where there is none.
    """

    file: Path
    masks: Sequence[FileContent]
    metadata: FileContent | None

    def load(self, size: tuple[int, int]) -> InstanceMasks:
        """Return the masks in natural order of their names; what is not 0 is in a mask, and empty masks are skipped.

        Raises:
            ImageError: If one can't be read or is of another size, or the list of scores is not that of the masks.
        """
        masks = sorted(self.masks, key=lambda content: _natural(content.path.stem))
        names = [content.path.stem for content in masks]
        none = math.nan, math.nan
        scores = dict.fromkeys(names, none) if self.metadata is None else _read_scores(self.metadata)
        parts = []
        for name, content in zip(names, masks, strict=True):
            if name not in scores:
                raise ImageError(f'{content.path}: has no row in {METADATA}')
            iou, stability = scores.pop(name)
            bits = np.packbits(_read(content, size) != 0, axis=1)
            parts.append(InstanceMasks.from_packed(bits[None], size[1], [iou], [stability]))
        if scores:
            raise ImageError(
                f'{self.file}: {len(scores)} masks of {METADATA} are missing, such as {next(iter(scores))}.png'
            )
        return concatenate(parts, size)


@dataclass(frozen=True, eq=False)
class PngIds:
    """One PNG of instance ids."""

    content: FileContent

    @property
    def file(self) -> Path:
        """The PNG."""
        return self.content.path

    def load(self, size: tuple[int, int]) -> InstanceMasks:
        """Return one mask per id other than 0, in the order of the ids, without scores; else as ``PngStack.load``."""
        ids = _read(self.content, size)
        masks = InstanceMasks.from_label_maps([ids])
        return masks if ids.min() else masks.take(np.arange(1, len(masks)))


def _read(content: FileContent, size: tuple[int, int]) -> NDArray[np.integer]:
    """Read a PNG of one channel, which is not decoded if it is of another size."""
    data, path = content.read(), content.path
    try:
        with open_header(io.BytesIO(data), ('PNG',)) as image:
            if (image.height, image.width) != size:
                raise ImageError(
                    f'{path}: masks of {image.height}x{image.width} pixels where {size[0]}x{size[1]} are needed'
                )
            values = np.asarray(image)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageError(f'{path}: no PNG', 'was it written completely?') from None
    except Exception as problem:  # Pillow lets anything through
        raise ImageError(f'{path}: damaged or no PNG ({problem})') from None
    if values.ndim != 2 or values.dtype.kind not in 'biu':
        raise ImageError(f'{path}: colours, not a mask or instance ids', 'save one channel of 1, 8 or 16 bits')
    return values.astype(np.uint8) if values.dtype == bool else values


def _read_scores(content: FileContent) -> dict[str, tuple[float, float]]:
    """Predicted IoU and stability by the names of masks."""
    try:
        rows = list(csv.DictReader(io.StringIO(content.read().decode('utf-8-sig'), newline='')))
        scores = {
            row['id']: (float(row.get('predicted_iou') or 'nan'), float(row.get('stability_score') or 'nan'))
            for row in rows
        }
    except (KeyError, ValueError, TypeError, csv.Error) as problem:
        raise ImageError(f'{content.path}: no table with a column "id" and numbers as scores ({problem!r})') from None
    return scores


def _natural(name: str) -> tuple[list[str | int], str]:
    return [int(part) if i % 2 else part for i, part in enumerate(re.split('([0-9]+)', name))], name


def stack_files(masks: InstanceMasks) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each PNG of a folder, then of its ``metadata.csv``; masks are drawn one by one."""
    table = io.StringIO(newline='')
    rows = csv.writer(table, lineterminator='\n')
    rows.writerow(_COLUMNS)
    iou, stability = ([repr(float(v)) for v in values] for values in (masks.predicted_iou, masks.stability))
    for i in range(len(masks)):
        file = io.BytesIO()
        Image.fromarray(masks.take(np.array([i])).masks[0]).save(file, 'PNG')  # one bit per pixel
        yield f'{i}.png', file.getvalue()
        rows.writerow([i, masks.area[i], *masks.bbox[i], iou[i], stability[i]])  # a missing score is 'nan'
    yield METADATA, table.getvalue().encode()
