"""SEPL's fusion, a baseline of Table 5: every class takes the masks that lie mostly in its region or cover it."""

from __future__ import annotations

import torch
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage2_distill.fusion.ensemble import Fused, Masks, count_labels, prepare
from stage2_distill.fusion.pixelwise import PixelPrediction, first_argmax

_OF_MASK, _OF_REGION = 0.5, 0.85


@torch.no_grad()
def fuse(
    masks: Masks,
    logits: Tensor,
    *,
    unassigned: str = 'ta',
    coverage: str = 'all',
    predicted: PixelPrediction | None = None,
) -> Fused:
    """Give masks to classes, and paint the classes in the order of their ids.

    Class a, of region ``R_a`` in the assistant's label map, takes each mask ``K`` that no earlier class took if
    ``|K & R_a| > 0.5 |K|`` or ``|K & R_a| >= 0.85 |R_a|``. It is painted on those masks and on the pixels of its region
    that no mask covers; later classes lie on top.

    Args:
        masks: As for ``ctcf.fuse``.
        logits: As for ``ctcf.fuse``.
        unassigned: Pixels that no class is painted on keep the assistant's label (``'ta'``) or are ignored
            (``'ignore'``). The original has a background class for them.
        coverage: What "no mask covers" counts: ``'all'`` masks, or, as released, those ``'remaining'`` from earlier
            classes.
        predicted: As for ``ctcf.fuse``.

    Returns:
        Labels, and a weight map of 1 where the label came with a mask that a class took: the baseline itself has none.

    Raises:
        ValueError: If masks and logits belong to different windows, or a setting is unknown.
    """
    if unassigned not in ('ta', 'ignore') or coverage not in ('all', 'remaining'):
        raise ValueError(f'unassigned={unassigned!r}, coverage={coverage!r}: ta or ignore, all or remaining are needed')
    windows = prepare(masks, logits)
    atoms, classes = windows.atoms, windows.logits.shape[1]
    assistant = first_argmax(windows.logits) if predicted is None else windows.flat(predicted).labels
    inside = count_labels(atoms, assistant, classes)
    area = inside.sum(1, keepdim=True)
    region = torch.stack([(assistant == c).sum((1, 2)) for c in range(classes)], 1)[atoms.window_of_mask]
    fits = (inside > _OF_MASK * area) | ((inside.double() / region >= _OF_REGION) & (region > 0))
    # The first class that fits takes the mask; -1: none does.
    taker = torch.where(fits.any(1), fits.int().argmax(1), -1)
    painted = atoms.spread(_largest(atoms.atom_of_pair, taker[atoms.mask_of_pair], atoms.atoms))
    if coverage == 'all':
        own = ~atoms.covered
    else:
        # At its turn a class meets the masks that no earlier class took.
        turn = torch.where(taker < 0, classes, taker)
        own = atoms.spread(_largest(atoms.atom_of_pair, turn[atoms.mask_of_pair], atoms.atoms)) < assistant
    others = assistant if unassigned == 'ta' else torch.full_like(assistant, IGNORE)
    labels = torch.where(own, assistant, torch.where(painted >= 0, painted, others))
    return windows.fused(labels, ((painted >= 0) & ~own).float())


def _largest(atom: Tensor, value: Tensor, atoms: int) -> Tensor:
    """Largest value of each atom's masks, -1 where there is none."""
    return value.new_full((atoms,), -1).scatter_reduce_(0, atom, value, 'amax')
