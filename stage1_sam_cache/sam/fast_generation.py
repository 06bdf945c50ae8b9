"""``SamAutomaticMaskGenerator`` with less work between image and masks; the levels are those of ``sam.settings``.

Private methods of segment_anything that are overridden here, each because there is no public place for the change:

- ``_process_batch``: decodes and filters one batch of points, in another order than the stock method does;
- ``_process_crop``: the stock method gives a crop without masks a shape that its caller cannot concatenate;
- ``_generate_masks``: run-length encodes the masks that are left when all duplicates are gone.

tests/test_fast_masks.py compares their signatures and their callers with the installed segment_anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.amg import (
    MaskData,
    batched_mask_to_box,
    calculate_stability_score,
    is_box_near_crop_edge,
    mask_to_rle_pytorch,
    uncrop_masks,
)
from torch import Tensor

from stage1_sam_cache.sam.fast_networks import accelerate

Dense = tuple[NDArray[np.bool_], list[float], list[float]]  # masks (K, h, w), predicted IoU, stability

CPU_POINTS = 16  # decoded at once: what fits the cache of a CPU
_POINT_NUMBERS = 4096 * 256 * 8  # that the decoder holds in memory for one point


class ExactMaskGenerator(SamAutomaticMaskGenerator):
    """The stock generator's records, bit for bit, with less work.

    Masks are filtered by their predicted IoU before they are enlarged, and run-length encoded once, after duplicates
    are gone. Until then ``MaskData`` holds them as ``packed_masks``, uint8 ``(K, h, ceil(w / 8))``, and its ``rles``,
    which the stock code counts, is a list of None.
    """

    @torch.no_grad()
    def generate_dense(self, image: NDArray[np.uint8]) -> Dense:
        """Return masks bool ``(K, h, w)``, predicted IoU and stability, in the order of ``generate``'s records."""
        if self.min_mask_region_area > 0:  # needs run-length encoded masks
            return dense_of_records(self.generate(image), image.shape[:2])
        data = super()._generate_masks(image)
        masks = _unpack(data['packed_masks'], image.shape[1])
        return masks, data['iou_preds'].tolist(), data['stability_score'].tolist()

    def _generate_masks(self, image: NDArray[np.uint8]) -> MaskData:
        data = super()._generate_masks(image)
        data['rles'] = mask_to_rle_pytorch(torch.from_numpy(_unpack(data['packed_masks'], image.shape[1])))
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
        threshold = self.predictor.model.mask_threshold
        height, width = orig_size
        data['masks'] = self._enlarge(low)
        data['stability_score'] = calculate_stability_score(data['masks'], threshold, self.stability_score_offset)
        if self.stability_score_thresh > 0.0:
            data.filter(data['stability_score'] >= self.stability_score_thresh)
        data['masks'] = data['masks'] > threshold
        data['boxes'] = batched_mask_to_box(data['masks'])
        keep = ~is_box_near_crop_edge(data['boxes'], crop_box, [0, 0, width, height])
        if not torch.all(keep):
            data.filter(keep)
        data['packed_masks'] = _pack(uncrop_masks(data['masks'], crop_box, height, width))
        data['rles'] = [None] * len(data['packed_masks'])
        del data['masks']
        return data


