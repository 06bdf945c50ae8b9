"""SAM's automatic mask generation as a mask generator (the frozen teacher of Sec. 3.1)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from stage1_sam_cache.errors import Stage1Error
from stage1_sam_cache.instance_masks import InstanceMasks


@dataclass(frozen=True)
class SamSettings:
    """Arguments of ``SamAutomaticMaskGenerator`` with its own defaults; the paper does not name others."""

    points_per_side: int = field(default=32, metadata={'help': 'prompt points along each side of a crop'})
    points_per_batch: int = field(default=64, metadata={'help': 'points decoded at once: memory against speed'})
    pred_iou_thresh: float = field(default=0.88, metadata={'help': 'least predicted IoU of a mask'})
    stability_score_thresh: float = field(default=0.95, metadata={'help': 'least stability score of a mask'})
    stability_score_offset: float = field(default=1.0, metadata={'help': 'shift of the cutoff that tests stability'})
    box_nms_thresh: float = field(default=0.7, metadata={'help': 'box IoU over which the lower scored mask is dropped'})
    crop_n_layers: int = field(default=0, metadata={'help': "layers of SAM's own sub-crops of each window"})
    crop_nms_thresh: float = field(default=0.7, metadata={'help': 'the same as box NMS, between sub-crops'})
    crop_overlap_ratio: float = field(default=512 / 1500, metadata={'help': 'overlap of sub-crops, share of a side'})
    crop_n_points_downscale_factor: int = field(default=1, metadata={'help': 'fewer points per side in deeper layers'})
    min_mask_region_area: int = field(default=0, metadata={'help': 'smaller islands and holes are removed, in pixels'})

    def __post_init__(self) -> None:
        if min(self.points_per_side, self.points_per_batch, self.crop_n_points_downscale_factor) < 1:
            raise ValueError('points per side, points per batch and the point downscale factor have to be at least 1')
        if min(self.crop_n_layers, self.min_mask_region_area) < 0:
            raise ValueError('crop layers and the least region area cannot be negative')


class SamMaskGenerator:
    """Runs ``SamAutomaticMaskGenerator`` on one RGB image at a time.

    Args:
        sam: The model; it is moved to ``device``.
        name: What the model is called in the cache's identity, such as ``vit_h``.
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
            'name': 'sam',
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
