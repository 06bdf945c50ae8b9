"""Scores of all masks of a cache against ToyPASS's instances, parts and labels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.errors import DatasetError
from toypass.truth.mask_quality import best_overlaps, confusion, label_by_truth, mean_iou
from toypass.truth.truth_files import SPLITS, TruthFiles

CLASSES = len(LABEL_SPACES['cityscapes19'].classes)
SMALL = 400  # pixels; a third of all instances are smaller


class CacheScores(NamedTuple):
    """Means over all windows of a cache; an instance's IoU is that of its best mask.

    Attributes:
        mean_iou: Of instances, in [0, 1].
        recall_50, recall_75: Share of the instances of at least that IoU.
        small_mean_iou: Of instances under ``SMALL`` pixels; NaN without any.
        parts_mean_iou: Of parts of instances; NaN without any.
        masks_per_window: Number of masks.
        coverage: Share of the pixels that lie in a mask.
        ceiling_miou: mIoU of labels that give each mask its most frequent true class, in percent.
        instances, windows, images: How many were compared.
    """

    mean_iou: float
    recall_50: float
    recall_75: float
    small_mean_iou: float
    parts_mean_iou: float
    masks_per_window: float
    coverage: float
    ceiling_miou: float
    instances: int
    windows: int
    images: int


def find_split(data: Path, domain: str, cache: MaskCache) -> str:
    """Return the split of ToyPASS that a cache is of: the one that has the truth of its images.

    Args:
        data: Folder of ToyPASS.
        domain: ``source`` or ``target``.
        cache: Of images of one split.

    Raises:
        DatasetError: If no split, or more than one, has the truth of the first image.
    """
    image_id = next(iter(cache), None)
    if image_id is None:
        raise DatasetError(f'{cache.path}: the cache is empty', 'fill it with tools/cache_sam.py')
    stem = image_id.removesuffix('_leftImg8bit')
    found = [split for split in SPLITS if (data / 'truth' / domain / split / f'{stem}_instances.png').is_file()]
    if len(found) != 1:
        raise DatasetError(
            f'{data}: {"several splits have" if found else "no split has"} the truth of {image_id}, the first image of '
            f'{cache.path}',
            'say which it is with --split' if found else 'give the ToyPASS of the cache with --data, and its --domain',
        )
    return found[0]


def score_cache(cache: MaskCache, truth: TruthFiles, min_area: int, limit: int | None = None) -> CacheScores:
    """Score all windows of a cache.

    Args:
        cache: Of images of ToyPASS.
        truth: Of the same split.
        min_area: Least size of a segment in a window, in pixels.
        limit: Take only the first images.

    Raises:
        DatasetError: If the truth of an image is missing, or there is nothing to compare.
    """
    best: dict[str, list[NDArray[np.float64]]] = {'instances': [], 'parts': [], 'small': []}
    counts, coverage = [], []
    matrix = np.zeros((CLASSES, CLASSES + 1), np.int64)
    image_ids = list(cache)[:limit]
    for image_id in tqdm(image_ids, desc=str(cache.path), unit='image', leave=False):
        panorama = cache[image_id]
        maps = {kind: truth.segments(image_id, kind) for kind in ('instances', 'parts')}
        labels = truth.labels(image_id)
        for box, masks in zip(panorama.grid.windows, panorama.windows, strict=True):
            for kind, numbers in maps.items():
                segments = best_overlaps(masks, panorama.grid.crop(numbers, box))
                large = segments.area >= min_area
                best[kind].append(segments.best[large])
                if kind == 'instances':
                    best['small'].append(segments.best[large & (segments.area < SMALL)])
            counts.append(len(masks))
            coverage.append(masks.coverage)
            window_labels = panorama.grid.crop(labels, box)
            matrix += confusion(window_labels, label_by_truth(masks, window_labels, CLASSES), CLASSES)
    if not counts:
        raise DatasetError(f'{cache.path}: the cache is empty', 'fill it with tools/cache_sam.py')
    if not matrix.any():
        raise DatasetError(
            f'{truth.data}: all labels of the images in {cache.path} are 255 (ignored): nothing to score'
        )
    joined = {kind: np.concatenate(values) for kind, values in best.items()}
    if not len(joined['instances']):
        raise DatasetError(
            f'{truth.data}: no instance of the images in {cache.path} has {min_area} pixels in a window',
            'lower --min-area',
        )
    return CacheScores(
        mean_iou=float(joined['instances'].mean()),
        recall_50=float((joined['instances'] >= 0.5).mean()),
        recall_75=float((joined['instances'] >= 0.75).mean()),
        small_mean_iou=_mean(joined['small']),
        parts_mean_iou=_mean(joined['parts']),
        masks_per_window=float(np.mean(counts)),
        coverage=float(np.mean(coverage)),
        ceiling_miou=mean_iou(matrix),
        instances=len(joined['instances']),
        windows=len(counts),
        images=len(image_ids),
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float('nan')
