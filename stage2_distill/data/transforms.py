"""Loading and augmenting panoramas together with their cached masks.

The cache is tied to fixed windows, so only what maps the grid onto itself is allowed: changes of colour, mirroring,
and with wrap-around a roll by whole strides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.datasets.transforms import PackSegInputs
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.cache.remedies import make_again
from stage1_sam_cache.data.images import MAX_PIXELS, read_rgb
from stage1_sam_cache.errors import ImageError, MaskCacheError
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.data.cached_masks import CachedMasks, can_mirror, can_roll, rolled_order
from stage2_distill.data.stored_lesson import StoredLesson, file_name, read
from stage2_distill.errors import ConfigError

Results = dict[str, Any]
META = ('image_id', 'order_seed', 'kept_rows')  # what the metadata of a sample has beyond mmseg's
KNOWLEDGE = ('cached_masks', 'lesson')  # what a sample carries beside its image, one of them; it turns with the image


@TRANSFORMS.register_module()
class LoadPanorama(BaseTransform):
    """Read an image by stage 1's policy, so that both stages see the same pixels and damaged files are refused.

    Adds ``img`` (uint8 BGR ``(H, W, 3)``, as in mmseg), ``img_shape``, ``ori_shape``, ``pixels`` (the same in RGB) and
    ``img_sha256``.

    Args:
        max_pixels: Larger images are refused, as by ``--max-pixels`` of stage 1.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels = max_pixels

    def transform(self, results: Results) -> Results:
        image = read_rgb(Path(results['img_path']), self.max_pixels, 'max_pixels of LoadPanorama in the config')
        results['img'] = np.ascontiguousarray(image.pixels[..., ::-1])
        results['img_shape'] = results['ori_shape'] = image.pixels.shape[:2]
        results['pixels'], results['img_sha256'] = image.pixels, image.sha256
        return results


@TRANSFORMS.register_module()
class LoadLabel(BaseTransform):
    """Read the label of a loaded image, by the catalogue's rules. Adds ``gt_seg_map``, uint8 ``(H, W)``.

    Attributes:
        read: Set by the data set; None if the labels are not the catalogue's.

    Raises:
        ConfigError: If the data set has no labels of the catalogue.
        ImageError: If the label can't be read, has another size than the image, or an id that is no class.
    """

    read: Callable[[Path, NDArray[np.uint8]], NDArray[np.uint8]] | None = None

    def transform(self, results: Results) -> Results:
        if self.read is None:
            raise ConfigError('the config loads labels from a data set without labels', 'take LoadLabel out')
        results['gt_seg_map'] = self.read(Path(results['seg_map_path']), results['pixels'])
        results['seg_fields'].append('gt_seg_map')
        return results


@TRANSFORMS.register_module()
class LoadCachedMasks(BaseTransform):
    """Read what stage 1 cached of the image, or the lesson that was made of it. Adds ``cached_masks`` or ``lesson``.

    Attributes:
        cache: Set by the data set; None if it has none.
        lessons: Folder of a frozen assistant's lessons, set by the runner; None: masks are read.

    Raises:
        MaskCacheError: If the cache has no masks of the image, or masks of other pixels.
        TrainingError: If a lesson can't be read.
    """

    cache: MaskCache | None = None
    lessons: Path | None = None

    def transform(self, results: Results) -> Results:
        if self.lessons is not None:
            name = file_name(results['image_id'], results['img_sha256'])
            results['lesson'] = read(self.lessons / name, results['img_sha256'])
            return results
        if self.cache is None:
            raise MaskCacheError('the config loads cached masks from a data set without a cache', 'give it one')
        try:
            panorama = self.cache[results['image_id']]
        except KeyError as problem:
            raise MaskCacheError(problem.args[0], 'run tools/cache_sam.py again') from None
        if panorama.image_sha256 != results['img_sha256']:
            raise other_images([results], self.cache)
        results['cached_masks'] = CachedMasks.from_cache(panorama)
        return results


def other_images(entries: Sequence[Mapping[str, Any]], cache: MaskCache, command: str = '') -> MaskCacheError:
    """The error that images are not those whose masks are cached under their ids.

    Args:
        entries: The images, with ``image_id`` and ``img_path``; at least one.
        cache: The masks.
        command: The command that fills the cache; empty if it is not known.
    """
    more = f', nor are {len(entries) - 1} others what they were' if len(entries) > 1 else ''
    return MaskCacheError(
        f'{entries[0]["img_path"]} is not the image whose masks are in {cache.path}{more}',
        make_again(cache.path, *(entry['image_id'] for entry in entries), command=command),
    )


