"""SAM's automatic mask generation as a mask generator (the frozen teacher of Sec. 3.1)."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from stage1_sam_cache.errors import Stage1Error
from stage1_sam_cache.instance_masks import InstanceMasks
from stage1_sam_cache.sam_settings import SamSettings
from stage1_sam_cache.toy_sam import NAME as TOY


class SamMaskGenerator:
    """Runs ``SamAutomaticMaskGenerator`` on one RGB image at a time.

    Args:
        sam: The model; it is moved to ``device``.
        name: What the model is called in the cache's identity, such as ``vit_h``; masks of ``toy`` are never
            called SAM's.
        weights_sha256: Hex digest of its weights' file.
        settings: Of the generator.
        device: Where it runs.
    """

    def __init__(
        self,
        sam: Sam,
        name: str,
        weights_sha256: str,
        settings: SamSettings | None = None,
        device: torch.device | str = 'cpu',
    ) -> None:
        self.settings = settings or SamSettings()
        self.name = name
        self.weights_sha256 = weights_sha256
        self.device = torch.device(device)
        self._generator = SamAutomaticMaskGenerator(sam.to(self.device), **asdict(self.settings))

    @property
    def identity(self) -> dict[str, Any]:
        """Model, digest of its weights, settings and package version.

        The points per batch and the device are left out: they change rounding at most, and nodes with other
        hardware should be able to fill one cache.
        """
        settings = asdict(self.settings)
        del settings['points_per_batch']
        return {
            'name': 'toy_sam' if self.name == TOY else 'sam',
            'model': self.name,
            'weights_sha256': self.weights_sha256,
            'segment-anything': version('segment-anything'),
            **settings,
        }

    @property
    def made_with(self) -> dict[str, str]:
        """PyTorch's version and the device's name."""
        cuda = self.device.type == 'cuda'
        return {
            'device': torch.cuda.get_device_name(self.device) if cuda else self.device.type,
            'torch': torch.__version__,
        }

    def generate(self, image: NDArray[np.uint8]) -> InstanceMasks:
        """SAM's masks of an RGB image uint8 ``(h, w, 3)``, with predicted IoU and stability.

        Raises:
            Stage1Error: If the device's memory is too small.
        """
        try:
            records = self._generator.generate(image)
        except torch.OutOfMemoryError as problem:
            raise Stage1Error(
                f'{self.device} is out of memory with {self.settings.points_per_batch} points per batch; '
                'give a smaller --points-per-batch (the masks stay the same) or a smaller --sam'
            ) from problem
        masks = np.zeros((len(records), *image.shape[:2]), dtype=bool)
        for mask, record in zip(masks, records, strict=True):
            mask[:] = record['segmentation']
        return InstanceMasks.from_dense(
            masks,
            [record['predicted_iou'] for record in records],
            [record['stability_score'] for record in records],
        )
