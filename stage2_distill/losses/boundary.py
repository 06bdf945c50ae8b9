"""Boundary-enhanced losses of teacher assistant and student (Eq. 2 and 7).

The paper compares boundary maps of labels, which have no gradient, and does not say how they are differentiated. The
modes are the candidates; ``ste`` has the formula's value and passes gradient where the map is wrong.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage2_distill.boundaries.label_boundary import hard_boundary, soft_boundary
from stage2_distill.fusion.pixelwise import first_argmax

MODES = ('ste', 'soft', 'bce', 'weighted_ce', 'hard')
BAND_WEIGHT = 0.2  # of the pixels around a boundary in mode weighted_ce


def network_boundary(
    logits: Tensor, mode: str = 'ste', tau: float = 1.0, radius: int = 1, thickness: int = 2
) -> Tensor:
    """Compute the boundary map of a network's prediction in a crop.

    Args:
        logits: ``(..., C, h, w)``.
        mode: ``'hard'``: map of the labels, no gradient. ``'soft'``: the soft map. ``'ste'``: the value of the hard
            map with the gradient of the soft one.
        tau: Temperature of the soft map; below 1 is sharper.
        radius: Distance of the pixels that the soft map compares.
        thickness: Of the hard map's lines, 2 or 1.

    Returns:
        float32 ``(..., h, w)`` in [0, 1].

    Raises:
        ValueError: If the mode makes no map.
    """
    if mode not in ('ste', 'soft', 'hard'):
        raise ValueError(f"mode {mode!r} makes no boundary map of logits; 'ste', 'soft' and 'hard' do")
    logits = logits.float()
    hard = hard_boundary(first_argmax(logits.detach(), -3), thickness).float()
    if mode == 'hard':
        return hard
    soft = soft_boundary((logits / tau).softmax(-3), radius, thickness)
    # The brackets make the added difference exactly 0, so that a pixel that is right gets no gradient at all.
    return soft if mode == 'soft' else hard + (soft - soft.detach())


def boundary_loss(refined: Tensor, boundary: Tensor) -> Tensor:
    """Divide the sum of differences by the number of refined boundary pixels, per overlap (Eq. 7, half of Eq. 2).

    Args:
        refined: The refined boundary map ``B_ref``, bool ``(..., h, o)``.
        boundary: A network's map, ``(..., h, o)`` in [0, 1].

    Returns:
        float32 ``(...)``: one value per overlap, 0 where the refined map is empty.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same(refined, boundary)
    total = (refined.float() - boundary.float()).abs().sum((-2, -1))
    return _per_refined(total, refined)


def boundary_cross_entropy(refined: Tensor, boundary: Tensor) -> Tensor:
    """Compute a binary cross-entropy in which boundary pixels and all others count half each.

    Args:
        refined: bool ``(..., h, o)``.
        boundary: ``(..., h, o)`` in [0, 1].

    Returns:
        float32 ``(...)``: one value per overlap, 0 where the refined map is empty.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same(refined, boundary)
    p = boundary.float().clamp(1e-6, 1 - 1e-6)
    inside, outside = refined.float(), 1 - refined.float()
    missed = -(inside * p.log()).sum((-2, -1)) / inside.sum((-2, -1)).clamp(min=1)
    invented = -(outside * (1 - p).log()).sum((-2, -1)) / outside.sum((-2, -1)).clamp(min=1)
    return (missed + invented) / 2 * refined.any(-1).any(-1)


def boundary_weighted_loss(refined: Tensor, logits: Tensor, labels: Tensor, ignore: int = IGNORE) -> Tensor:
    """Compute a cross-entropy in which pixels around a refined boundary count more, as in BECO; no maps are compared.

    Args:
        refined: bool ``(..., h, o)``.
        logits: ``(..., C, h, o)``.
        labels: Ensemble labels int64 ``(..., h, o)``.
        ignore: Label that does not count.

    Returns:
        float32 ``(...)``: the mean of ``(1 + 0.2 * band) * CE`` over the pixels of an overlap, where the band is the
        refined boundary dilated by one pixel; 0 where the refined map is empty, as in the other modes.
    """
    flat = labels.reshape(-1, *labels.shape[-2:])
    entropy = F.cross_entropy(
        logits.float().reshape(-1, *logits.shape[-3:]), flat, ignore_index=ignore, reduction='none'
    ).view(labels.shape)
    band = F.max_pool2d(refined.reshape(-1, 1, *refined.shape[-2:]).float(), 3, 1, 1).view(refined.shape)
    weighted = (entropy * (1 + BAND_WEIGHT * band)).sum((-2, -1)) / (labels != ignore).sum((-2, -1)).clamp(min=1)
    return weighted * refined.any(-1).any(-1)


def _per_refined(total: Tensor, refined: Tensor) -> Tensor:
    count = refined.sum((-2, -1))
    return total / count.clamp(min=1) * (count > 0)


def _check_same(refined: Tensor, boundary: Tensor) -> None:
    if refined.shape != boundary.shape:
        raise ValueError(f'refined map of {tuple(refined.shape)}, boundary map of {tuple(boundary.shape)}')
