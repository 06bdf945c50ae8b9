"""``SamAutomaticMaskGenerator`` with less work between decoder and masks: level ``exact`` of ``sam.settings``.

Private methods of segment_anything that are overridden here, each because there is no public place for the change:

- ``_process_batch``: decodes and filters one batch of points, in another order than the stock method does;
- ``_process_crop``: the stock method gives a crop without masks a shape that its caller cannot concatenate;
- ``_generate_masks``: run-length encodes the masks that are left when all duplicates are gone.

tests/test_fast_masks.py compares their signatures and their callers with the installed segment_anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.utils.amg import MaskData, is_box_near_crop_edge, mask_to_rle_pytorch
from torch import Tensor

from stage1_sam_cache.sam.mask_filters import measure


class PackedMasks(NamedTuple):
    """Masks of one image, as ``InstanceMasks.from_packed`` takes them.

    Attributes:
        bits: uint8 ``(K, h, ceil(width / 8))``.
        width: Of the image.
        predicted_iou, stability: Scores of each mask.
    """

    bits: NDArray[np.uint8]
    width: int
    predicted_iou: list[float]
    stability: list[float]


class ExactMaskGenerator(SamAutomaticMaskGenerator):
    """The stock generator's records, bit for bit, with less work.

    Masks are filtered by their predicted IoU before they are enlarged, and run-length encoded once, after duplicates
    are gone. Until then ``MaskData`` holds them as ``packed_masks``, uint8 ``(K, h, ceil(w / 8))``, and its ``rles``,
    which the stock code counts, is a list of None.
    """

    @torch.no_grad()
    def generate_packed(self, image: NDArray[np.uint8]) -> PackedMasks:
        """Return the masks and scores of an RGB image, in the order of ``generate``'s records."""
        if self.min_mask_region_area > 0:  # needs run-length encoded masks
            return packed_of_records(self.generate(image), image.shape[:2])
        data = super()._generate_masks(image)
        scores = (data[name].tolist() for name in ('iou_preds', 'stability_score'))
        return PackedMasks(data['packed_masks'], image.shape[1], *scores)

    def _generate_masks(self, image: NDArray[np.uint8]) -> MaskData:
        data = super()._generate_masks(image)
        data['rles'] = mask_to_rle_pytorch(torch.from_numpy(unpack(data['packed_masks'], image.shape[1])))
        del data['packed_masks']
        return data

    def _process_crop(
        self, image: NDArray[np.uint8], crop_box: list[int], crop_layer_idx: int, orig_size: tuple[int, ...]
    ) -> MaskData:
        data = super()._process_crop(image, crop_box, crop_layer_idx, orig_size)
        data['crop_boxes'] = data['crop_boxes'].reshape(-1, 4)  # (0,) in the stock method if there are no masks
        return data

    def _process_batch(
        self, points: NDArray[np.float64], im_size: tuple[int, ...], crop_box: list[int], orig_size: tuple[int, ...]
    ) -> MaskData:
        low, iou, index = self._decode(points, im_size)
        point_of_mask = torch.as_tensor(points)[index.cpu() // 3]
        joined = MaskData()
        for part in torch.arange(len(low)).split(self.points_per_batch) or [torch.arange(0)]:
            data = MaskData(iou_preds=iou[part], points=point_of_mask[part])
            joined.cat(self._filter_and_pack(data, low[part], crop_box, orig_size))
        return joined

    def _decode(self, points: NDArray[np.float64], im_size: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Return low-resolution logits ``(K, h, w)``, predicted IoU and index of the masks above the IoU threshold."""
        predictor, model = self.predictor, self.predictor.model
        coords, labels = self._prompts(points, im_size)
        sparse, dense = model.prompt_encoder(points=(coords, labels), boxes=None, masks=None)
        low, iou = model.mask_decoder(
            image_embeddings=predictor.features,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        keep = self._above_iou_threshold(iou.flatten())
        return low.flatten(0, 1)[keep], iou.flatten()[keep], keep.nonzero()[:, 0]

    def _prompts(self, points: NDArray[np.float64], im_size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        device = self.predictor.device
        coords = torch.as_tensor(self.predictor.transform.apply_coords(points, im_size), device=device)[:, None]
        return coords, torch.ones(coords.shape[:2], dtype=torch.int, device=device)

    def _above_iou_threshold(self, iou: Tensor) -> Tensor:
        return iou > self.pred_iou_thresh if self.pred_iou_thresh > 0.0 else torch.ones_like(iou, dtype=torch.bool)

    def _enlarge(self, low: Tensor) -> Tensor:
        """Return logits ``(K, h, w)`` at the size of the crop."""
        predictor = self.predictor
        return predictor.model.postprocess_masks(low[:, None], predictor.input_size, predictor.original_size)[:, 0]

    def _filter_and_pack(
        self, data: MaskData, low: Tensor, crop_box: list[int], orig_size: tuple[int, ...]
    ) -> MaskData:
        """Filter by stability and by boxes at the edge of the crop, as the stock generator does, and pack the masks."""
        model, (height, width) = self.predictor.model, orig_size
        left, top, right, bottom = crop_box
        around = (left, width - right, top, height - bottom)
        logits = self._enlarge(low)
        bits, data['stability_score'], data['boxes'] = measure(
            logits, model.mask_threshold, self.stability_score_offset, around
        )
        keep = ~is_box_near_crop_edge(data['boxes'], crop_box, [0, 0, width, height])
        data['packed_masks'] = bits
        data.filter(keep & (data['stability_score'] >= self.stability_score_thresh))
        data['rles'] = [None] * len(data['packed_masks'])
        return data


def packed_of_records(records: Sequence[dict[str, Any]], shape: tuple[int, ...]) -> PackedMasks:
    """Return the masks of the stock generator's records of an image of this shape."""
    bits = np.zeros((len(records), shape[0], -(-shape[1] // 8)), np.uint8)
    for packed, record in zip(bits, records, strict=True):
        packed[:] = np.packbits(record['segmentation'], axis=1)
    scores = ([record[name] for record in records] for name in ('predicted_iou', 'stability_score'))
    return PackedMasks(bits, shape[1], *scores)


def unpack(bits: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """Return masks of eight pixels per byte as bool ``(K, h, width)``."""
    return np.unpackbits(bits, axis=2, count=width).view(bool)
