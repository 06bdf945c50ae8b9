"""Masks as JSON records, as COCO and SAM write them, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.errors import Stage1Error
from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.masks import coco_rle
from stage1_sam_cache.masks.instance_masks import InstanceMasks

_LONGEST_OUTLINE = 2**22


class Record(NamedTuple):
    """What is used of a mask's record: run lengths or polygons, and scores, NaN where there are none."""

    segmentation: Any
    predicted_iou: float
    stability: float


def read_record(annotation: Any) -> Record:
    """Take what is used of an annotation of COCO or SA-1B, or of a record of ``SamAutomaticMaskGenerator``.

    Raises:
        ValueError: If it has no mask, or scores that are not numbers.
    """
    if not isinstance(annotation, dict) or not annotation.get('segmentation'):
        raise ValueError('an annotation without segmentation')
    iou = annotation.get('predicted_iou', annotation.get('score'))
    return Record(annotation['segmentation'], _score(iou), _score(annotation.get('stability_score')))


def _score(value: Any) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e6:
        raise ValueError(f'a score of {value!r:.40}')
    return float(value)


def masks_of(records: Sequence[Record], size: tuple[int, int]) -> InstanceMasks:
    """Make masks of records, in their order; empty ones are skipped.

    Args:
        records: Of one image.
        size: Its rows and columns.

    Raises:
        ValueError: If one can't be read or is of another size.
        Stage1Error: If there are polygons, which pycocotools reads, and it is missing.
    """
    counts: list[NDArray[np.int64]] = []
    texts: list[bytes] = []
    places: list[int] = []  # of the texts among the masks
    for place, record in enumerate(records):
        plain = record.segmentation if isinstance(record.segmentation, dict) else _rasterised(record.segmentation, size)
        if plain.get('size') != list(size):
            raise ValueError(f'masks of {_by(plain.get("size"))} pixels where {_by(size)} are needed')
        given = plain.get('counts')
        if isinstance(given, list):
            counts.append(_whole_numbers(given))
            continue
        counts.append(np.zeros(0, np.int64))
        texts.append(given.encode('ascii', 'replace') if isinstance(given, str) else _as_bytes(given))
        places.append(place)
    for place, decoded in zip(places, coco_rle.decode_texts(texts), strict=True):
        counts[place] = decoded
    scores = [record.predicted_iou for record in records], [record.stability for record in records]
    return coco_rle.from_counts(counts, size, *scores)


def _as_bytes(counts: Any) -> bytes:
    if not isinstance(counts, bytes):
        raise ValueError('run lengths that are neither a list nor text')
    return counts


def _whole_numbers(values: list[Any]) -> NDArray[np.int64]:
    array = np.array(values) if values else np.zeros(0, np.int64)
    if array.dtype.kind not in 'iu' or array.ndim != 1:
        raise ValueError('run lengths that are no whole numbers')
    return array.astype(np.int64)


def _rasterised(polygons: Any, size: tuple[int, int]) -> dict[str, Any]:
    """The union of polygons, as compressed run lengths.

    pycocotools takes memory by the length of outlines, and reads a list of four numbers as a box.
    """
    corners = [_corners(polygon) for polygon in polygons] if isinstance(polygons, list) else []
    if not corners or any(points is None for points in corners):
        raise ValueError('a segmentation that is neither run lengths nor polygons')
    sound = [points for points in corners if points is not None]
    if max(np.abs(points).max() for points in sound) > 2 * max(size):
        raise ValueError(f'a polygon far outside the {_by(size)} pixels')
    if sum(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum() for points in sound) > _LONGEST_OUTLINE:
        raise ValueError(f'polygons with outlines of over {_LONGEST_OUTLINE} pixels')
    coco = pycocotools('reading polygons')
    merged: dict[str, Any] = coco.merge(coco.frPyObjects([points.ravel().tolist() for points in sound], *size))
    return merged


def _corners(polygon: Any) -> NDArray[np.float64] | None:
    """Corners ``(n, 2)`` of a polygon, at least three; None if it is none."""
    numbers = isinstance(polygon, list) and all(type(value) in (int, float) for value in polygon)
    if not numbers or len(polygon) < 6 or len(polygon) % 2:
        return None
    points = np.array(polygon, dtype=float).reshape(-1, 2)
    return points if np.isfinite(points).all() else None


def pycocotools(what: str) -> Any:
    """Return the library that turns polygons into masks and compresses run lengths.

    Args:
        what: Needs it, for the message.

    Raises:
        Stage1Error: If it is missing.
    """
    try:
        from pycocotools import mask
    except ModuleNotFoundError:
        raise Stage1Error(f'{what} needs pycocotools, which is not installed', 'pip install pycocotools') from None
    return mask


def write_records(masks: InstanceMasks, crop_boxes: Sequence[Box]) -> Iterator[dict[str, Any]]:
    """Yield one record per mask, as SAM writes them with ``output_mode='coco_rle'``, but boxes count every pixel.

    Args:
        masks: Of one image.
        crop_boxes: The part of the image that each mask was made of.

    Raises:
        Stage1Error: If pycocotools is missing.
    """
    coco = pycocotools('writing JSON files')
    h, w = masks.shape
    areas, boxes = masks.area.tolist(), masks.bbox.tolist()
    for i, counts in enumerate(coco_rle.to_counts(masks)):
        packed = coco.frPyObjects({'counts': counts.tolist(), 'size': [h, w]}, h, w)
        record = {
            'segmentation': {'size': [h, w], 'counts': packed['counts'].decode('ascii')},
            'area': areas[i],
            'bbox': boxes[i],
            'crop_box': [crop_boxes[i].left, crop_boxes[i].top, crop_boxes[i].width, crop_boxes[i].height],
        }
        for name, score in (('predicted_iou', masks.predicted_iou[i]), ('stability_score', masks.stability[i])):
            if not np.isnan(score):
                record[name] = float(score)
        yield record


def _by(size: Any) -> str:
    return 'x'.join(map(str, size)) if isinstance(size, list | tuple) and len(size) == 2 else f'{size!r:.40}'
