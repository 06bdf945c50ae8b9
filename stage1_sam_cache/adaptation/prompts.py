"""Prompts for SAM from instance masks: boxes, points and coarse masks, drawn with a given generator.

Coordinates are x and y in pixels of the window that the masks show; ``ask_for`` takes them to SAM's input.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.utils.amg import batched_mask_to_box
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

# Noise of boxes in SAM's own training: its standard deviation as a share of the side, and the largest, in pixels.
JITTER, LARGEST_JITTER = 0.1, 20.0
# Tolerance of a coarse mask's polygon: as a share of its outline's length, and the smallest, in pixels.
TOLERANCE, LEAST_TOLERANCE = 0.05, 3.0
MASK_LOGIT = 10.0  # of mask prompts; no source says which, SAM's own logits are of this order


def box_prompts(masks: Tensor, jitter: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
    """Return a box around each mask, from its first to its last pixel as SAM's own boxes are.

    Args:
        masks: bool ``(N, h, w)``, none empty.
        jitter: Standard deviation of the normal noise that moves each side, as a share of the box's width or height;
            0 (WeSAM) for none, ``JITTER`` as in SAM's own training. The noise is at most ``LARGEST_JITTER`` pixels, and
            boxes stay inside the window.
        generator: Draws the noise.

    Returns:
        float32 ``(N, 4)``: left, top, right, bottom.

    Raises:
        ValueError: If a mask is empty.
    """
    require_filled(masks)
    boxes = batched_mask_to_box(masks).float()
    if not jitter:
        return boxes
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = torch.randn(boxes.shape, generator=generator) * jitter * sides
    corners = (boxes + noise.clamp(-LARGEST_JITTER, LARGEST_JITTER)).view(-1, 2, 2)
    last = torch.tensor([masks.shape[2] - 1.0, masks.shape[1] - 1.0])
    corners = torch.minimum(corners.clamp(min=0), last)
    return torch.cat([corners.amin(1), corners.amax(1)], dim=1)  # strong noise may exchange two sides


def point_prompts(
    masks: Tensor, positive: int = 1, negative: int = 0, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw pixels of each mask and of the rest of the window, uniformly and with replacement.

    Args:
        masks: bool ``(N, h, w)``, none empty.
        positive, negative: Points inside and outside of each mask; WeSAM takes 5 and 5, stage 1 asks with 1 and 0.
        generator: Draws the pixels.

    Returns:
        Coordinates float32 ``(N, P, 2)`` and labels int64 ``(N, P)``: 1 inside, 0 outside, and -1, which SAM does not
        look at, for points outside of a mask that fills the window.

    Raises:
        ValueError: If a mask is empty or no point is asked for.
    """
    require_filled(masks)
    if positive < 0 or negative < 0 or not positive + negative:
        raise ValueError(f'{positive} positive and {negative} negative points; at least one is needed')
    inside = masks.flatten(1)
    full = inside.all(1, keepdim=True)
    places, labels = [], []
    for count, drawn_from, label in ((positive, inside, 1), (negative, ~inside | full, 0)):
        if count and len(masks):
            places.append(torch.multinomial(drawn_from.float(), count, replacement=True, generator=generator))
        kept = torch.full((len(masks), count), label)
        labels.append(kept if label else kept.masked_fill(full, -1))
    pixel = torch.cat(places, 1) if places else torch.zeros(0, positive + negative, dtype=torch.int64)
    row, column = pixel // masks.shape[2], pixel % masks.shape[2]
    return torch.stack([column, row], dim=2).float(), torch.cat(labels, 1)


