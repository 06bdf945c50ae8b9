"""Settings of SAM's automatic mask generation; apart from the model, so that reading them needs no PyTorch.

Levels, which are part of a cache's identity:

- ``stock``: the generator of segment_anything;
- ``exact``: its networks, with less work after them; the same masks bit for bit, in the same order;
- ``fp32-fast``: networks with less work (``fast_networks``), the same up to rounding, about 1e-6 of the logits;
- ``bf16``, ``fp16``: the fast networks in bfloat16 or float16; float16 is closer to float32 but may overflow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

LEVELS = ('stock', 'exact', 'fp32-fast', 'bf16', 'fp16')


@dataclass(frozen=True)
class SamSettings:
    """Arguments of ``SamAutomaticMaskGenerator`` with its own defaults; the paper names no others."""

    points_per_side: int = field(default=32, metadata={'help': 'prompt points along each side of a crop'})
    points_per_batch: int = field(default=64, metadata={'help': 'points decoded at once: memory against speed'})
    pred_iou_thresh: float = field(default=0.88, metadata={'help': 'least predicted IoU of a mask; of SAM 2 0.8'})
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
        thresholds = (self.pred_iou_thresh, self.stability_score_thresh, self.stability_score_offset)
        if not all(map(isfinite, thresholds)):
            raise ValueError('thresholds and the stability offset have to be finite numbers')
        # Written so that NaN fails too.
        if not (0 <= self.box_nms_thresh <= 1 and 0 <= self.crop_nms_thresh <= 1 and 0 <= self.crop_overlap_ratio < 1):
            raise ValueError('the NMS thresholds have to be from 0 to 1, and the crop overlap from 0 to below 1')


# Chosen by the score of the ensemble labels, and for speed (docs/performance.md): few masks of a predicted IoU above
# 0.7 cover things of several classes, and more points gave more masks but no better labels.
TOY_SETTINGS = SamSettings(points_per_side=8, pred_iou_thresh=0.7, stability_score_thresh=0.0)


@dataclass(frozen=True)
class Sam2Options:
    """Arguments that SAM 2's mask generation has besides those of SAM's, with its own defaults."""

    use_m2m: bool = field(default=False, metadata={'help': 'refine each mask once, by the mask itself as a prompt'})
    multimask_output: bool = field(default=True, metadata={'help': 'three masks per point, not one'})
    stable_masks: bool = field(
        default=False,
        metadata={'help': 'where one mask is asked for and is not stable, take the best of three (post-processing)'},
    )


@dataclass(frozen=True)
class Sam2Settings(SamSettings, Sam2Options):
    """Arguments of ``SAM2AutomaticMaskGenerator`` with its own defaults, and of the network's post-processing."""

    pred_iou_thresh: float = 0.8
