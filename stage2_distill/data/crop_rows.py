"""Some rows of a panorama: releases have rows at the top and bottom that no camera saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from stage2_distill.data.transforms import KNOWLEDGE
from stage2_distill.errors import ConfigError


@TRANSFORMS.register_module()
class CropRows(BaseTransform):
    """Keep the rows from ``top`` to before ``bottom`` of an image and of its label; what is kept is what is scored.

    Adds ``kept_rows``. It stands behind ``LoadLabel``, which compares the sizes of image and label.

    Args:
        top: The first row that is kept.
        bottom: The first row below those that are kept.

    Raises:
        ConfigError: If there are no such rows, or cached masks are loaded, whose windows would no longer fit.
    """

    def __init__(self, top: int, bottom: int) -> None:
        if not 0 <= top < bottom:
            raise ConfigError(f'CropRows top={top}, bottom={bottom} keeps no row', 'give 0 <= top < bottom')
        self.top, self.bottom = top, bottom

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        rows = results['img'].shape[0]
        if rows < self.bottom:
            raise ConfigError(
                f'{results["img_path"]} has {rows} rows, and CropRows keeps those from {self.top} to {self.bottom}',
                'change the rows in the config, or take the step out of the pipeline',
            )
        if any(name in results for name in KNOWLEDGE):
            raise ConfigError('CropRows cannot crop cached masks', 'cache masks of cropped images')
        kept = slice(self.top, self.bottom)
        for field in ('img', 'pixels', *results['seg_fields']):
            if field in results:
                results[field] = np.ascontiguousarray(results[field][kept])
        results['kept_rows'] = self.top, self.bottom
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results
