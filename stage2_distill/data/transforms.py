"""Loading and augmenting panoramas together with their cached masks.

The cache is tied to fixed windows, so only what maps the grid onto itself is allowed: changes of colour, the mirror
image, and with wrap-around a turn by whole strides.
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

from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.errors import MaskCacheError
from stage2_distill.data.cached_masks import CachedMasks, rolled_order

Results = dict[str, Any]


@TRANSFORMS.register_module()
class LoadPanorama(BaseTransform):
    """Reads an image by stage 1's policy, so that both stages see the same pixels.

    Adds ``img`` (uint8 BGR ``(H, W, 3)``, as mmseg has it), ``img_shape``, ``ori_shape``, ``pixels`` (RGB, as it was
    read) and ``img_sha256``.
    """

    def transform(self, results: Results) -> Results:
        image = read_rgb(Path(results['img_path']))
        results['img'] = np.ascontiguousarray(image.pixels[..., ::-1])
        results['img_shape'] = results['ori_shape'] = image.pixels.shape[:2]
        results['pixels'], results['img_sha256'] = image.pixels, image.sha256
        return results


@TRANSFORMS.register_module()
class LoadLabel(BaseTransform):
    """Reads the label of an image that was loaded, by the catalogue's rules. Adds ``gt_seg_map``, uint8 ``(H, W)``.

    Raises:
        ImageError: If it can't be read, has another size than the image, or an id that is no class.
    """

    def transform(self, results: Results) -> Results:
        results['gt_seg_map'] = results['read_label'](Path(results['seg_map_path']), results['pixels'])
        results['seg_fields'].append('gt_seg_map')
        return results


@TRANSFORMS.register_module()
class LoadCachedMasks(BaseTransform):
    """Reads what stage 1 cached of the image. Adds ``cached_masks``.

    Raises:
        MaskCacheError: If there is nothing, or it belongs to another image.
    """

    def transform(self, results: Results) -> Results:
        cache, image_id = results['mask_cache'], results['image_id']
        if cache is None:
            raise MaskCacheError('the config loads cached masks from a data set without a cache; give it one')
        try:
            panorama = cache[image_id]
        except KeyError as problem:
            raise MaskCacheError(f'{problem.args[0]}; run tools/cache_sam.py again') from None
        if panorama.image_sha256 != results['img_sha256']:
            raise MaskCacheError(
                f'{results["img_path"]} is not the image whose masks are in {cache.path}; run tools/cache_sam.py again'
            )
        results['cached_masks'] = CachedMasks.from_cache(panorama)
        return results


@TRANSFORMS.register_module()
class FlipPanorama(BaseTransform):
    """Mirrors the panorama and its masks left to right.

    Args:
        prob: How often.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: Results) -> Results:
        if np.random.random() < self.prob:
            results['img'] = np.ascontiguousarray(results['img'][:, ::-1])
            for field in results['seg_fields']:
                results[field] = np.ascontiguousarray(results[field][:, ::-1])
            results['cached_masks'] = results['cached_masks'].flipped()
        return results


@TRANSFORMS.register_module()
class RollPanorama(BaseTransform):
    """Turns the panorama and its masks by a random number of strides; needs a cyclic grid.

    Args:
        prob: How often.
    """

    def __init__(self, prob: float = 1.0) -> None:
        self.prob = prob

    def transform(self, results: Results) -> Results:
        if np.random.random() < self.prob:
            masks: CachedMasks = results['cached_masks']
            steps = int(np.random.randint(len(masks.grid.starts)))
            rolled_order(masks.grid, steps)  # says what is wrong before anything is turned
            columns = -steps * masks.grid.strides[1]
            for field in ('img', *results['seg_fields']):
                results[field] = _roll(results[field], columns)
            results['cached_masks'] = masks.rolled(steps)
        return results


class PinnedSample(SegDataSample):
    """A data sample whose masks the loader can pin, like the image beside it."""

    cached_masks: CachedMasks

    def pin_memory(self) -> PinnedSample:
        """With ``cached_masks`` in pinned memory; the loader asks for it if ``pin_memory`` is on."""
        self.cached_masks = self.cached_masks.pin_memory()
        return self


@MODELS.register_module()
class PanoramaPreProcessor(SegDataPreProcessor):
    """mmseg's, which copies what is pinned to the GPU while the processor goes on."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._non_blocking = True


@TRANSFORMS.register_module()
class PackPanorama(PackSegInputs):
    """mmseg's packing, with ``cached_masks``, joined, and the image's id in the data sample."""

    def transform(self, results: Results) -> Results:
        packed = super().transform(results)
        sample = packed['data_samples']
        if 'image_id' in results:
            sample.set_metainfo({'image_id': results['image_id']})
        if 'cached_masks' in results:
            sample = packed['data_samples'] = PinnedSample(metainfo=sample.metainfo, **dict(sample.items()))
            sample.cached_masks = results['cached_masks'].joined()
        return packed


def _roll(array: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.roll(array, columns, axis=1))
