"""The seed of a sample's order of windows: drawn with its augmentation, so that a resumed run has the same orders."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DrawOrder(BaseTransform):
    """Draw the seed of the order in which the windows of an image are visited; ``OmniSAM`` draws the order from it.

    Adds ``order_seed``. With ``DrawSampler`` it depends on the run's seed and the sample's place in the run alone, not
    on the number of workers and processes.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        results['order_seed'] = int(np.random.randint(2**31))  # noqa: NPY002 - seeded by the data set
        return results
