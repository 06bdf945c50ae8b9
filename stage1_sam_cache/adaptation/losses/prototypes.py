"""The contrastive loss of WeSAM between instance prototypes of the teacher and of the original SAM."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.3
PATCH = 8  # side of a patch, in places of the embedding
NESTED = 0.5  # share of the smaller instance from which on two instances count as nested


@torch.no_grad()
def regions_on_grid(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the places of an embedding that belong to each mask, bool ``(N, *grid)``.

    Args:
        masks: Logits ``(N, h, w)`` over the same part of the image as the embedding.
        grid: Height and width of the embedding.
    """
    return F.interpolate(masks[None].float(), grid, mode='bilinear', align_corners=False)[0] > 0


def patches_on_grid(grid: tuple[int, int], device: torch.device | str = 'cpu') -> Tensor:
    """Return squares of ``PATCH`` places that tile a grid, bool ``(N, *grid)``: regions that need no instances.

    Contrast per patch is that of WeSAM's extended preprint, of which no code is published.

    Args:
        grid: Height and width of the embedding.
        device: Of the result.
    """
    rows, columns = (torch.arange(side, device=device) // PATCH for side in grid)
    number = rows[:, None] * (int(columns[-1]) + 1) + columns
    return number == torch.arange(int(number[-1, -1]) + 1, device=device)[:, None, None]


def prototypes(embedding: Tensor, regions: Tensor) -> Tensor:
    """Return each instance's mean of the embedding, normalised over channels at each place; 0 for empty instances.

    Args:
        embedding: ``(C, h, w)``.
        regions: bool ``(N, h, w)``.

    Returns:
        float32 ``(N, C)``.
    """
    inside = regions.flatten(1).float()
    directions = F.normalize(embedding.float(), dim=0).flatten(1)
    return inside @ directions.T / inside.sum(1, keepdim=True).clamp(min=1)


def contrastive_loss(
    teacher: Tensor,
    anchor: Tensor,
    teacher_regions: Tensor,
    anchor_regions: Tensor,
    *,
    temperature: float = TEMPERATURE,
    form: Literal['joint', 'rows'] = 'joint',
    background: bool = True,
    skip_nested: bool = True,
) -> Tensor:
    """``-log(sum_k exp S_kk / sum_kl exp S_kl)``, ``S_kl = cos(teacher's prototype k, anchor's prototype l) / tau``.

    The same instance in teacher and anchor is a positive pair, any two instances of the image are a negative one. With
    a single instance and no background the loss is 0 and has no gradient.

    Args:
        teacher: Embedding ``(C, h, w)``; gradients reach it.
        anchor: Embedding of the original SAM, same shape; no gradient reaches it.
        teacher_regions, anchor_regions: Instances of each on the embedding's grid, bool ``(N, h, w)``.
        temperature: ``tau``.
        form: ``'joint'``, one ratio per image, is that of WeSAM's code, in which easy positives outweigh hard ones;
            ``'rows'`` is the mean over k of ``-log softmax_l(S_k)_k``.
        background: Take the places outside of all instances as one more instance, if there are any in both. WeSAM's
            authors advise it for images of one instance.
        skip_nested: Leave out negative pairs of which one mostly lies in the other (over half of the smaller): whole
            and part share their features rightly. WeSAM's instances hardly overlap; SAM's automatic masks do.

    Returns:
        Scalar float32, at least 0.

    Raises:
        ValueError: If there is no instance, the shapes differ, or the form is unknown.
    """
    if teacher_regions.shape != anchor_regions.shape or not len(teacher_regions):
        raise ValueError(
            f'regions of shape {tuple(teacher_regions.shape)} and {tuple(anchor_regions.shape)}: both have to be '
            '(N, h, w), N at least 1'
        )
    if form not in ('joint', 'rows'):
        raise ValueError(f'form {form!r} is neither joint nor rows')
    if background:
        teacher_regions, anchor_regions = _with_background(teacher_regions, anchor_regions)
    ours = F.normalize(prototypes(teacher, teacher_regions), dim=1)
    theirs = F.normalize(prototypes(anchor.detach(), anchor_regions), dim=1)
    similarity = ours @ theirs.T / temperature
    positive = similarity.diagonal()
    if skip_nested:
        similarity = similarity.masked_fill(_nested(teacher_regions, anchor_regions), -torch.inf)
    if form == 'rows':
        return (similarity.logsumexp(1) - positive).mean()
    return similarity.flatten().logsumexp(0) - positive.logsumexp(0)


def _with_background(*regions: Tensor) -> list[Tensor]:
    """Add what is outside of all instances, if there is such a place in each."""
    outside = [~of_one.any(0, keepdim=True) for of_one in regions]
    if not all(bool(places.any()) for places in outside):
        return list(regions)
    return [torch.cat(pair) for pair in zip(regions, outside, strict=True)]


def _nested(teacher: Tensor, anchor: Tensor) -> Tensor:
    """Which negative pairs are nested, bool ``(N, N)``."""
    one, other = teacher.flatten(1).float(), anchor.flatten(1).float()
    smaller = torch.minimum(one.sum(1)[:, None], other.sum(1)[None])
    return (one @ other.T > NESTED * smaller).fill_diagonal_(False)
