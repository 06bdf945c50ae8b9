"""CTCFHead: makes the lesson of a batch from the assistant's logits and SAM's masks (Sec. 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from stage1_sam_cache.data.label_spaces import IGNORE
from stage2_distill.boundaries.label_boundary import hard_boundary
from stage2_distill.boundaries.refinement import refine
from stage2_distill.data.cached_masks import CachedMasks
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.fusion.pixelwise import PixelPrediction, predict_pixels
from stage2_distill.geometry.overlaps import OverlapGroup, both_sides, overlap_groups
from stage2_distill.geometry.window_batch import outside
from stage2_distill.heads.lesson import Lesson


@MODELS.register_module()
class CTCFHead(nn.Module):
    """Fuses SAM's masks with the teacher assistant's logits, and refines its boundaries.

    Args:
        fusion: Config of ``CTCF``, ``SSAFusion`` or ``SEPLFusion``.
        refinement: Keywords of ``boundaries.refinement.refine``, such as ``alpha``.
        thickness: Line width of boundary maps in pixels; must match the cache.

    Raises:
        TypeError, ValueError: If a setting of fusion or refinement is unknown.
    """

    def __init__(
        self, fusion: dict[str, Any] | None = None, refinement: dict[str, Any] | None = None, thickness: int = 2
    ) -> None:
        super().__init__()
        self.fuse = MODELS.build(fusion or {'type': 'CTCF'})
        self.refinement = refinement or {}
        empty, undecided = torch.zeros(1, 1, dtype=torch.bool), torch.zeros(1, 1)
        refine(empty, empty, empty, undecided, undecided, **self.refinement)  # refuses settings that it does not know
        self.thickness = thickness

    @torch.no_grad()
    def forward(self, logits: Tensor, masks: list[CachedMasks]) -> Lesson:
        """Make everything that a batch teaches.

        Args:
            logits: The assistant's, ``(B, n, C, h, w)``, at window size.
            masks: SAM's side of every panorama of the batch.

        Raises:
            ValueError: If the panoramas have different grids.
        """
        grid = masks[0].grid
        if any(other.grid != grid for other in masks):
            raise ValueError('panoramas of different sizes in one batch; take a batch size of 1')
        logits = logits.detach()
        predicted = predict_pixels(logits)
        atoms = MaskAtoms.stack([window for panorama in masks for window in panorama.windows])
        ensemble = self.fuse(atoms, logits, predicted=predicted)
        padding = outside(grid, logits.device)
        if padding is not None:
            labels, weight = ensemble.labels.masked_fill(padding, IGNORE), ensemble.weight.masked_fill(padding, 0)
            ensemble = ensemble._replace(labels=labels, weight=weight)
        groups = overlap_groups(grid)
        return Lesson(
            grid,
            ensemble,
            groups,
            refined=[self._refine(predicted, masks, group) for group in groups],
            assistant_labels=predicted.labels,
            logits=logits,
            entropy=predicted.entropy.mean(),
        )

    def _refine(self, predicted: PixelPrediction, masks: list[CachedMasks], group: OverlapGroup) -> Tensor:
        """Refined boundary maps of a group's overlaps, bool ``(B, m, h', o)``."""
        b_i, b_j = (hard_boundary(side, self.thickness) for side in both_sides(predicted.labels, group))
        height, width = b_i.shape[-2:]
        b_sam = torch.stack(
            [torch.stack([panorama.boundaries[i][:height, :width] for i in group.members]) for panorama in masks]
        )
        margins = both_sides(predicted.margin, group)
        return refine(b_i, b_j, b_sam, *margins, axis=group.axis, **self.refinement)
