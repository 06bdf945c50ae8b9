"""Cross-task complementary fusion (Sec. 3.2, Eq. 3): SAM's masks say where, the teacher assistant says what.

A mask on which the assistant largely agrees takes its most frequent label and counts as reliable. A mask on which it
does not takes, of its three most frequent labels, the one that the assistant is surest of.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.fusion.pixelwise import PixelPrediction, predict_pixels

ENTROPIES = ('region_mean', 'mean_dist', 'spatial', 'binary')
AREA_UNITS = ('window', 'sam_input', 'relative')
UNCOVERED = ('ta', 'ignore', 'nearest')
_SAM_INPUT = 1024  # SAM enlarges a window's longer side to this many pixels
_CANDIDATES = 3

Masks = MaskAtoms | InstanceMasks | Tensor | NDArray[np.bool_]


class Fused(NamedTuple):
    """What fusion gives: the ensemble of SAM and teacher assistant.

    Attributes:
        labels: int64 ``(..., h, w)``, the ensemble labels ``E``; 255 is ignored.
        weight: float32 ``(..., h, w)``, the weight map ``M``: 1 where the label is reliable, else 0.
        soft: float32 ``(..., C, h, w)``, a distribution over the classes, if asked for.
    """

    labels: Tensor
    weight: Tensor
    soft: Tensor | None = None


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
    entropy: str = 'region_mean',
    min_candidate_lcr: float = 0.0,
    support: str = 'full',
    uncovered: str = 'ta',
    output: str = 'hard',
    predicted: PixelPrediction | None = None,
) -> Fused:
    """Ensemble labels and weight map of one window or many (Eq. 3).

    Args:
        masks: Bool ``(K, h, w)`` in painting order (later ones lie on top), one window's masks from the cache, or the
            atoms of ``N`` windows.
        logits: The teacher assistant's, ``(C, h, w)``, with atoms ``(N, C, h, w)``; any float type.
        theta_medium: Share of a mask of medium size that its most frequent label needs to be reliable.
        theta_other: The same for small and large masks.
        area_range: Smallest and largest area that count as medium.
        area_unit: Of ``area_range``: ``'window'`` pixels, ``'sam_input'`` pixels (of the window enlarged to 1024),
            or ``'relative'`` to the window.
        theta_inclusive: Whether a share of exactly theta is enough; the formula says so, the text does not.
        entropy: How sure the assistant is of label a within a mask; lower is surer. ``'region_mean'``: mean entropy of
            the pixels labelled a. ``'mean_dist'``: entropy of their mean distribution. ``'spatial'``: entropy of where
            in the mask the probability of a lies, over log N. ``'binary'``: mean over the mask of the entropy of
            a against all others, which favours improbable labels and is kept for study.
        min_candidate_lcr: Labels of a smaller share are no candidates, unless none is left.
        support: Count in the mask's ``'full'`` extent or in its ``'visible'`` part.
        uncovered: Pixels in no mask take the assistant's label (``'ta'``), are left out (``'ignore'``), or take the
            label of the nearest mask (``'nearest'``). Their weight is 0.
        output: ``'hard'`` labels alone, or ``'soft'`` with distributions: the assistant's mean over the mask, with the
            chosen label raised to the largest other.
        predicted: What ``pixelwise.predict_pixels`` says of the logits, if it is known.

    Returns:
        Shapes as the logits', without C. No gradient.

    Raises:
        ValueError: If masks and logits are of different windows, or a setting is unknown.
    """
    _check_choices(entropy=(entropy, ENTROPIES), area_unit=(area_unit, AREA_UNITS), uncovered=(uncovered, UNCOVERED))
    _check_choices(output=(output, ('hard', 'soft')))
    atoms, logits, single = prepare(masks, logits)
    classes = logits.shape[1]
    assistant, pixel_entropy, _ = predicted or predict_pixels(logits)

    count = count_labels(atoms, assistant, classes, support)
    area = count.sum(1)
    largest, label = _first_max(count)
    share = largest / area.clamp(min=1)
    # Thresholds in float64 like the shares: as float32, 0.7 is less than 7 of 10, and 0.6 more than 6 of 10.
    medium = _is_medium(area, area_range, area_unit, logits.shape[-2:])
    theta = torch.full_like(share, theta_other).masked_fill(medium, theta_medium)
    reliable = share >= theta if theta_inclusive else share > theta

    # Up to three labels, the most frequent first and of equally frequent ones the first class.
    ranked = (count * classes + torch.arange(classes - 1, -1, -1, device=count.device)).topk(min(_CANDIDATES, classes))
    candidates = ranked.indices
    votes = count.gather(1, candidates)
    eligible = (votes > 0) & (votes.double() / area.clamp(min=1)[:, None] >= min_candidate_lcr)
    eligible[:, :1] = True
    if entropy == 'region_mean':
        total = atoms.sum_masks(_count_in_atoms(atoms, assistant, classes, pixel_entropy.double()), support)
        sureness = total / count.clamp(min=1)
    else:
        sureness = _entropy_of_labels(entropy, atoms, assistant, logits.float().log_softmax(1), count, area, support)
    doubt = sureness.gather(1, candidates).masked_fill(~eligible, math.inf)
    surest = candidates.gather(1, doubt.argmin(1, keepdim=True))[:, 0] if len(count) else label
    label = torch.where(reliable, label, surest)

    labels = atoms.paint(label, assistant)
    weight = atoms.paint(reliable.float(), torch.zeros_like(logits[:, 0], dtype=torch.float32))
    soft = _soften(atoms, label, logits.float().softmax(1), area, support) if output == 'soft' else None
    if uncovered != 'ta':
        labels, soft = _fill(atoms, labels, soft, uncovered)
    return Fused(labels[0], weight[0], None if soft is None else soft[0]) if single else Fused(labels, weight, soft)


def prepare(masks: Masks, logits: Tensor) -> tuple[MaskAtoms, Tensor, bool]:
    """Atoms, logits ``(N, C, h, w)`` without gradient, and whether they came as one window.

    Raises:
        ValueError: If they are of different windows.
    """
    single = logits.ndim == 3
    logits = logits.detach()[None] if single else logits.detach()
    atoms = masks if isinstance(masks, MaskAtoms) else MaskAtoms.from_masks(masks).to(logits.device)
    found, wanted = tuple(atoms.atom_map.shape), (logits.shape[0], *logits.shape[2:])
    if logits.ndim != 4 or found != wanted:
        raise ValueError(f'masks of windows {found} and logits {tuple(logits.shape)} do not fit')
    return atoms, logits, single


def count_labels(atoms: MaskAtoms, labels: Tensor, classes: int, support: str = 'full') -> Tensor:
    """How many pixels of each mask carry each label; int64 ``(K, C)`` for labels int64 ``(N, h, w)``."""
    return atoms.sum_masks(_count_in_atoms(atoms, labels, classes), support)


def _count_in_atoms(atoms: MaskAtoms, labels: Tensor, classes: int, weights: Tensor | None = None) -> Tensor:
    """Pixels, or the sum of their weights, by atom and label: ``(A, C)``."""
    place = (atoms.atom_map * classes + labels).flatten()
    values = torch.ones_like(place) if weights is None else weights.flatten()
    return values.new_zeros(atoms.atoms * classes).index_add_(0, place, values).view(-1, classes)


def _first_max(count: Tensor) -> tuple[Tensor, Tensor]:
    """Largest count of each mask, float64 so that shares are exact, and its class, of equals the first."""
    return count.amax(1).double(), count.argmax(1)


def _is_medium(area: Tensor, bounds: tuple[float, float], unit: str, window: torch.Size) -> Tensor:
    height, width = window
    # Multiplied and divided, not scaled by a factor: 35 of 100 pixels are exactly 0.35 of a window, 35 * 0.01 are more.
    times, over = {
        'window': (1, 1),
        'sam_input': (_SAM_INPUT**2, max(height, width) ** 2),
        'relative': (1, height * width),
    }[unit]
    size = area.double() * times / over
    return (size >= bounds[0]) & (size <= bounds[1])


def _entropy_of_labels(
    kind: str,
    atoms: MaskAtoms,
    assistant: Tensor,
    log_p: Tensor,
    count: Tensor,
    area: Tensor,
    support: str,
) -> Tensor:
    """Entropy of each label in each mask by another definition than ``region_mean``; float ``(K, C)``.

    The two that compare pixels of different labels add in float64: in float32, the means of equal values differ with
    their number, and a tie would not go to the more frequent label.
    """
    p, classes = log_p.exp(), log_p.shape[1]
    if kind == 'mean_dist':
        rows = atoms.atoms * classes
        place = (atoms.atom_map * classes + assistant).flatten()
        pixels = p.movedim(1, -1).reshape(-1, classes).double()
        total = pixels.new_zeros(rows, classes).index_add_(0, place, pixels)
        mean = atoms.sum_masks(total.view(-1, classes, classes), support) / count.clamp(min=1)[..., None]
        return -torch.xlogy(mean, mean).sum(-1)
    if kind == 'spatial':
        mass = atoms.sum_masks(atoms.sum_atoms(p), support).clamp(min=1e-12)
        p_log_p = atoms.sum_masks(atoms.sum_atoms(p * log_p), support)
        return (mass.log() - p_log_p / mass) / area.clamp(min=2)[:, None].log()
    binary = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
    return atoms.sum_masks(atoms.sum_atoms(binary), support) / area.clamp(min=1)[:, None]


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
