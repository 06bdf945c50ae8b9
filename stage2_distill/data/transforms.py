"""Loading and augmenting panoramas together with their cached masks.

The cache is tied to fixed windows, so only what maps the grid onto itself is allowed: changes of colour, mirroring,
and with wrap-around a roll by whole strides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets.transforms import PackSegInputs
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from numpy.typing import NDArray

from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.data.labels import LabelReader
from stage1_sam_cache.errors import MaskCacheError
from stage2_distill.data.cached_masks import CachedMasks, rolled_order
from stage2_distill.data.stored_lesson import SUFFIX, StoredLesson, read
from stage2_distill.errors import ConfigError

Results = dict[str, Any]
KNOWLEDGE = ('cached_masks', 'lesson')  # what a sample carries beside its image, one of them; it turns with the image


@TRANSFORMS.register_module()
class LoadPanorama(BaseTransform):
    """Read an image by stage 1's policy, so that both stages see the same pixels.

    Adds ``img`` (uint8 BGR ``(H, W, 3)``, as in mmseg), ``img_shape``, ``ori_shape``, ``pixels`` (the same in RGB) and
    ``img_sha256``.
    """

    def transform(self, results: Results) -> Results:
        image = read_rgb(Path(results['img_path']))
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

    read: LabelReader | None = None

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
            results['lesson'] = read(self.lessons / (results['image_id'] + SUFFIX), results['img_sha256'])
            return results
        if self.cache is None:
            raise MaskCacheError('the config loads cached masks from a data set without a cache', 'give it one')
        try:
            panorama = self.cache[results['image_id']]
        except KeyError as problem:
            raise MaskCacheError(problem.args[0], 'run tools/cache_sam.py again') from None
        if panorama.image_sha256 != results['img_sha256']:
            raise MaskCacheError(
                f'{results["img_path"]} is not the image whose masks are in {self.cache.path}',
                'run tools/cache_sam.py again',
            )
        results['cached_masks'] = CachedMasks.from_cache(panorama)
        return results


@TRANSFORMS.register_module()
class FlipPanorama(BaseTransform):
    """Mirror the panorama and its masks, or its lesson, left to right.

    Args:
        prob: Probability.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: Results) -> Results:
        if np.random.random() < self.prob:
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
    """

    def __init__(self, prob: float = 1.0) -> None:
        self.prob = prob

    def transform(self, results: Results) -> Results:
        if np.random.random() < self.prob:
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

    def pin_memory(self) -> PinnedSample:
        """Pin ``cached_masks`` or ``lesson``; the loader calls it if ``pin_memory`` is on."""
        for name in KNOWLEDGE:
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
    """Pack as mmseg does, with ``cached_masks``, joined, or ``lesson``, and the image's id in the data sample."""

    def transform(self, results: Results) -> Results:
        packed = super().transform(results)
        sample = packed['data_samples']
        if 'image_id' in results:
            sample.set_metainfo({'image_id': results['image_id']})
        if _knowledge(results):
            sample = packed['data_samples'] = PinnedSample(metainfo=sample.metainfo, **dict(sample.items()))
        if 'cached_masks' in results:
            sample.cached_masks = results['cached_masks'].joined()
        if 'lesson' in results:
            sample.lesson = results['lesson']
        return packed


def _knowledge(results: Results) -> list[str]:
    return [name for name in KNOWLEDGE if name in results]


def _roll(array: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.roll(array, columns, axis=1))
