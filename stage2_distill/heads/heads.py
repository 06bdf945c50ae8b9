"""The registered heads: CTCFHead makes what is taught, MKAHead turns it into the losses of Eq. 8 and 9."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.boundaries.label_boundary import hard_boundary
from stage2_distill.boundaries.refinement import refine
from stage2_distill.data.cached_masks import CachedMasks
from stage2_distill.fusion.ctcf import Fused
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.fusion.pixelwise import PixelPrediction, first_argmax, predict_pixels
from stage2_distill.geometry.window_batch import (
    OverlapGroup,
    both_sides,
    cut_overlaps,
    cut_windows,
    outside,
    overlap_groups,
    places,
    stitch_windows,
)
from stage2_distill.losses.boundary import (
    MODES,
    boundary_cross_entropy,
    boundary_loss,
    boundary_weighted_loss,
    network_boundary,
)
from stage2_distill.losses.consistency import consistency_loss
from stage2_distill.losses.knowledge_adaptation import weighted_cross_entropy, weighted_nll, whole_image_loss


@dataclass(frozen=True, eq=False)
class Lesson:
    """What one batch of panoramas teaches; nothing in it carries a gradient.

    Attributes:
        grid: The windows.
        ensemble: Labels and weights of the windows, ``(B, n, h, w)``.
        groups: The overlaps.
        refined: The refined boundary maps of each group, bool ``(B, m, h', o)``.
        whole_labels: What the teacher assistant says of the panoramas, int64 ``(B, H, W)``: labels of ``whole``.
        logits: The teacher assistant's of the windows, ``(B, n, C, h, w)``.
        entropy: Mean entropy of the teacher assistant's pixels, a scalar; no number if its logits aren't all numbers.
        assemble: How windows make up panoramas, ``'owners'`` or ``'mean'``.
    """

    grid: WindowGrid
    ensemble: Fused
    groups: list[OverlapGroup]
    refined: list[Tensor]
    whole_labels: Tensor
    logits: Tensor
    entropy: Tensor
    assemble: str = 'owners'

    @property
    def whole(self) -> Tensor:
        """The teacher assistant's logits of the panoramas, ``S_TA^w``, ``(B, C, H, W)``."""
        return _assembled(self.logits, self.grid, self.assemble)


@MODELS.register_module()
class CTCFHead(nn.Module):
    """Fuses SAM's masks with the teacher assistant's logits, and refines its boundaries (Sec. 3.2).

    Args:
        fusion: Config of ``CTCF``, ``SSAFusion`` or ``SEPLFusion``.
        refinement: Keywords of ``boundary_refinement.refine``, such as ``alpha``.
        thickness: Of the boundary maps' lines in pixels; the cache's has to be the same.
        assemble: How windows make up the assistant's panorama: ``'owners'`` take each pixel from one window, ``'mean'``
            averages.
    """

    def __init__(
        self,
        fusion: dict[str, Any] | None = None,
        refinement: dict[str, Any] | None = None,
        thickness: int = 2,
        assemble: str = 'owners',
    ) -> None:
        super().__init__()
        self.fusion = MODELS.build(fusion or {'type': 'CTCF'})
        self.refinement = refinement or {}
        self.thickness = thickness
        self.assemble = assemble

    @torch.no_grad()
    def forward(self, logits: Tensor, masks: list[CachedMasks]) -> Lesson:
        """Everything that a batch teaches.

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
        groups = overlap_groups(grid)
        predicted = predict_pixels(logits.flatten(0, 1))
        labels, _, margin = (part.unflatten(0, logits.shape[:2]) for part in predicted)
        refined = [self._refine(labels, margin, masks, group) for group in groups]
        if self.assemble == 'owners':  # every pixel is one window's, and so is its label
            whole_labels = stitch_windows(labels, grid)
        else:
            whole_labels = first_argmax(_assembled(logits, grid, self.assemble))
        ensemble = self.fuse(logits, masks, predicted)
        return Lesson(grid, ensemble, groups, refined, whole_labels, logits, predicted.entropy.mean(), self.assemble)

    @torch.no_grad()
    def fuse(self, logits: Tensor, masks: list[CachedMasks], predicted: PixelPrediction | None = None) -> Fused:
        """Ensemble labels and weight maps, ``(B, n, h, w)``; padding is ignored."""
        batch, windows = logits.shape[:2]
        atoms = MaskAtoms.stack([window for panorama in masks for window in panorama.windows])
        labels, weight, soft = self.fusion(atoms, logits.flatten(0, 1), predicted)
        labels, weight = labels.unflatten(0, (batch, windows)), weight.unflatten(0, (batch, windows))
        soft = None if soft is None else soft.unflatten(0, (batch, windows))
        padding = outside(masks[0].grid, logits.device)
        if padding is not None:
            labels, weight = labels.masked_fill(padding, IGNORE), weight.masked_fill(padding, 0)
        return Fused(labels, weight, soft)

    def _refine(self, labels: Tensor, margin: Tensor, masks: list[CachedMasks], group: OverlapGroup) -> Tensor:
        """Refined boundary maps of a group's overlaps, bool ``(B, m, h', o)``."""
        b_i, b_j = (hard_boundary(side, self.thickness) for side in both_sides(labels, group))
        height, width = b_i.shape[-2:]
        sam = torch.stack(
            [torch.stack([panorama.boundaries[i][:height, :width] for i in group.members]) for panorama in masks]
        )
        return refine(b_i, b_j, sam, *both_sides(margin, group), axis=group.axis, **self.refinement)


@MODELS.register_module()
class MKAHead(nn.Module):
    """The losses of teacher assistant and student (Sec. 3.3), every term with a weight of its own.

    A term of weight 0 is neither computed nor logged.

    Args:
        ensemble_ta: Weight of ``L_CE^{T,TA}`` (Eq. 6).
        consistency: Weight of ``L_CC`` (Eq. 1).
        boundary_ta: Weight of ``L_bd^{T,TA}`` (Eq. 2).
        whole_image: Weight of ``L_CE^{TA,S}`` (Eq. 4).
        ensemble_student: Weight of ``L_CE^{T,S}`` (Eq. 5).
        boundary_student: Weight of ``L_bd^{T,S}`` (Eq. 7).
        lambda_ta: How much more reliable pixels count for the assistant.
        lambda_student: The same for the student.
        windows: Windows of Eq. 5 and 6: ``'all'``, or those that ``'tile'`` the panorama.
        space: Of Eq. 1, ``'softmax'`` or ``'logits'``.
        boundary_mode: How boundary maps are compared, see ``losses.boundary``.
        tau, radius, thickness: Of the boundary maps.
        soft_target: Eq. 4 with the assistant's distribution.
        temperature: Of that distribution.
        reduction: Of the cross-entropies, ``'mean'`` or ``'sum'``.
        class_weight: How much each class counts in the cross-entropies; None: all the same, as in the paper. What
            it does to an assistant that was first trained with class weights: docs/ablations.md.
        boundary_start: Iteration from which the boundary terms count.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        ensemble_ta: float = 1.0,
        consistency: float = 1.0,
        boundary_ta: float = 1.0,
        whole_image: float = 1.0,
        ensemble_student: float = 1.0,
        boundary_student: float = 1.0,
        lambda_ta: float = 0.2,
        lambda_student: float = 0.2,
        windows: str = 'all',
        space: str = 'softmax',
        boundary_mode: str = 'ste',
        tau: float = 1.0,
        radius: int = 1,
        thickness: int = 2,
        soft_target: bool = False,
        temperature: float = 1.0,
        reduction: str = 'mean',
        class_weight: Sequence[float] | None = None,
        boundary_start: int = 0,
    ) -> None:
        super().__init__()
        if windows not in ('all', 'tile'):
            raise ValueError(f"windows {windows!r} are neither 'all' nor 'tile'")
        if boundary_mode not in MODES:
            raise ValueError(f'boundary_mode {boundary_mode!r} is none of {", ".join(MODES)}')
        self.weights_ta = {'ce_t_ta': ensemble_ta, 'cc': consistency, 'bd_t_ta': boundary_ta}
        self.weights_student = {'ce_ta_s': whole_image, 'ce_t_s': ensemble_student, 'bd_t_s': boundary_student}
        self.lambda_ta, self.lambda_student = lambda_ta, lambda_student
        self.windows, self.space, self.reduction = windows, space, reduction
        self.boundary_mode, self.tau, self.radius, self.thickness = boundary_mode, tau, radius, thickness
        self.soft_target, self.temperature = soft_target, temperature
        by_class = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', by_class, persistent=False)
        self.boundary_start = boundary_start

    def assistant_losses(
        self, logits: Tensor, lesson: Lesson, boundary: Tensor | None = None, iteration: int = 0
    ) -> dict[str, Tensor]:
        """The weighted terms of Eq. 9.

        Args:
            logits: The assistant's, ``(B, n, C, h, w)``.
            lesson: Of the same windows.
            boundary: Logits of a boundary head, ``(B, n, 1, h, w)``, in mode ``'head'``.
            iteration: Of the training.

        Returns:
            ``loss_ce_t_ta``, ``loss_cc`` and ``loss_bd_t_ta``, as far as they have a weight.
        """
        sides = cache(lambda: [both_sides(logits, group) for group in lesson.groups])
        terms = {
            'ce_t_ta': lambda: self._ensemble(logits, lesson, self.lambda_ta),
            'cc': lambda: self._consistency(sides(), lesson, logits),
            'bd_t_ta': lambda: self._boundary_of_windows(sides(), lesson, logits, boundary),
        }
        return self._weighted(terms, self.weights_ta, iteration)

    def student_losses(
        self, logits: Tensor, lesson: Lesson, boundary: Tensor | None = None, iteration: int = 0
    ) -> dict[str, Tensor]:
        """The weighted terms of Eq. 8.

        Args:
            logits: The student's, of whole panoramas, ``(B, C, H, W)``.
            lesson: Of the same panoramas.
            boundary: Logits of a boundary head, ``(B, 1, H, W)``, in mode ``'head'``.
            iteration: Of the training.

        Returns:
            ``loss_ce_ta_s``, ``loss_ce_t_s`` and ``loss_bd_t_s``, as far as they have a weight.
        """
        log_p = cache(lambda: logits.float().log_softmax(1))
        terms = {
            'ce_ta_s': lambda: self._whole_image(logits, log_p, lesson),
            'ce_t_s': lambda: self._ensemble_of_panorama(logits, log_p, lesson),
            'bd_t_s': lambda: self._boundary_of_panorama(logits, lesson, boundary),
        }
        return self._weighted(terms, self.weights_student, iteration)

    def _weighted(self, terms: dict[str, Any], weights: dict[str, float], iteration: int) -> dict[str, Tensor]:
        waiting = {'bd_t_ta', 'bd_t_s'} if iteration < self.boundary_start else set()
        return {
            f'loss_{name}': weight * terms[name]() for name, weight in weights.items() if weight and name not in waiting
        }

    def _ensemble(self, logits: Tensor, lesson: Lesson, lam: float) -> Tensor:
        """Eq. 5 or 6: ``(B, n, C, h, w)``."""
        chosen = self._chosen(lesson.grid)
        labels, weight, soft = (None if part is None else part[:, chosen].flatten(0, 1) for part in lesson.ensemble)
        of_windows = logits[:, chosen].flatten(0, 1)
        assert labels is not None
        return weighted_cross_entropy(of_windows, labels, weight, lam, soft, self.reduction, self.class_weight)

    def _whole_image(self, logits: Tensor, log_p: Callable[[], Tensor], lesson: Lesson) -> Tensor:
        """Eq. 4: ``(B, C, H, W)``."""
        if self.soft_target:
            return whole_image_loss(logits, lesson.whole, True, self.temperature, self.reduction, self.class_weight)
        return weighted_nll(log_p(), lesson.whole_labels, reduction=self.reduction, class_weight=self.class_weight)

    def _ensemble_of_panorama(self, logits: Tensor, log_p: Callable[[], Tensor], lesson: Lesson) -> Tensor:
        """Eq. 5: ``(B, C, H, W)``."""
        labels, weight, soft = lesson.ensemble
        if soft is not None:
            return self._ensemble(cut_windows(logits, lesson.grid), lesson, self.lambda_student)
        chosen = self._chosen(lesson.grid)
        seen = places(lesson.grid, logits.device)[chosen]
        return weighted_nll(
            log_p(),
            labels[:, chosen],
            weight[:, chosen],
            self.lambda_student,
            self.reduction,
            self.class_weight,
            seen,
        )

    def _chosen(self, grid: WindowGrid) -> list[int] | slice:
        """The windows of Eq. 5 and 6."""
        return [owner.window for owner in grid.owners] if self.windows == 'tile' else slice(None)

    def _consistency(self, overlaps: list[tuple[Tensor, Tensor]], lesson: Lesson, logits: Tensor) -> Tensor:
        """Eq. 1: the mean over all overlaps."""
        parts = [consistency_loss(*sides, self.space) for sides in overlaps]
        return _mean_of_groups(parts, lesson, logits)

    def _boundary_of_windows(
        self, overlaps: list[tuple[Tensor, Tensor]], lesson: Lesson, logits: Tensor, boundary: Tensor | None
    ) -> Tensor:
        """Eq. 2: every overlap as seen from both of its windows."""
        labels = lesson.ensemble.labels
        parts = []
        for group, refined, seen in zip(lesson.groups, lesson.refined, overlaps, strict=True):
            heads = (None, None) if boundary is None else both_sides(boundary, group)
            sides = zip(seen, both_sides(labels, group), heads, strict=True)
            parts.append(torch.stack([self._compare(refined, *side).mean() for side in sides]).sum())
        return _mean_of_groups(parts, lesson, logits)

    def _boundary_of_panorama(self, logits: Tensor, lesson: Lesson, boundary: Tensor | None) -> Tensor:
        """Eq. 7: every overlap cut out of the student's panorama."""
        parts = []
        for group, refined in zip(lesson.groups, lesson.refined, strict=True):
            head = None if boundary is None else cut_overlaps(boundary, lesson.grid, group)
            labels = both_sides(lesson.ensemble.labels, group)[0]
            seen = cut_overlaps(logits, lesson.grid, group)
            parts.append(self._compare(refined, seen, labels, head).mean())
        return _mean_of_groups(parts, lesson, logits)

    def _compare(self, refined: Tensor, logits: Tensor, labels: Tensor, head: Tensor | None) -> Tensor:
        """One value for each overlap, ``(B, m)``."""
        if self.boundary_mode == 'weighted_ce':
            return boundary_weighted_loss(refined, logits, labels)
        if self.boundary_mode == 'head':
            if head is None:
                raise ValueError("boundary_mode 'head' needs networks with a boundary head: BoundaryEncoderDecoder")
            return boundary_loss(refined, head.float().sigmoid().squeeze(-3))
        if self.boundary_mode == 'bce':
            soft = network_boundary(logits, 'soft', self.tau, self.radius, self.thickness)
            return boundary_cross_entropy(refined, soft)
        seen = network_boundary(logits, self.boundary_mode, self.tau, self.radius, self.thickness)
        return boundary_loss(refined, seen)


def _mean_of_groups(parts: list[Tensor], lesson: Lesson, logits: Tensor) -> Tensor:
    """Mean over all overlaps, of the means of each group; 0 without overlaps."""
    if not parts:
        return logits.float().sum() * 0
    sizes = [len(group.members) for group in lesson.groups]
    return torch.stack([part * size for part, size in zip(parts, sizes, strict=True)]).sum() / sum(sizes)


def _assembled(logits: Tensor, grid: WindowGrid, how: str) -> Tensor:
    """Panoramas ``(B, C, H, W)`` of windows' logits ``(B, n, C, h, w)``."""
    return stitch_windows(logits if how == 'owners' else logits.float(), grid, how)
