"""SAM's embeddings of windows, and its answers to prompts, with gradients and at the size that losses compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stage1_sam_cache.adaptation.prompts import Prompts


class Answers(NamedTuple):
    """Answers to the prompts of one kind: ``M`` is 3 for single points, else 1.

    Attributes:
        masks: Logits ``(N, M, h, w)``.
        expected_iou: What the decoder expects of each, ``(N, M)``.
    """

    masks: Tensor
    expected_iou: Tensor


def embed(sam: Sam, images: Sequence[Tensor], checkpointing: bool = False) -> Tensor:
    """Return the embeddings of images.

    Args:
        sam: The model.
        images: RGB uint8 ``(3, h, w)``, the longer side that of SAM's input.
        checkpointing: Keep nothing of a block but its input, and compute it again in the backward pass.

    Returns:
        ``(B, C, s, s)``.
    """
    x = torch.stack([sam.preprocess(image.to(sam.device).float()) for image in images])
    encoder = sam.image_encoder
    if not (checkpointing and torch.is_grad_enabled()):
        return encoder(x)
    x = encoder.patch_embed(x)
    if encoder.pos_embed is not None:
        x = x + encoder.pos_embed
    for block in encoder.blocks:
        x = checkpoint(block, x, use_reentrant=False)
    return encoder.neck(x.permute(0, 3, 1, 2))


def answer(
    sam: Sam, embedding: Tensor, prompts: Sequence[Prompts], extent: tuple[int, int], at_input: bool = False
) -> list[Answers]:
    """Ask for masks in one window.

    Args:
        sam: The model.
        embedding: Of the window, ``(C, s, s)``.
        prompts: One or more kinds.
        extent: Height and width of the window in SAM's input, which is padded to a square.
        at_input: Return masks of the whole padded input, enlarged; else at SAM's low resolution, without padding.
    """
    answers = []
    for asked in prompts:
        points = None
        if asked.points is not None and asked.labels is not None:
            points = asked.points.to(sam.device), asked.labels.to(sam.device)
        boxes, drawn = (None if value is None else value.to(sam.device) for value in (asked.boxes, asked.mask_inputs))
        sparse, dense = sam.prompt_encoder(points, boxes, drawn)
        masks, expected = sam.mask_decoder(
            image_embeddings=embedding[None],
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=asked.several_answers,
        )
        answers.append(Answers(_resized(masks, sam.image_encoder.img_size, extent, at_input), expected))
    return answers


def inside(values: Tensor, size: int, extent: tuple[int, int]) -> Tensor:
    """Cut the padding off.

    Args:
        values: ``(..., s, s)`` over SAM's padded input.
        size: Side of the input.
        extent: Height and width in it that show the window.

    Returns:
        ``(..., h, w)``, whose last row and column may be partly padding.
    """
    height, width = (-(-side * values.shape[-1] // size) for side in extent)
    return values[..., :height, :width]


def _resized(masks: Tensor, size: int, extent: tuple[int, int], at_input: bool) -> Tensor:
    if at_input:
        return F.interpolate(masks.float(), (size, size), mode='bilinear', align_corners=False)
    return inside(masks, size, extent)
