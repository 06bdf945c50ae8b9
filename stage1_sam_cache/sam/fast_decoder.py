"""SAM's mask decoder with less work: the same function of the same weights, up to rounding.

Its transformer is ``shared_attention``. Only places inside the image are brought to the masks' resolution, and only for
points with a mask that is kept; their predicted IoU is computed first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from stage1_sam_cache.sam.mask_filters import places
from stage1_sam_cache.sam.shared_attention import SharedImage, attend, conclude, share


class SharedMaskDecoder(MaskDecoder):
    """SAM's mask decoder with a ``decode`` for many points of one image; its ``forward`` is SAM's own."""

    @torch.no_grad()
    def share(self, image_embedding: Tensor, image_pe: Tensor, no_mask: Tensor) -> SharedImage:
        """Compute what all points of an image share.

        Args:
            image_embedding: ``(1, C, h, w)``.
            image_pe: Its positional encoding, same shape.
            no_mask: The embedding ``(C,)`` that stands for the absence of a mask prompt.
        """
        return share(self.transformer, image_embedding + no_mask[:, None, None], image_pe)

    @torch.no_grad()
    def decode(
        self,
        image: SharedImage,
        prompts: Tensor,
        size: tuple[int, int],
        inside: tuple[int, int] | None = None,
        keep_by_iou: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the masks of every point, three per point at most.

        Args:
            image: From ``share``.
            prompts: Sparse embeddings ``(N, T, C)``.
            size: Rows and columns of the embedding.
            inside: Rows and columns of it that show the image; the rest is padding and gives no masks.
            keep_by_iou: Maps the predicted IoU ``(N, 3)`` to bool, True for masks to keep; None keeps all.

        Returns:
            The kept masks, ordered by point: logits ``(K, 4 rows, 4 columns)``, predicted IoU ``(K,)`` and index
            among the ``3 N``, int64 ``(K,)``.
        """
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(len(prompts), -1, -1), prompts], 1)
        attended = attend(self.transformer, image, tokens)
        # The second token is for a single mask.
        answers = conclude(self.transformer, image, attended, [slice(0, 1), slice(2, len(output_tokens))])
        iou = self.iou_prediction_head(answers[:, 0])[:, 1:].float()
        keep = torch.ones_like(iou, dtype=torch.bool) if keep_by_iou is None else keep_by_iou(iou)
        # The one wait: how many points and masks are kept.
        of_point = keep.any(1)
        point_count, mask_count = torch.stack([of_point.sum(), keep.sum()]).tolist()
        points, kept = places(of_point, point_count), places(keep.flatten(), mask_count)
        height, width = inside or size
        shown = attended.places.unflatten(1, size)[:, :height, :width][points]
        del attended  # its places are as large as those that are kept
        fine = self._upscale(shown.flatten(1, 2))  # (P, 16 h w, C / 8), by place, then by its 4 x 4
        tokens = answers[points, 1:]
        weights = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps[1:])], 1)
        rank = of_point.cumsum(0) - 1  # of a kept point among them
        masks = (weights @ fine.mT).flatten(0, 1)[3 * rank[kept // 3] + kept % 3]
        # (K, h, w, 2, 2, 2, 2): each upscaling split a place into rows and columns.
        masks = masks.view(len(masks), height, width, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        masks = masks.to(torch.float32, memory_format=torch.contiguous_format)
        return masks.reshape(-1, 4 * height, 4 * width), iou.flatten()[kept], kept

    def _upscale(self, places: Tensor) -> Tensor:
        """Apply both transposed convolutions as matrix products, without moving the places."""
        first, norm, act, second, last = self.output_upscaling
        x = act(_layer_norm_channels(_split_places(first, places), norm))
        return last(_split_places(second, x))


def _split_places(convolution: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Apply a transposed convolution of 2 x 2 with stride 2, ``(P, n, C)`` to ``(P, 4 n, D)``."""
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)  # (C, 4 D)
    assert convolution.bias is not None
    out = F.linear(x, weight.t().to(x.dtype), convolution.bias.repeat(4).to(x.dtype))
    return out.view(len(x), 4 * x.shape[1], convolution.out_channels)


def _layer_norm_channels(x: Tensor, norm: Any) -> Tensor:
    """Apply ``LayerNorm2d`` to channels that come last."""
    return F.layer_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)