def coarse_masks(masks: Tensor) -> Tensor:
    """Simplify each mask to the polygon of its largest outline.

    The tolerance is that of WeSAM's code, which takes the first outline that is found; which one is meant by that is
    left to OpenCV, so the largest is taken here.

    Args:
        masks: bool ``(N, h, w)``, none empty.

    Returns:
        bool, same shape; none empty.

    Raises:
        ValueError: If a mask is empty.
    """
    require_filled(masks)
    coarse = np.zeros(masks.shape, np.uint8)
    # OpenCV takes one mask at a time; a window has some tens of prompts.
    for index, drawn in enumerate(coarse):
        outlines, _ = cv2.findContours(masks[index].numpy().astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = max(outlines, key=cv2.contourArea)
        tolerance = max(TOLERANCE * cv2.arcLength(outline, True), LEAST_TOLERANCE)
        cv2.fillPoly(drawn, [cv2.approxPolyDP(outline, tolerance, True)], 1)
    return torch.from_numpy(coarse).bool()


def mask_prompts(masks: Tensor, side: int) -> Tensor:
    """Return masks as SAM's prompt encoder takes them: logits on the grid of its padded input.

    Args:
        masks: bool ``(N, h, w)``.
        side: Of the grid, ``sam.prompt_encoder.mask_input_size[0]``: 256 for SAM.

    Returns:
        float32 ``(N, 1, side, side)``: ``MASK_LOGIT`` inside, ``-MASK_LOGIT`` outside and in the padding.
    """
    height, width = ResizeLongestSide.get_preprocess_shape(*masks.shape[1:], side)
    shares = F.interpolate(masks[:, None].float(), (height, width), mode='area')
    logits = torch.where(shares >= 0.5, MASK_LOGIT, -MASK_LOGIT)
    return F.pad(logits, (0, side - width, 0, side - height), value=-MASK_LOGIT)


class Prompts(NamedTuple):
    """Prompts of one kind for ``N`` masks of a window, in pixels of SAM's input, as its prompt encoder takes them.

    Attributes:
        kind: Of ``settings.PROMPT_TYPES``.
        masks: bool ``(N, h, w)``, in pixels of the window: what is asked for.
        points: float32 ``(N, P, 2)``, or None.
        labels: int64 ``(N, P)``, or None.
        boxes: float32 ``(N, 4)``, or None.
        mask_inputs: float32 ``(N, 1, side, side)``, or None.
    """

    kind: str
    masks: Tensor
    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    mask_inputs: Tensor | None = None

    @property
    def several_answers(self) -> bool:
        """Whether SAM gives three answers to each, as stage 1 takes them for single points; else one."""
        return self.kind == 'point1'


def ask_for(
    masks: Tensor, kind: str, size: int, mask_side: int, jitter: float = 0.0, generator: torch.Generator | None = None
) -> Prompts:
    """Make prompts of one kind for masks.

    Args:
        masks: bool ``(N, h, w)``, none empty.
        kind: ``'point1'``, ``'box'``, ``'point'`` (5 pixels inside and 5 outside), ``'coarse'`` or ``'coarse_box'``.
        size: Side of SAM's input.
        mask_side: Side of its mask prompts.
        jitter: Of boxes, see ``box_prompts``; coarse masks' boxes have none.
        generator: Draws points and noise.

    Raises:
        ValueError: If a mask is empty or there is no such kind.
    """
    window = tuple(masks.shape[1:])
    to_input = ResizeLongestSide(size)
    if kind in ('point1', 'point'):
        places, labels = point_prompts(masks, *((1, 0) if kind == 'point1' else (5, 5)), generator=generator)
        return Prompts(kind, masks, to_input.apply_coords_torch(places, window), labels)
    if kind == 'box':
        return Prompts(kind, masks, boxes=to_input.apply_boxes_torch(box_prompts(masks, jitter, generator), window))
    if kind not in ('coarse', 'coarse_box'):
        raise ValueError(f'no prompts are called {kind!r}')
    coarse = coarse_masks(masks)
    boxes = to_input.apply_boxes_torch(box_prompts(coarse), window)
    return Prompts(kind, masks, boxes=boxes, mask_inputs=mask_prompts(coarse, mask_side) if kind == 'coarse' else None)


def require_filled(masks: Tensor) -> None:
    """Check that masks are bool ``(N, h, w)`` and that none is empty.

    Raises:
        ValueError: If they are not.
    """
    if masks.ndim != 3 or masks.dtype != torch.bool:
        raise ValueError(f'masks {masks.dtype} of shape {tuple(masks.shape)}; bool (N, h, w) is needed')
    if not masks.flatten(1).any(1).all():
        raise ValueError('a mask is empty, so nothing can be asked for')
