"""The entropy ``SE`` of a label in a mask (Eq. 3): how unsure the teacher assistant is of it; lower is surer.

The paper names it and gives no formula, so that four readings are offered:

- ``region_mean``: mean entropy of the mask's pixels with that label (the default);
- ``mean_dist``: entropy of the mean distribution of those pixels;
- ``spatial``: entropy of where in the mask the probability of the label lies, over log N;
- ``binary``: mean over the mask of the entropy of the label against all others, which favours improbable labels and is
  kept for study.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stage2_distill.fusion.ensemble import sum_by_label
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.fusion.pixelwise import PixelPrediction

ENTROPIES = ('region_mean', 'mean_dist', 'spatial', 'binary')


def label_entropy(
    kind: str, atoms: MaskAtoms, logits: Tensor, predicted: PixelPrediction, count: Tensor, support: str = 'full'
) -> Tensor:
    """The entropy of every label in every mask.

    Readings that compare pixels of different labels add in float64: in float32 the means of equal values differ with
    their number, and a tie would not go to the more frequent label.

    Args:
        kind: One of ``ENTROPIES``.
        atoms: The masks of ``N`` windows.
        logits: The teacher assistant's, ``(N, C, h, w)``.
        predicted: ``predict_pixels`` of the logits.
        count: Pixels of each label in each mask, ``(K, C)``.
        support: ``'full'`` or ``'visible'``, as ``count`` was made with.

    Returns:
        float ``(K, C)``; 0 for labels that a mask does not have, unless the reading gives them a value.
    """
    classes, of_label = count.shape[1], count.clamp(min=1)
    if kind == 'region_mean':
        pixels = sum_by_label(atoms, predicted.labels, classes, predicted.entropy.double())
        return atoms.sum_masks(pixels, support) / of_label
    log_p = logits.float().log_softmax(1)
    p, area = log_p.exp(), count.sum(1)
    if kind == 'mean_dist':
        place = (atoms.atom_map * classes + predicted.labels).flatten()
        rows = p.movedim(1, -1).reshape(-1, classes).double()
        total = rows.new_zeros(atoms.atoms * classes, classes).index_add_(0, place, rows)
        mean = atoms.sum_masks(total.view(-1, classes, classes), support) / of_label[..., None]
        return -torch.xlogy(mean, mean).sum(-1)
    if kind == 'spatial':
        mass = atoms.sum_masks(atoms.sum_atoms(p), support).clamp(min=1e-12)
        p_log_p = atoms.sum_masks(atoms.sum_atoms(p * log_p), support)
        return (mass.log() - p_log_p / mass) / area.clamp(min=2)[:, None].log()
    binary = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
    return atoms.sum_masks(atoms.sum_atoms(binary), support) / area.clamp(min=1)[:, None]
