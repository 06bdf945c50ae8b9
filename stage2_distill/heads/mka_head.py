"""MKAHead: turns a lesson into the losses of teacher assistant and student (Sec. 3.3, Eq. 8 and 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from stage2_distill.geometry.overlaps import OverlapGroup, both_sides, cut_overlaps
from stage2_distill.geometry.window_batch import cut_windows, places
from stage2_distill.heads.lesson import Lesson
from stage2_distill.losses.boundary import (
    MODES,
    boundary_cross_entropy,
    boundary_loss,
    boundary_weighted_loss,
    network_boundary,
)
from stage2_distill.losses.consistency import SPACES, consistency_loss
from stage2_distill.losses.knowledge_adaptation import (
    REDUCTIONS,
    ensemble_loss,
    soft_ensemble_loss,
    soft_whole_image_loss,
    whole_image_loss,
)


@MODELS.register_module()
class MKAHead(nn.Module):
    """The losses of teacher assistant and student, every term with a weight of its own.

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
        space: Of Eq. 1, ``'softmax'`` or ``'logits'``.
        boundary_mode: How boundary maps are compared, see ``losses.boundary``.
        tau, radius, thickness: Of the boundary maps.
        soft_target: Eq. 4 with the assistant's distribution.
        reduction: Of the cross-entropies, ``'mean'`` or ``'sum'``.
        class_weight: How much each class counts in the cross-entropies; None: all the same, as in the paper. For its
            effect on an assistant that was first trained with class weights see docs/ablations.md.

    Raises:
        ValueError: If a setting is unknown or out of range.
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
        space: str = 'softmax',
        boundary_mode: str = 'ste',
        tau: float = 1.0,
        radius: int = 1,
        thickness: int = 2,
        soft_target: bool = False,
        reduction: str = 'mean',
        class_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if boundary_mode not in MODES:
            raise ValueError(f'boundary_mode {boundary_mode!r} is none of {", ".join(MODES)}')
        for name, value, known in (('space', space, SPACES), ('reduction', reduction, REDUCTIONS)):
            if value not in known:
                raise ValueError(f'{name} {value!r} is none of {", ".join(known)}')
        if radius < 1 or thickness not in (1, 2) or tau <= 0:
            raise ValueError(
                f'radius={radius}, thickness={thickness}, tau={tau}: at least 1, 1 or 2, above 0 are needed'
            )
        self.weights_ta = {'ce_t_ta': ensemble_ta, 'cc': consistency, 'bd_t_ta': boundary_ta}
        self.weights_student = {'ce_ta_s': whole_image, 'ce_t_s': ensemble_student, 'bd_t_s': boundary_student}
        self.lambda_ta, self.lambda_student = lambda_ta, lambda_student
        self.space, self.soft_target, self.reduction = space, soft_target, reduction
        self.boundary_mode, self.tau, self.radius, self.thickness = boundary_mode, tau, radius, thickness
        by_class = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', by_class, persistent=False)

    def assistant_losses(self, logits: Tensor, lesson: Lesson) -> dict[str, Tensor]:
        """Compute the weighted terms of Eq. 9.

        Args:
            logits: The assistant's, ``(B, n, C, h, w)``.
            lesson: Of the same windows.

        Returns:
            ``loss_ce_t_ta``, ``loss_cc`` and ``loss_bd_t_ta``, those that have a weight.
        """
        sides = [both_sides(logits, group) for group in lesson.groups]
        terms = {
            'ce_t_ta': lambda: self._ensemble_of_windows(logits, lesson),
            'cc': lambda: self._consistency(sides, lesson, logits),
            'bd_t_ta': lambda: self._boundary_of_windows(sides, lesson, logits),
        }
        return _weighted(terms, self.weights_ta)

    def student_losses(self, logits: Tensor, lesson: Lesson) -> dict[str, Tensor]:
        """Compute the weighted terms of Eq. 8.

        Args:
            logits: The student's, of whole panoramas, ``(B, C, H, W)``.
            lesson: Of the same panoramas.

        Returns:
            ``loss_ce_ta_s``, ``loss_ce_t_s`` and ``loss_bd_t_s``, those that have a weight.
        """
        log_p = logits.float().log_softmax(1)  # Eq. 4 and 5 share it
        terms = {
            'ce_ta_s': lambda: self._whole_image(log_p, lesson),
            'ce_t_s': lambda: self._ensemble_of_panorama(log_p, lesson),
            'bd_t_s': lambda: self._boundary_of_panorama(logits, lesson),
        }
        return _weighted(terms, self.weights_student)

    @property
    def _cross_entropy(self) -> dict[str, Any]:
        """What all cross-entropies share."""
        return {'reduction': self.reduction, 'class_weight': self.class_weight}

    def _whole_image(self, log_p: Tensor, lesson: Lesson) -> Tensor:
        """Eq. 4."""
        if self.soft_target:
            return soft_whole_image_loss(log_p, lesson.whole, labels=lesson.whole_labels, **self._cross_entropy)
        return whole_image_loss(log_p, lesson.whole_labels, **self._cross_entropy)

    def _ensemble_of_panorama(self, log_p: Tensor, lesson: Lesson) -> Tensor:
        """Eq. 5."""
        labels, weight, soft = lesson.ensemble
        options: dict[str, Any] = {'lam': self.lambda_student, **self._cross_entropy}
        if soft is not None:
            return soft_ensemble_loss(cut_windows(log_p, lesson.grid), soft, labels, weight, **options)
        return ensemble_loss(log_p, labels, weight, places=places(lesson.grid, log_p.device), **options)

    def _ensemble_of_windows(self, logits: Tensor, lesson: Lesson) -> Tensor:
        """Eq. 6."""
        labels, weight, soft = lesson.ensemble
        log_p = logits.float().log_softmax(2)
        options: dict[str, Any] = {'lam': self.lambda_ta, **self._cross_entropy}
        if soft is not None:
            return soft_ensemble_loss(log_p, soft, labels, weight, **options)
        return ensemble_loss(log_p, labels, weight, **options)

    def _consistency(self, overlaps: list[tuple[Tensor, Tensor]], lesson: Lesson, logits: Tensor) -> Tensor:
        """Eq. 1: the mean over all overlaps."""
        parts = [consistency_loss(*sides, self.space) for sides in overlaps]
        return _mean_of_groups(parts, lesson, logits)

    def _boundary_of_windows(self, overlaps: list[tuple[Tensor, Tensor]], lesson: Lesson, logits: Tensor) -> Tensor:
        """Eq. 2: every overlap as seen from both of its windows."""
        parts = []
        for group, refined, seen in zip(lesson.groups, lesson.refined, overlaps, strict=True):
            sides = zip(seen, both_sides(lesson.ensemble.labels, group), strict=True)
            left_out = _left_out(lesson, group)
            parts.append(torch.stack([self._compare(refined, *side, left_out).mean() for side in sides]).sum())
        return _mean_of_groups(parts, lesson, logits)

    def _boundary_of_panorama(self, logits: Tensor, lesson: Lesson) -> Tensor:
        """Eq. 7: every overlap cut out of the student's panorama."""
        parts = []
        for group, refined in zip(lesson.groups, lesson.refined, strict=True):
            labels = both_sides(lesson.ensemble.labels, group)[0]
            seen = cut_overlaps(logits, lesson.grid, group)
            parts.append(self._compare(refined, seen, labels, _left_out(lesson, group)).mean())
        return _mean_of_groups(parts, lesson, logits)

    def _compare(self, refined: Tensor, logits: Tensor, labels: Tensor, left_out: Tensor | None) -> Tensor:
        """One value for each overlap, ``(B, m)``."""
        if self.boundary_mode == 'weighted_ce':
            return boundary_weighted_loss(refined, logits, labels)
        mode = 'soft' if self.boundary_mode == 'bce' else self.boundary_mode
        boundary = network_boundary(logits, mode, self.tau, self.radius, self.thickness)
        if left_out is not None:
            boundary = boundary.masked_fill(left_out, 0)  # as the refined map
        return (boundary_cross_entropy if self.boundary_mode == 'bce' else boundary_loss)(refined, boundary)


def _left_out(lesson: Lesson, group: OverlapGroup) -> Tensor | None:
    """What teaches nothing in a group's overlaps, bool ``(B, m, h', o)``."""
    return None if lesson.left_out is None else cut_overlaps(lesson.left_out, lesson.grid, group)


def _weighted(terms: dict[str, Callable[[], Tensor]], weights: dict[str, float]) -> dict[str, Tensor]:
    return {f'loss_{name}': weight * terms[name]() for name, weight in weights.items() if weight}


def _mean_of_groups(parts: list[Tensor], lesson: Lesson, logits: Tensor) -> Tensor:
    """Mean over all overlaps, from the mean of each group; 0 without overlaps."""
    if not parts:
        return logits.float().sum() * 0
    sizes = [len(group.members) for group in lesson.groups]
    return torch.stack([part * size for part, size in zip(parts, sizes, strict=True)]).sum() / sum(sizes)