@TRANSFORMS.register_module()
class LeaveOut(BaseTransform):
    """Leave out pixels that are to teach nothing: a car's roof, a logo. Adds ``left_out``, bool ``(H, W)``.

    No loss that takes labels or boundaries learns from them; assistant, fusion and student still see them. It stands
    before the steps that roll and mirror the panorama.

    Args:
        rows: How many rows at the top and at the bottom, in pixels, or below 1 as a share of the image's height.
        mask: An image whose pixels that are not black are left out, for all panoramas; scaled to their size.

    Raises:
        ConfigError: If the mask can't be read, or all of a panorama is left out.
    """

    def __init__(self, rows: tuple[float, float] = (0, 0), mask: str | None = None) -> None:
        if len(rows) != 2 or min(rows) < 0:
            raise ConfigError(f'LeaveOut rows={rows}', 'give the rows at the top and at the bottom')
        self.rows, self.mask = tuple(rows), mask
        self._masked = None if mask is None else _read_mask(mask)

    def transform(self, results: Results) -> Results:
        height, width = results['img'].shape[:2]
        top, bottom = (round(part * height) if 0 < part < 1 else int(part) for part in self.rows)
        left_out = np.zeros((height, width), bool)
        if self._masked is not None:
            left_out |= np.asarray(self._masked.resize((width, height), Image.Resampling.NEAREST))
        left_out[:top] = left_out[max(0, height - bottom) :] = True
        if left_out.all():
            raise ConfigError(f'LeaveOut rows={self.rows}, mask={self.mask} leaves nothing of {results["img_path"]}')
        results['left_out'] = left_out
        results['seg_fields'].append('left_out')  # so that it is rolled and mirrored
        return results


@TRANSFORMS.register_module()
class FlipPanorama(BaseTransform):
    """Mirror the panorama and its masks, or its lesson, left to right.

    Args:
        prob: Probability.
        where_possible: Leave panoramas as they are whose mirrored windows are no windows, instead of an error.
    """

    def __init__(self, prob: float = 0.5, where_possible: bool = False) -> None:
        self.prob, self.where_possible = prob, where_possible

    def transform(self, results: Results) -> Results:
        drawn = np.random.random() < self.prob
        if drawn and (not self.where_possible or _all_grids(results, can_mirror)):
            results['img'] = np.ascontiguousarray(results['img'][:, ::-1])
            for field in results['seg_fields']:
                results[field] = np.ascontiguousarray(results[field][:, ::-1])
            for name in _knowledge(results):
                results[name] = results[name].flipped()
        return results


@TRANSFORMS.register_module()
class RollPanorama(BaseTransform):
    """Roll the panorama and its masks, or its lesson, by a random number of strides; needs a cyclic grid.

    Args:
        prob: Probability.
        where_possible: Leave panoramas as they are whose rolled windows are no windows, instead of an error.
    """

    def __init__(self, prob: float = 1.0, where_possible: bool = False) -> None:
        self.prob, self.where_possible = prob, where_possible

    def transform(self, results: Results) -> Results:
        drawn = np.random.random() < self.prob
        if drawn and (not self.where_possible or _all_grids(results, can_roll)):
            names = _knowledge(results)
            grid = results[names[0]].grid
            steps = int(np.random.randint(len(grid.starts)))
            rolled_order(grid, steps)  # raises before anything is changed
            columns = -steps * grid.strides[1]
            for field in ('img', *results['seg_fields']):
                results[field] = _roll(results[field], columns)
            for name in names:
                results[name] = results[name].rolled(steps)
        return results


class PinnedSample(SegDataSample):
    """A data sample whose masks, or lesson, the loader can pin, like the image."""

    cached_masks: CachedMasks
    lesson: StoredLesson
    left_out: Tensor

    def pin_memory(self) -> PinnedSample:
        """Pin ``cached_masks``, ``lesson`` and ``left_out``; the loader calls it if ``pin_memory`` is on."""
        for name in (*KNOWLEDGE, 'left_out'):
            if name in self:
                setattr(self, name, getattr(self, name).pin_memory())
        return self


@MODELS.register_module()
class PanoramaPreProcessor(SegDataPreProcessor):
    """mmseg's preprocessor with non-blocking copies of pinned memory, which it has no argument for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._non_blocking = True


@TRANSFORMS.register_module()
class PackPanorama(PackSegInputs):
    """Pack as mmseg does, with ``cached_masks``, joined, or ``lesson``, with ``left_out`` and what ``META`` names."""

    def transform(self, results: Results) -> Results:
        packed = super().transform(results)
        sample = packed['data_samples']
        sample.set_metainfo({name: results[name] for name in META if name in results})
        if _knowledge(results):
            sample = packed['data_samples'] = PinnedSample(metainfo=sample.metainfo, **dict(sample.items()))
        if 'cached_masks' in results:
            sample.cached_masks = results['cached_masks'].joined()
        if 'lesson' in results:
            sample.lesson = results['lesson']
        if 'left_out' in results:
            sample.left_out = torch.from_numpy(results['left_out'])
        return packed


def _knowledge(results: Results) -> list[str]:
    return [name for name in KNOWLEDGE if name in results]


def _all_grids(results: Results, allow: Callable[[WindowGrid], bool]) -> bool:
    return all(allow(results[name].grid) for name in _knowledge(results))


def _read_mask(path: str) -> Image.Image:
    """Read a mask image; what is not black is true."""
    try:
        pixels = read_rgb(Path(path)).pixels
    except ImageError as problem:
        raise ConfigError(f'LeaveOut mask: {problem}') from problem
    return Image.fromarray(pixels.max(-1) > 0)


def _roll(array: NDArray[Any], columns: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.roll(array, columns, axis=1))
