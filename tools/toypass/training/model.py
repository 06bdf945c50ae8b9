"""The toy SAM as a model that MMEngine trains, and its metric.

The recipe is that of Segment Anything (Kirillov et al., ICCV 2023, App. A) at small size: a prompt is a random pixel,
or a loosened box, of a thing; a pixel means its part as well as its whole, so each of these masks is taught to that of
the three outputs that is nearest to it; focal and dice loss 20 to 1, and the squared error of the predicted IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS
from segment_anything.modeling import TwoWayTransformer
from torch import Tensor

from stage1_sam_cache.sam.toy_sam import build_toy_sam
from toypass.training.losses import point_quality, sam_losses
from toypass.training.segment_dataset import PromptedCrop

ATTENTION_GAIN = 3.0  # sharpens the initial attention


@MODELS.register_module()
class ToySamTraining(BaseModel):
    """A toy SAM that MMEngine trains.

    Args:
        compiled: Compile encoder and decoder, which takes minutes and speeds up long runs.
    """

    def __init__(self, compiled: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.sam = build_toy_sam()
        _look_where_asked(self.sam.mask_decoder.transformer)
        self._decode = self.sam.mask_decoder.predict_masks
        if compiled:
            self.sam.image_encoder.compile()
            self._decode = torch.compile(self._decode)

    def forward(self, scenes: list[PromptedCrop], mode: str = 'loss') -> Any:
        """Run the network on a batch.

        Args:
            scenes: Crops with prompts.
            mode: ``loss`` or ``predict``.

        Returns:
            For ``loss``, the mean losses by name; for ``predict``, the two values of ``point_quality`` of each crop's
            points, ``(N, 2)``.
        """
        device = self.sam.device
        images = torch.stack([self.sam.preprocess(scene.image.to(device).float()) for scene in scenes])
        embeddings = self.sam.image_encoder(images)
        answers = [self._answer(e[None], s) for e, s in zip(embeddings, scenes, strict=True)]
        if mode == 'predict':
            return [torch.stack(point_quality(*answer), 1) for answer in answers]
        losses = [sam_losses(*answer) for answer in answers]
        return {name: torch.stack([of_crop[name] for of_crop in losses]).mean() for name in losses[0]}

    def _answer(self, embedding: Tensor, scene: PromptedCrop) -> tuple[Tensor, Tensor, Tensor, int]:
        """Return mask logits ``(N + M, 4, h / 2, w / 2)``, predicted IoU ``(N + M, 4)``, targets, and N."""
        device = embedding.device
        points, boxes = scene.points.to(device), scene.boxes.to(device)
        encode = self.sam.prompt_encoder
        sparse, dense = encode((points[:, None], torch.ones(len(points), 1, device=device)), None, None)
        if len(boxes):
            sparse_box, dense_box = encode(None, boxes, None)
            sparse, dense = torch.cat([sparse, sparse_box]), torch.cat([dense, dense_box])
        masks, iou = self._decode(embedding, encode.get_dense_pe(), sparse, dense)
        targets = scene.targets.to(device).float() / 255
        height, width = targets.shape[-2:]
        return masks[..., :height, :width].float(), iou.float(), targets, len(points)


@torch.no_grad()
def _look_where_asked(transformer: TwoWayTransformer) -> None:
    """Make the initial attention between prompts and image look at the prompt's position.

    Queries and keys both carry the encoding of their position; with the same projection they agree where the positions
    do. From random projections, most of a short training run passes before they do.
    """
    across = [(layer.cross_attn_token_to_image, layer.cross_attn_image_to_token) for layer in transformer.layers]
    for attention in (*(a for pair in across for a in pair), transformer.final_attn_token_to_image):
        attention.q_proj.weight *= ATTENTION_GAIN
        attention.k_proj.weight.copy_(attention.q_proj.weight)


@METRICS.register_module()
class PointQuality(BaseMetric):
    """Mean over things of the IoU that one pixel of them gives."""

    def process(self, data_batch: Any, data_samples: Sequence[Tensor]) -> None:
        """Keep what ``ToySamTraining`` predicts."""
        self.results += [sample.cpu() for sample in data_samples]

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Return the means in percent."""
        best, most_certain = torch.cat(results).mean(0) * 100
        return {'best_of_3': float(best), 'surest': float(most_certain)}
