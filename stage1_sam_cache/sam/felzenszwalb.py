"""Felzenszwalb's graph-based segmentation as a mask generator that needs no weights.

It is not SAM: it gives regions of similar colour, not objects, and no scores. With it the whole pipeline runs on any
machine.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.masks.instance_masks import InstanceMasks

MAX_SIGMA = 100.0


@dataclass(frozen=True)
class FelzenszwalbSettings:
    """Arguments of ``skimage.segmentation.felzenszwalb``, with several scales."""

    scales: tuple[float, ...] = field(
        default=(100.0, 300.0, 1000.0), metadata={'help': 'one segmentation each; larger scales give larger regions'}
    )
    sigma: float = field(default=0.8, metadata={'help': 'smoothing before, in pixels'})
    min_size: int = field(default=64, metadata={'help': 'smaller regions are merged, in pixels'})

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale < inf for scale in self.scales) or self.min_size < 1:
            raise ValueError(f'scales {self.scales} and min_size {self.min_size} have to be positive numbers')
        if not 0 <= self.sigma <= MAX_SIGMA:
            raise ValueError(f'sigma {self.sigma} has to be from 0 to {MAX_SIGMA} pixels')


class FelzenszwalbMaskGenerator:
    """Regions of all scales; those of different scales overlap as SAM's wholes and parts do.

    Predicted IoU and stability are NaN: the method does not score its masks.
    """

    def __init__(self, settings: FelzenszwalbSettings | None = None) -> None:
        self.settings = settings or FelzenszwalbSettings()

    @property
    def identity(self) -> dict[str, Any]:
        """Name, settings and scikit-image's version."""
        settings = asdict(self.settings) | {'scales': list(self.settings.scales)}
        return {'name': 'felzenszwalb', 'scikit-image': version('scikit-image'), **settings}

    @property
    def made_with(self) -> dict[str, str]:
        """NumPy's version; everything runs on the CPU."""
        return {'device': 'cpu', 'numpy': np.__version__}

    def generate(self, image: NDArray[np.uint8]) -> InstanceMasks:
        """Return every region of every scale once; together they cover the image uint8 ``(h, w, 3)``."""
        from skimage.segmentation import felzenszwalb  # here, because it brings SciPy, for which --help need not wait

        return InstanceMasks.from_label_maps(
            [
                felzenszwalb(image, scale=scale, sigma=self.settings.sigma, min_size=self.settings.min_size)
                for scale in self.settings.scales
            ]
        )
