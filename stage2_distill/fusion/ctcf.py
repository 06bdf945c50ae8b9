"""Cross-task complementary fusion (Sec. 3.2, Eq. 3): SAM's masks say where, the teacher assistant says what.

A mask on which the assistant largely agrees takes its most frequent label and counts as reliable. A mask on which it
does not takes, of its three most frequent labels, the one that the assistant is surest of.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage2_distill.fusion.ensemble import Fused, Masks, count_labels, prepare
from stage2_distill.fusion.label_entropy import ENTROPIES, label_entropy
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.fusion.pixelwise import PixelPrediction, predict_pixels
from stage2_distill.fusion.thresholds import (
    AREA_UNITS,
    SCOPES,
    THETAS,
    check_clamp,
    fixed_thresholds,
    mean_thresholds,
    size_levels,
)

UNCOVERED = ('ta', 'ignore', 'nearest')
_CANDIDATES = 3


@torch.no_grad()
def fuse(
    masks: Masks,
    logits: Tensor,
    *,
    theta_medium: float = 0.7,
    theta_other: float = 0.5,
    area_range: tuple[float, float] = (100, 1000),
    area_unit: str = 'window',
    theta_inclusive: bool = True,
    theta: str = 'fixed',
    theta_scope: str = 'panorama',
    theta_clamp: tuple[float, float] | None = (0.5, 0.9),
    entropy: str = 'region_mean',
    min_candidate_lcr: float = 0.0,
    support: str = 'full',
    uncovered: str = 'ta',
    output: str = 'hard',
    predicted: PixelPrediction | None = None,
) -> Fused:
    """Fuse the masks and logits of one window or many into ensemble labels and a weight map (Eq. 3).

    Args:
        masks: Bool ``(K, h, w)`` in painting order (later ones lie on top), the masks of one window from the cache, or
            the atoms of ``N`` windows.
        logits: The teacher assistant's, ``(C, h, w)``; with atoms ``(..., C, h, w)``, N windows in all; any float type.
        theta_medium: Share of a mask of medium size that its most frequent label needs to be reliable.
        theta_other: The same for small and large masks.
        area_range: Smallest and largest area that count as medium.
        area_unit: Of ``area_range``: ``'window'`` pixels, ``'sam_input'`` pixels (of the window enlarged to 1024),
            or ``'relative'`` to the window.
        theta_inclusive: Whether a share of exactly theta is enough; the formula says so, the text does not.
        theta: ``'fixed'``, as above, or GoodSAM++'s ``'level_mean'``: the mean share in the masks of the same size
            (small, medium or large by ``area_range``).
        theta_scope: Whose masks the mean is of: all of a ``'panorama'``, whose windows are the last dimension before
            C, or those of each ``'window'``, which may have few of a size. GoodSAM++ does not say.
        theta_clamp: Bounds of the mean, None for none. Without them, the better the assistant, the more masks fall
            below a mean near 1. GoodSAM++ does not say.
        entropy: Which entropy decides between labels, one of ``label_entropy.ENTROPIES``.
        min_candidate_lcr: Labels of a smaller share are no candidates, unless none is left.
        support: Count in the mask's ``'full'`` extent or in its ``'visible'`` part.
        uncovered: Pixels in no mask take the assistant's label (``'ta'``), are ignored (``'ignore'``), or take the
            label of the nearest mask (``'nearest'``). Their weight is 0.
        output: ``'hard'`` labels alone, or ``'soft'`` with distributions: the assistant's mean over the mask, with the
            chosen label raised to the largest other.
        predicted: ``pixelwise.predict_pixels`` of the logits, if it is known.

    Returns:
        Shapes as the logits', without C. No gradient.

    Raises:
        ValueError: If masks and logits belong to different windows, or a setting is unknown.
    """
    _check_choices(entropy=(entropy, ENTROPIES), area_unit=(area_unit, AREA_UNITS), uncovered=(uncovered, UNCOVERED))
    _check_choices(output=(output, ('hard', 'soft')), theta=(theta, THETAS), theta_scope=(theta_scope, SCOPES))
    check_clamp(theta_clamp)
    windows = prepare(masks, logits)
    atoms, logits = windows.atoms, windows.logits
    pixels = predict_pixels(logits) if predicted is None else windows.flat(predicted)

    count = count_labels(atoms, pixels.labels, logits.shape[1], support)
    area = count.sum(1)
    # Counts in float64, so that shares are exact.
    share = count.amax(1).double() / area.clamp(min=1)
    level = size_levels(area, area_range, area_unit, logits.shape[-2:])
    if theta == 'fixed':
        least = fixed_thresholds(level, theta_medium, theta_other)
    else:
        group = atoms.window_of_mask // (windows.per_panorama if theta_scope == 'panorama' else 1)
        least = mean_thresholds(share, area, level, group, atoms.windows, theta_clamp)
    reliable = share >= least if theta_inclusive else share > least

    most_frequent = count.argmax(1)
    entropies = label_entropy(entropy, atoms, logits, pixels, count, support)
    surest = _surest(count, area, entropies, min_candidate_lcr) if len(count) else most_frequent
    label = torch.where(reliable, most_frequent, surest)

    labels = atoms.paint(label, pixels.labels)
    weight = atoms.paint(reliable.float(), 0.0)
    soft = _soften(atoms, label, logits.float().softmax(1), area, support) if output == 'soft' else None
    if uncovered != 'ta':
        labels, soft = _fill(atoms, labels, soft, uncovered)
    return windows.fused(labels, weight, soft)


def _surest(count: Tensor, area: Tensor, entropies: Tensor, min_candidate_lcr: float) -> Tensor:
    """Of each mask's three most frequent labels the one of lowest entropy, int64 ``(K,)``; ties go to the frequent."""
    classes = count.shape[1]
    # The most frequent first, and of equally frequent ones the first class.
    ranked = (count * classes + torch.arange(classes - 1, -1, -1, device=count.device)).topk(min(_CANDIDATES, classes))
    candidates = ranked.indices
    votes = count.gather(1, candidates)
    eligible = (votes > 0) & (votes.double() / area.clamp(min=1)[:, None] >= min_candidate_lcr)
    eligible[:, :1] = True
    unsure = entropies.gather(1, candidates).masked_fill(~eligible, math.inf)
    return candidates.gather(1, unsure.argmin(1, keepdim=True))[:, 0]