class FastMaskGenerator(ExactMaskGenerator):
    """The same masks up to rounding, with the networks of ``sam.fast_networks``.

    Args:
        sam: The model; its networks are replaced in place.
        dtype: Type of the networks: float32, bfloat16 or float16. Filters and thresholds work in float32 always.
        compiled: Compile the encoder, which takes a minute or two at the first image.
        options: Arguments of ``SamAutomaticMaskGenerator``.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype = torch.float32, compiled: bool = False, **options: Any) -> None:
        accelerate(sam)
        for network in (sam.image_encoder, sam.mask_decoder):
            network.to(dtype)
        super().__init__(sam, **options)
        self.predictor = _FastPredictor(sam, dtype)
        self._position = sam.prompt_encoder.get_dense_pe()
        if compiled:
            sam.image_encoder.compile()

    @torch.no_grad()
    def generate_dense_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Dense]:
        """Return ``generate_dense`` of several images, which go through the encoder as one batch."""
        try:
            if self.crop_n_layers == 0:
                self.predictor.encode_ahead(images)
            return [self.generate_dense(image) for image in images]
        finally:
            self.predictor.drop_embeddings()  # after an error, those of images that were not set

    def _decode(self, points: NDArray[np.float64], im_size: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        predictor, model = self.predictor, self.predictor.model
        sparse, _ = model.prompt_encoder(points=self._prompts(points, im_size), boxes=None, masks=None)
        features = predictor.features
        low_side = 4 * features.shape[-1]
        scale = model.image_encoder.img_size / low_side
        # The interpolation of the last pixel of the image uses the next low-resolution pixel too.
        inside = tuple(-(-min(int((side - 0.5) / scale + 0.5) + 1, low_side) // 4) for side in predictor.input_size)
        chunk = CPU_POINTS if features.device.type == 'cpu' else len(sparse)
        decoded = [
            model.mask_decoder.decode(
                features,
                self._position.to(features.dtype),
                prompts.to(features.dtype),
                model.prompt_encoder.no_mask_embed.weight[0].to(features.dtype),
                inside,
                self._above_iou_threshold,
            )
            for prompts in sparse.split(chunk)
        ]
        low, iou, index = (list(parts) for parts in zip(*decoded, strict=True))
        return torch.cat(low), torch.cat(iou), torch.cat([part + 3 * chunk * i for i, part in enumerate(index)])

    def _enlarge(self, low: Tensor) -> Tensor:
        """Enlarge in one step where that is exact: the encoder sees the crop at twice its size, 4 times the masks'."""
        predictor = self.predictor
        side, (height, width) = predictor.model.image_encoder.img_size, predictor.original_size
        stride = side // (4 * predictor.features.shape[-1])
        rows, columns = predictor.input_size
        if stride == 4 and (rows, columns) == (2 * height, 2 * width):
            return _times(low, 2)[:, :height, :width]
        fine = _times(low, stride)[:, :rows, :columns]
        if (rows, columns) == (height, width):
            return fine
        return F.interpolate(fine[:, None], (height, width), mode='bilinear', align_corners=False)[:, 0]


def _times(low: Tensor, factor: int) -> Tensor:
    return F.interpolate(low[:, None], scale_factor=factor, mode='bilinear', align_corners=False)[:, 0]


class _FastPredictor(SamPredictor):
    """SAM's predictor; embeddings may be computed ahead, for several images at once."""

    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        super().__init__(sam)
        self._dtype = dtype
        self._ahead: deque[Tensor] = deque()

    def encode_ahead(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Encode images that will be set next, in this order."""
        prepared = [self.model.preprocess(self._transformed(image))[0] for image in images]
        self._ahead.extend(self.model.image_encoder(torch.stack(prepared).to(self._dtype)).split(1))

    def drop_embeddings(self) -> None:
        """Drop embeddings that were not used."""
        self._ahead.clear()

    def _transformed(self, image: NDArray[np.uint8]) -> Tensor:
        pixels = torch.as_tensor(self.transform.apply_image(image), device=self.device)
        return pixels.permute(2, 0, 1).contiguous()[None]

    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, ...]) -> None:
        """Set the image as SAM's predictor does, with the embedding from ``encode_ahead`` if there is one."""
        self.reset_image()
        self.original_size, self.input_size = original_image_size, tuple(transformed_image.shape[-2:])
        if self._ahead:
            self.features = self._ahead.popleft()
        else:
            self.features = self.model.image_encoder(self.model.preprocess(transformed_image).to(self._dtype))
        self.is_image_set = True


def dense_of_records(records: Sequence[dict[str, Any]], shape: tuple[int, ...]) -> Dense:
    """Return the masks of the stock generator's records of an image of this shape."""
    masks = np.zeros((len(records), *shape), bool)
    for mask, record in zip(masks, records, strict=True):
        mask[:] = record['segmentation']
    iou, stability = ([record[name] for record in records] for name in ('predicted_iou', 'stability_score'))
    return masks, iou, stability


def points_that_fit(device: torch.device, level: str) -> int:
    """Return how many points the decoder should take at once, by the free memory of a GPU."""
    if device.type != 'cuda':
        return 4 * CPU_POINTS
    free, _ = torch.cuda.mem_get_info(device)
    size = 2 if level in ('bf16', 'fp16') else 4  # bytes per number
    return max(32, min(1024, int(free * 0.4 / (_POINT_NUMBERS * size)) // 32 * 32))


def _pack(masks: Tensor) -> Tensor:
    """Pack bool ``(K, h, w)`` into bits, uint8 ``(K, h, ceil(w / 8))``, as ``numpy.packbits`` does."""
    padded = F.pad(masks, (0, -masks.shape[2] % 8)).unflatten(2, (-1, 8))
    places = 2 ** torch.arange(7, -1, -1, device=masks.device, dtype=torch.uint8)
    return (padded * places).sum(3, dtype=torch.uint8)


def _unpack(bits: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    return np.unpackbits(bits, axis=2, count=width).view(bool)
