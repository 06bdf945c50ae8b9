"""SAM's mask decoder with less work: the same function of the same weights, up to rounding.

Its transformer is ``shared_attention``. Only places inside the image are brought to the masks' resolution, and only for
points with a mask that is kept; their predicted IoU is computed first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from stage1_sam_cache.sam.mask_filters import places
from stage1_sam_cache.sam.shared_attention import SharedImage, attend, conclude, share


class Answers(NamedTuple):
    """What many points are answered, before any mask is made.

    Attributes:
        iou: Predicted IoU of each point's masks, float32 ``(N, 3)``.
        tokens: One for each of these masks, ``(N, 3, C)``.
        places: Of the image, as each point sees them, ``(N, n, C)``.
    """

    iou: Tensor
    tokens: Tensor
    places: Tensor


class SharedMaskDecoder(MaskDecoder):
    """SAM's mask decoder with a ``decode`` for many points of one image; its ``forward`` is SAM's own.

    ``decode`` consists of ``answer``, whose shapes are the same for every batch of as many points, a choice of the
    answers to keep, which waits for their number, and ``draw``, which makes their masks.
    """

    compiled = False

    def compile(self, **options: Any) -> None:
        """Compile what ``decode`` consists of; ``forward`` stays as it is.

        Args:
            options: Of ``torch.compile``. Modes with CUDA graphs are none of them: graphs belong to one thread, and
                two take turns in stage 1.
        """
        self.compiled = True
        # Answers are compiled for one number of points, and at the second one for any. Masks are compiled for any:
        # every image has its own numbers of points and masks, every size of images its own rows and columns.
        for name, dynamic in (('answer', None), ('draw', True)):
            setattr(self, name, torch.compile(getattr(self, name), dynamic=dynamic, **options))

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
        fill: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the masks of every point, three per point at most.

        Args:
            image: From ``share``.
            prompts: Sparse embeddings ``(N, T, C)``.
            size: Rows and columns of the embedding.
            inside: Rows and columns of it that show the image; the rest is padding and gives no masks.
            keep_by_iou: Maps the predicted IoU ``(N, 3)`` to bool, True for masks to keep; None keeps all.
            fill: The number of points of other batches; a smaller one is filled up where it is compiled.

        Returns:
            The kept masks, ordered by point: logits ``(K, 4 rows, 4 columns)``, predicted IoU ``(K,)`` and index
            among the ``3 N``, int64 ``(K,)``.
        """
        count, least = len(prompts), 0
        if self.compiled:
            least = 2  # sizes of 0 and 1 would be compiled separately
            prompts = torch.cat([prompts, prompts[-1:].expand(max(0, fill - count), -1, -1)])
        iou, tokens, seen = self.answer(image, prompts)
        iou = iou[:count]
        keep = torch.ones_like(iou, dtype=torch.bool) if keep_by_iou is None else keep_by_iou(iou)
        # The one wait: how many points and masks are kept.
        of_point = keep.any(1)
        point_count, mask_count = torch.stack([of_point.sum(), keep.sum()]).tolist()
        points = places(of_point, max(point_count, least))
        kept = places(keep.flatten(), max(mask_count, least))
        height, width = inside or size
        shown = seen.unflatten(1, size)[:, :height, :width][points]
        del seen  # as large as the places that are kept
        rank = of_point.cumsum(0) - 1  # of a kept point among them
        masks = self.draw(shown, tokens[points], 3 * rank[kept // 3] + kept % 3)
        kept = kept[:mask_count]
        return masks[:mask_count], iou.flatten()[kept], kept

    def answer(self, image: SharedImage, prompts: Tensor) -> Answers:
        """Answer all points, whose prompts are ``(N, T, C)``."""
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(len(prompts), -1, -1), prompts], 1)
        attended = attend(self.transformer, image, tokens)
        # The second token is for a single mask.
        answers = conclude(self.transformer, image, attended, [slice(0, 1), slice(2, len(output_tokens))])
        iou = self.iou_prediction_head(answers[:, 0])[:, 1:].float()
        return Answers(iou, answers[:, 1:], attended.places)

    def draw(self, shown: Tensor, tokens: Tensor, which: Tensor) -> Tensor:
        """Make masks of some points.

        Args:
            shown: Their places that show the image, ``(P, h, w, C)``.
            tokens: Of their masks, ``(P, 3, C)``.
            which: Of the ``3 P`` masks, int64 ``(K,)``.

        Returns:
            Logits, float32 ``(K, 4 h, 4 w)``.
        """
        height, width = shown.shape[1:3]
        fine = self._upscale(shown.flatten(1, 2))  # (P, 16 h w, C / 8), by place, then by its 4 x 4
        weights = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps[1:])], 1)
        masks = (weights @ fine.mT).flatten(0, 1)[which]
        # (K, h, w, 2, 2, 2, 2): each upscaling split a place into rows and columns.
        masks = masks.view(len(masks), height, width, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        masks = masks.to(torch.float32, memory_format=torch.contiguous_format)
        return masks.reshape(-1, 4 * height, 4 * width)

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
