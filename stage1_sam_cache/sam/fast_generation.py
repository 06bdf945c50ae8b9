"""``SamAutomaticMaskGenerator`` with less work between image and masks; the levels are those of `sam_settings`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
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

Dense = tuple[NDArray[np.bool_], list[float], list[float]]  # masks (K, h, w), expected IoU, stability

CPU_POINTS = 16  # decoded at once: what stays near the processor
_POINT_BYTES = 4096 * 256 * 8  # of memory that a point takes in the decoder, times the bytes of a number


class ExactMaskGenerator(SamAutomaticMaskGenerator):
    """The stock generator's records, bit for bit, with less work.

    Masks are filtered by their expected IoU before they are enlarged, and runs are encoded once, after duplicates are
    gone. Until then ``rles`` holds packed bits, uint8 ``(K, h, w / 8)``.
    """

    @torch.no_grad()
    def generate_dense(self, image: NDArray[np.uint8]) -> Dense:
        """Masks bool ``(K, h, w)``, expected IoU and stability, in the order of ``generate``'s records."""
        if self.min_mask_region_area > 0:  # works on encoded runs
            return dense_of_records(self.generate(image), image.shape[:2])
        data = super()._generate_masks(image)
        return _unpack(data['rles'], image.shape[1]), data['iou_preds'].tolist(), data['stability_score'].tolist()

    def _generate_masks(self, image: NDArray[np.uint8]) -> MaskData:
        data = super()._generate_masks(image)
        data['rles'] = mask_to_rle_pytorch(torch.from_numpy(_unpack(data['rles'], image.shape[1])))
        return data

    def _process_crop(
        self, image: NDArray[np.uint8], crop_box: list[int], crop_layer_idx: int, orig_size: tuple[int, ...]
    ) -> MaskData:
        data = super()._process_crop(image, crop_box, crop_layer_idx, orig_size)
        data['crop_boxes'] = data['crop_boxes'].reshape(-1, 4)  # the stock generator stops at a crop without masks
        return data

    def _process_batch(
        self, points: NDArray[np.float64], im_size: tuple[int, ...], crop_box: list[int], orig_size: tuple[int, ...]
    ) -> MaskData:
        low, iou, number = self._decode(points, im_size)
        of_point = torch.as_tensor(points)[number.cpu() // 3]
        joined = MaskData()
        for some in torch.arange(len(low)).split(self.points_per_batch) or [torch.arange(0)]:
            joined.cat(
                self._finish(MaskData(iou_preds=iou[some], points=of_point[some]), low[some], crop_box, orig_size)
            )
        return joined

    def _decode(self, points: NDArray[np.float64], im_size: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Low-resolution logits ``(K, h, w)`` of the masks whose expected IoU suffices, that, and their numbers."""
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
        keep = self._wanted(iou.flatten())
        return low.flatten(0, 1)[keep], iou.flatten()[keep], keep.nonzero()[:, 0]

    def _prompts(self, points: NDArray[np.float64], im_size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        device = self.predictor.device
        coords = torch.as_tensor(self.predictor.transform.apply_coords(points, im_size), device=device)[:, None]
        return coords, torch.ones(coords.shape[:2], dtype=torch.int, device=device)

    def _wanted(self, iou: Tensor) -> Tensor:
        return iou > self.pred_iou_thresh if self.pred_iou_thresh > 0.0 else torch.ones_like(iou, dtype=torch.bool)

    def _enlarge(self, low: Tensor) -> Tensor:
        """Logits ``(K, h, w)`` at the crop's size."""
        predictor = self.predictor
        return predictor.model.postprocess_masks(low[:, None], predictor.input_size, predictor.original_size)[:, 0]

    def _finish(self, data: MaskData, low: Tensor, crop_box: list[int], orig_size: tuple[int, ...]) -> MaskData:
        """Stability, threshold, boxes and edges, as the stock generator does."""
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
        data['rles'] = _pack(uncrop_masks(data['masks'], crop_box, height, width))
        del data['masks']
        return data


class FastMaskGenerator(ExactMaskGenerator):
    """The same masks up to rounding, with the networks of `fast_networks`.

    Args:
        sam: It is changed for good.
        dtype: Of the networks; float32, bfloat16 or float16. What decides about masks is float32 either way.
        compiled: Compile the encoder, which takes a minute or two at the first image.
        options: The stock generator's.
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
    def generate_dense_together(self, images: Sequence[NDArray[np.uint8]]) -> Iterator[Dense]:
        """``generate_dense`` of several images that go through the encoder as one batch."""
        try:
            if self.crop_n_layers == 0:
                self.predictor.foresee(images)
            yield from map(self.generate_dense, images)
        finally:
            self.predictor.forget()  # after an error, embeddings of images that were not set

    def _decode(self, points: NDArray[np.float64], im_size: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        predictor, model = self.predictor, self.predictor.model
        sparse, _ = model.prompt_encoder(points=self._prompts(points, im_size), boxes=None, masks=None)
        features = predictor.features
        low_side = 4 * features.shape[-1]
        scale = model.image_encoder.img_size / low_side
        # The last pixel of the image looks at the next low-resolution pixel too.
        inside = tuple(-(-min(int((side - 0.5) / scale + 0.5) + 1, low_side) // 4) for side in predictor.input_size)
        many = CPU_POINTS if features.device.type == 'cpu' else len(sparse)
        found = [
            model.mask_decoder.decode(
                features,
                self._position.to(features.dtype),
                some.to(features.dtype),
                model.prompt_encoder.no_mask_embed.weight[0].to(features.dtype),
                inside,
                self._wanted,
            )
            for some in sparse.split(many)
        ]
        low, iou, number = (list(parts) for parts in zip(*found, strict=True))
        return torch.cat(low), torch.cat(iou), torch.cat([n + 3 * many * i for i, n in enumerate(number)])

    def _enlarge(self, low: Tensor) -> Tensor:
        """In one step where that is the same: the encoder sees the crop at twice its size, four times the masks'."""
        predictor = self.predictor
        side, (height, width) = predictor.model.image_encoder.img_size, predictor.original_size
        stride = side // (4 * predictor.features.shape[-1])
        rows, columns = predictor.input_size
        if stride == 4 and (rows, columns) == (2 * height, 2 * width):
            return _times(low, 2)[:, :height, :width]
        fine = _times(low, stride)[:, :rows, :columns]
        return F.interpolate(fine[:, None], (height, width), mode='bilinear', align_corners=False)[:, 0]


def _times(low: Tensor, factor: int) -> Tensor:
    return F.interpolate(low[:, None], scale_factor=factor, mode='bilinear', align_corners=False)[:, 0]


class _FastPredictor(SamPredictor):
    """SAM's predictor; embeddings may be worked out ahead, for several images at once."""

    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        super().__init__(sam)
        self._dtype = dtype
        self._ahead: deque[Tensor] = deque()

    def foresee(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Encodes images that will be set next, in this order."""
        prepared = [self.model.preprocess(self._transformed(image))[0] for image in images]
        self._ahead.extend(self.model.image_encoder(torch.stack(prepared).to(self._dtype)).split(1))

    def forget(self) -> None:
        """Drops embeddings that were not used."""
        self._ahead.clear()

    def _transformed(self, image: NDArray[np.uint8]) -> Tensor:
        pixels = torch.as_tensor(self.transform.apply_image(image), device=self.device)
        return pixels.permute(2, 0, 1).contiguous()[None]

    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, ...]) -> None:
        """As SAM's, unless the embedding is there."""
        self.reset_image()
        self.original_size, self.input_size = original_image_size, tuple(transformed_image.shape[-2:])
        if self._ahead:
            self.features = self._ahead.popleft()
        else:
            self.features = self.model.image_encoder(self.model.preprocess(transformed_image).to(self._dtype))
        self.is_image_set = True


def dense_of_records(records: Sequence[dict[str, Any]], shape: tuple[int, ...]) -> Dense:
    """The masks of the stock generator's records of an image of this shape."""
    masks = np.zeros((len(records), *shape), bool)
    for mask, record in zip(masks, records, strict=True):
        mask[:] = record['segmentation']
    iou, stability = ([record[name] for record in records] for name in ('predicted_iou', 'stability_score'))
    return masks, iou, stability


def points_that_fit(device: torch.device, level: str) -> int:
    """How many points the decoder should take at once: by the free memory of a GPU."""
    if device.type != 'cuda':
        return 4 * CPU_POINTS
    free, _ = torch.cuda.mem_get_info(device)
    size = 2 if level in ('bf16', 'fp16') else 4  # bytes of a number
    return max(32, min(1024, int(free * 0.4 / (_POINT_BYTES * size)) // 32 * 32))


def _pack(masks: Tensor) -> Tensor:
    """Bool ``(K, h, w)`` to bits, uint8 ``(K, h, ceil(w / 8))``, as ``numpy.packbits``."""
    padded = F.pad(masks, (0, -masks.shape[2] % 8)).unflatten(2, (-1, 8))
    places = 2 ** torch.arange(7, -1, -1, device=masks.device, dtype=torch.uint8)
    return (padded * places).sum(3, dtype=torch.uint8)


def _unpack(bits: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    return np.unpackbits(bits, axis=2, count=width).view(bool)
