"""SAM 2's automatic mask generation as a mask generator. This module needs the package ``sam2``.

SAM 2 resizes each window to a square, where SAM keeps its proportions and pads it.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam2_base import SAM2Base
from sam2.utils.amg import MaskData

from stage1_sam_cache.errors import GoodSAMError
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.exact_generation import packed_of_records
from stage1_sam_cache.sam.on_device import OnDevice
from stage1_sam_cache.sam.sam2_sizes import feature_sizes
from stage1_sam_cache.sam.settings import Sam2Settings

_DISTRIBUTIONS = ('sam2', 'SAM-2')  # on the package index, and in the publishers' repository


class _Generator(SAM2AutomaticMaskGenerator):
    """The package's generator, which also takes an image in none of whose sub-crops it finds a mask."""

    def _process_crop(self, *arguments: Any) -> MaskData:
        data = super()._process_crop(*arguments)
        data['crop_boxes'] = data['crop_boxes'].reshape(-1, 4)  # of shape (0,) there if there are no masks
        return data


class Sam2MaskGenerator(OnDevice):
    """Runs SAM 2's automatic mask generation, unchanged, on RGB images.

    Args:
        sam2: The model; it is moved to ``device``.
        name: What the model is called in the cache's identity, such as ``sam2_t``.
        weights_sha256: Hex digest of its weights' file.
        settings: Arguments of the automatic mask generation. ``stable_masks`` has to be that of the model.
        device: Device of the model.

    Raises:
        GoodSAMError: If small regions are to be removed and SAM 2's CUDA operator for it is not there.
    """

    def __init__(
        self,
        sam2: SAM2Base,
        name: str,
        weights_sha256: str,
        settings: Sam2Settings | None = None,
        device: torch.device | str = 'cpu',
    ) -> None:
        self.settings = settings or Sam2Settings()
        super().__init__(device, self.settings)
        self.name = name
        self.weights_sha256 = weights_sha256
        if self.settings.min_mask_region_area:
            _require_region_operator(self.device)
        options = asdict(self.settings)
        del options['stable_masks']
        self._generator = _Generator(sam2.to(self.device), **options)
        # The predictor has the sizes of images of 1024 pixels, whatever the model takes.
        self._generator.predictor._bb_feat_sizes = feature_sizes(sam2.image_size)

    @property
    def identity(self) -> dict[str, Any]:
        """Model, digest of its weights, settings, level, package version, and whether the CUDA operator takes part.

        Points per batch and device are not part of it, as for SAM.
        """
        settings = asdict(self.settings)
        del settings['points_per_batch']
        return {
            'name': 'toy_sam2' if self.name == 'sam2_toy' else 'sam2',
            'model': self.name,
            'weights_sha256': self.weights_sha256,
            'sam2': _package_version(),
            'level': 'stock',
            'region_operator': bool(self.settings.min_mask_region_area),
            **settings,
        }

    def generate(self, image: NDArray[np.uint8]) -> InstanceMasks:
        """Return SAM 2's masks of an RGB image uint8 ``(h, w, 3)``, with predicted IoU and stability.

        Raises:
            Stage1Error: If the device's memory is too small.
        """
        with self.memory_explained(), self._in_use:
            records = self._generator.generate(image)
        return InstanceMasks.from_packed(*packed_of_records(records, image.shape[:2]))


def _package_version() -> str:
    """Version of the installed package, with its name where that is not ``sam2``."""
    for name in _DISTRIBUTIONS:
        try:
            return version(name) if name == 'sam2' else f'{name} {version(name)}'
        except PackageNotFoundError:
            continue
    return 'not installed by pip'


def _require_region_operator(device: torch.device) -> None:
    """Check that small regions can be removed; SAM 2 itself would warn and leave them in.

    Raises:
        GoodSAMError: If not.
    """
    if device.type != 'cuda' or find_spec('sam2._C') is None:
        raise GoodSAMError(
            '--min-mask-region-area: SAM 2 removes small regions by a CUDA operator, which '
            + ('is not installed' if device.type == 'cuda' else f'does not run on {device.type}'),
            'leave the flag out' + (', or build sam2 with SAM2_BUILD_CUDA=1' if device.type == 'cuda' else ''),
        )
