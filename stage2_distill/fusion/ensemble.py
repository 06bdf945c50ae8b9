"""What every fusion takes and gives: masks and logits of windows, ensemble labels and weight map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.fusion.pixelwise import PixelPrediction

Masks = MaskAtoms | InstanceMasks | Tensor | NDArray[np.bool_]


class Fused(NamedTuple):
    """The ensemble of SAM and teacher assistant.

    Attributes:
        labels: int64 ``(..., h, w)``, the ensemble labels ``E``; 255 is ignored.
        weight: float32 ``(..., h, w)``, the weight map ``M``: 1 where the label is reliable, else 0.
        soft: float32 ``(..., C, h, w)``, a distribution over the classes, if asked for.
    """

    labels: Tensor
    weight: Tensor
    soft: Tensor | None = None


class Windows(NamedTuple):
    """Masks and logits of ``N`` windows, in the shapes that fusion computes on.

    Attributes:
        atoms: The masks of all windows.
        logits: ``(N, C, h, w)``, without gradient.
        leading: The dimensions before C that the caller's logits had; N is their product.
    """

    atoms: MaskAtoms
    logits: Tensor
    leading: torch.Size

    @property
    def per_panorama(self) -> int:
        """Windows of one panorama: the last of the leading dimensions."""
        return self.leading[-1] if self.leading else 1

    def flat(self, predicted: PixelPrediction) -> PixelPrediction:
        """A prediction of the caller's logits as one of the ``N`` windows, each part ``(N, h, w)``."""
        return PixelPrediction(*(part.reshape(-1, *part.shape[-2:]) for part in predicted))

    def fused(self, labels: Tensor, weight: Tensor, soft: Tensor | None = None) -> Fused:
        """The result ``(N, ...)`` with the caller's leading dimensions."""

        def shaped(part: Tensor) -> Tensor:
            return part.reshape(*self.leading, *part.shape[1:])

        return Fused(shaped(labels), shaped(weight), None if soft is None else shaped(soft))


def prepare(masks: Masks, logits: Tensor) -> Windows:
    """Bring masks and logits ``(..., C, h, w)`` into the shapes that fusion computes on.

    Raises:
        ValueError: If they belong to different windows.
    """
    flat = logits.detach().reshape(-1, *logits.shape[-3:])
    atoms = masks if isinstance(masks, MaskAtoms) else MaskAtoms.from_masks(masks).to(logits.device)
    if flat.ndim != 4 or tuple(atoms.atom_map.shape) != (len(flat), *flat.shape[2:]):
        raise ValueError(f'masks of windows {tuple(atoms.atom_map.shape)} and logits {tuple(logits.shape)} do not fit')
    return Windows(atoms, flat, logits.shape[:-3])


def count_labels(atoms: MaskAtoms, labels: Tensor, classes: int, support: str = 'full') -> Tensor:
    """Count the pixels of each label in each mask; int64 ``(K, C)`` from labels int64 ``(N, h, w)``."""
    return atoms.sum_masks(sum_by_label(atoms, labels, classes), support)


def sum_by_label(atoms: MaskAtoms, labels: Tensor, classes: int, weights: Tensor | None = None) -> Tensor:
    """Count pixels, or add up their weights ``(N, h, w)``, by atom and label: ``(A, C)``."""
    place = labels.add(atoms.atom_map, alpha=classes).flatten()
    values = torch.ones_like(place) if weights is None else weights.flatten()
    return values.new_zeros(atoms.atoms * classes).index_add_(0, place, values).view(-1, classes)
