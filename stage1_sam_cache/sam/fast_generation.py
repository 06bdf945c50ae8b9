"""Mask generation on the fast networks: levels ``fp32-fast``, ``bf16`` and ``fp16`` of ``sam.settings``.

All masks of an image stay on the device until those that are kept are known, so that the processor seldom waits: once
per batch of points, for the number of masks to decode, and per image for duplicates and for the number that is left.
Images come to the device, and masks from it, without a wait of the thread that keeps it busy. ``_process_crop``,
a private method of segment_anything's generator, is overridden for that.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.amg import MaskData, is_box_near_crop_edge, uncrop_boxes_xyxy, uncrop_points
from torch import Tensor

from stage1_sam_cache.sam.arriving_masks import ArrivingMasks, DeviceMasks
from stage1_sam_cache.sam.exact_generation import ExactMaskGenerator, PackedMasks
from stage1_sam_cache.sam.fast_networks import accelerate
from stage1_sam_cache.sam.mask_filters import choose, measure

CPU_POINTS = 16  # decoded at once: what fits the cache of a CPU
_KNOWN_SIZES = 16  # of crops whose prompts are kept; a folder may have images of any number of sizes
_POINT_NUMBERS = 4096 * 256 * 8  # that the decoder holds in memory for one point


class PreparedImage(NamedTuple):
    """An RGB image and, unless it is cut into sub-crops, what the encoder takes of it, on the host."""

    image: NDArray[np.uint8]
    resized: Tensor | None


class FastMaskGenerator(ExactMaskGenerator):
    """The same masks up to rounding, with the networks of ``sam.fast_networks``.

    Args:
        sam: The model; its networks are replaced in place.
        dtype: Type of the networks: float32, bfloat16 or float16. Filters and thresholds work in float32 always.
        compiled: Compile encoder and decoder, which takes minutes at the first image.
        options: Arguments of ``SamAutomaticMaskGenerator``.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype = torch.float32, compiled: bool = False, **options: Any) -> None:
        accelerate(sam)
        for network in (sam.image_encoder, sam.mask_decoder):
            network.to(dtype)
        super().__init__(sam, **options)
        self.predictor = _FastPredictor(sam, dtype)
        self._position = sam.prompt_encoder.get_dense_pe().to(dtype)
        self._no_mask = sam.prompt_encoder.no_mask_embed.weight[0].to(dtype)
        self._known_prompts: dict[tuple[tuple[int, ...], int], Tensor] = {}
        if compiled:
            sam.image_encoder.compile()
            sam.mask_decoder.compile()

    def prepare(self, images: Sequence[NDArray[np.uint8]]) -> list[PreparedImage]:
        """Do the processor's part for RGB images that ``generate_together`` takes; any thread may."""
        if self.crop_n_layers:
            return [PreparedImage(image, None) for image in images]
        return list(map(PreparedImage, images, self.predictor.resized(images)))

    @torch.no_grad()
    def generate_together(self, images: Sequence[PreparedImage]) -> Iterator[ArrivingMasks | PackedMasks]:
        """Yield the masks of several images, which go through the encoder as one batch."""
        try:
            self.predictor.encode_ahead([image.resized for image in images if image.resized is not None])
            for image, _ in images:
                if self.crop_n_layers or self.min_mask_region_area:
                    yield super().generate_packed(image)
                else:
                    yield self._masks_of_image(image)
        finally:
            self.predictor.drop_embeddings()  # after an error, those of images that were not set

    @torch.no_grad()
    def generate_packed(self, image: NDArray[np.uint8]) -> PackedMasks:
        """Return the masks and scores of an RGB image, in the order of ``generate``'s records."""
        if self.crop_n_layers or self.min_mask_region_area:
            return super().generate_packed(image)
        return self._masks_of_image(image).wait()

    def _masks_of_image(self, image: NDArray[np.uint8]) -> ArrivingMasks:
        height, width = image.shape[:2]
        return ArrivingMasks(self._masks_of_crop(image, [0, 0, width, height], 0, (height, width)), width)

    def _process_crop(
        self, image: NDArray[np.uint8], crop_box: list[int], crop_layer_idx: int, orig_size: tuple[int, ...]
    ) -> MaskData:
        masks = self._masks_of_crop(image, crop_box, crop_layer_idx, orig_size)
        left, top, right, bottom = crop_box
        points = self.point_grids[crop_layer_idx] * np.array([right - left, bottom - top])
        return MaskData(
            packed_masks=masks.bits,
            iou_preds=masks.iou,
            stability_score=masks.stability,
            boxes=uncrop_boxes_xyxy(masks.boxes, crop_box),
            points=uncrop_points(torch.as_tensor(points)[masks.answer.cpu() // 3], crop_box),
            crop_boxes=torch.tensor(crop_box).expand(len(masks.bits), 4),
            rles=[None] * len(masks.bits),
        )

    def _masks_of_crop(
        self, image: NDArray[np.uint8], crop_box: list[int], layer: int, orig_size: tuple[int, ...]
    ) -> DeviceMasks:
        """Return the masks of a crop that pass all filters, without duplicates, the best predicted IoU first."""
        left, top, right, bottom = crop_box
        self.predictor.set_image(image[top:bottom, left:right])
        low, iou, index = self._decode_all(layer)
        height, width = orig_size
        around = (left, width - right, top, height - bottom)
        parts = [
            measure(self._enlarge(part), self.predictor.model.mask_threshold, self.stability_score_offset, around)
            for part in low.split(self.points_per_batch)
        ]
        self.predictor.reset_image()
        bits, stability, boxes = (torch.cat(part) for part in zip(*parts, strict=True))
        passed = ~is_box_near_crop_edge(boxes, crop_box, [0, 0, width, height])
        passed &= stability >= self.stability_score_thresh
        kept = choose(boxes, iou, passed, self.box_nms_thresh)
        return DeviceMasks(bits[kept], iou[kept], stability[kept], boxes[kept], index[kept])

    def _decode_all(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return low-resolution logits, predicted IoU and index of all masks above the IoU threshold."""
        predictor, decoder = self.predictor, self.predictor.model.mask_decoder
        low_side = 4 * predictor.features.shape[-1]
        scale = predictor.model.image_encoder.img_size / low_side
        # The interpolation of the last pixel of the image uses the next low-resolution pixel too.
        inside = tuple(-(-min(int((side - 0.5) / scale + 0.5) + 1, low_side) // 4) for side in predictor.input_size)
        batch = min(self.points_per_batch, CPU_POINTS) if predictor.device.type == 'cpu' else self.points_per_batch
        prompts = self._prompts_for(predictor.original_size, layer)
        image = decoder.share(predictor.features, self._position, self._no_mask)
        decoded, first = [], 0
        each = -(-len(prompts) // -(-len(prompts) // batch))  # of about the same size, none with a few points only
        for part in prompts.split(each):
            low, iou, index = decoder.decode(
                image, part, predictor.features.shape[-2:], inside, self._above_iou_threshold, each
            )
            decoded.append((low, iou, index + 3 * first))
            first += len(part)
        low, iou, index = (torch.cat(parts) for parts in zip(*decoded, strict=True))
        return low, iou, index

    def _prompts_for(self, size: tuple[int, ...], layer: int) -> Tensor:
        """Return the embeddings of a crop's points, ``(N, 2, C)``; the same for all crops of a size."""
        if (size, layer) not in self._known_prompts:
            points = self.point_grids[layer] * np.array(size[::-1])
            if len(self._known_prompts) == _KNOWN_SIZES:
                self._known_prompts.clear()
            encoder = self.predictor.model.prompt_encoder
            prompts, _ = encoder(points=self._prompts(points, size), boxes=None, masks=None)
            self._known_prompts[size, layer] = prompts.to(self._position.dtype)
        return self._known_prompts[size, layer]

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


class _Embedding(NamedTuple):
    """Of an image that was encoded ahead: the embedding, and the size at which the encoder saw the image."""

    features: Tensor
    input_size: tuple[int, ...]


class _FastPredictor(SamPredictor):
    """SAM's predictor; embeddings may be computed ahead, for several images at once."""

    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        super().__init__(sam)
        self._dtype = dtype
        self._ahead: deque[_Embedding] = deque()
        self._resizing = ThreadPoolExecutor(min(8, os.cpu_count() or 1), 'resize')

    def resized(self, images: Sequence[NDArray[np.uint8]]) -> Iterator[Tensor]:
        """Resize images as the encoder takes them, several at a time, uint8 ``(h, w, 3)`` on the host."""
        return self._resizing.map(self._resize, images)

    def _resize(self, image: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(self.transform.apply_image(image))
        return pixels.pin_memory() if self.device.type == 'cuda' else pixels  # else the copy to the GPU would wait

    def encode_ahead(self, resized: Sequence[Tensor]) -> None:
        """Encode images that will be set next, in this order."""
        if not resized:
            return
        on_device = (pixels.to(self.device, non_blocking=True).permute(2, 0, 1)[None] for pixels in resized)
        prepared = torch.cat([self.model.preprocess(pixels) for pixels in on_device])
        embeddings = self.model.image_encoder(prepared.to(self._dtype)).split(1)
        self._ahead.extend(map(_Embedding, embeddings, [pixels.shape[:2] for pixels in resized]))

    def drop_embeddings(self) -> None:
        """Drop embeddings that were not used."""
        self._ahead.clear()

    def set_image(self, image: NDArray[np.uint8], image_format: str = 'RGB') -> None:
        """Set the image as SAM's predictor does, with the embedding from ``encode_ahead`` if there is one."""
        if not self._ahead:
            super().set_image(image, image_format)
            return
        self.reset_image()
        self.original_size = image.shape[:2]
        self.features, self.input_size = self._ahead.popleft()
        self.is_image_set = True

    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, ...]) -> None:
        """Set the image as SAM's predictor does, in the networks' type."""
        self.reset_image()
        self.original_size, self.input_size = original_image_size, tuple(transformed_image.shape[-2:])
        self.features = self.model.image_encoder(self.model.preprocess(transformed_image).to(self._dtype))
        self.is_image_set = True


def points_that_fit(device: torch.device, level: str) -> int:
    """Return how many points the decoder should take at once, by the free memory of a GPU."""
    if device.type != 'cuda':
        return 4 * CPU_POINTS
    free, _ = torch.cuda.mem_get_info(device)
    size = 2 if level in ('bf16', 'fp16') else 4  # bytes per number
    return max(32, min(1024, int(free * 0.4 / (_POINT_NUMBERS * size)) // 32 * 32))