def _soften(atoms: MaskAtoms, label: Tensor, p: Tensor, area: Tensor, support: str) -> Tensor:
    """The assistant's mean distribution over each mask, the chosen label not below any other; ``(N, C, h, w)``."""
    if not atoms.masks:
        return p.clone()
    mean = atoms.sum_masks(atoms.sum_atoms(p), support) / area.clamp(min=1)[:, None]
    mean = mean.scatter(1, label[:, None], mean.amax(1, keepdim=True))
    mean = mean / mean.sum(1, keepdim=True).clamp(min=1e-12)
    painted = mean[atoms.top.clamp(min=0)][atoms.atom_map].movedim(-1, 1)
    return torch.where(atoms.covered[:, None], painted, p)


def _fill(atoms: MaskAtoms, labels: Tensor, soft: Tensor | None, how: str) -> tuple[Tensor, Tensor | None]:
    """Other labels for pixels in no mask."""
    covered = atoms.covered
    if how == 'ignore' or not atoms.masks:
        if how == 'ignore':
            labels = labels.masked_fill(~covered, IGNORE)
        return labels, soft
    from scipy.ndimage import distance_transform_edt

    labels, soft = labels.clone(), None if soft is None else soft.clone()
    for window, bare in enumerate((~covered).cpu().numpy()):
        if bare.all():
            continue
        row, column = distance_transform_edt(bare, return_distances=False, return_indices=True)
        labels[window] = labels[window][row, column]
        if soft is not None:
            soft[window] = soft[window][:, row, column]
    return labels, soft


def _check_choices(**choices: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f'{name}={value!r} is none of {", ".join(known)}')
