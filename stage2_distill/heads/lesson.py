"""The lesson of a batch: all that teacher assistant and student learn from, between the two heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.data.stored_lesson import StoredLesson
from stage2_distill.errors import TrainingError
from stage2_distill.fusion.ensemble import Fused
from stage2_distill.geometry.overlaps import OverlapGroup, cut_overlaps, overlap_groups
from stage2_distill.geometry.window_batch import cut_windows, stitch_windows


@dataclass(frozen=True, eq=False)
class Lesson:
    """What one batch of panoramas teaches; nothing in it carries a gradient.

    Attributes:
        grid: The windows.
        ensemble: Labels and weights of the windows, ``(B, n, h, w)``.
        groups: The overlaps.
        refined: The refined boundary maps of each group, bool ``(B, m, h', o)``.
        assistant_labels: The teacher assistant's labels of the windows, int64 ``(B, n, h, w)``.
        logits: The teacher assistant's of the windows, ``(B, n, C, h, w)``; None in a lesson that was stored.
        entropy: Mean entropy of the teacher assistant's pixels, a scalar; NaN if its logits are not finite.
        left_out: Pixels that teach nothing, bool ``(B, H, W)``: ignored in all labels, weight 0, no boundary; or None.
    """

    grid: WindowGrid
    ensemble: Fused
    groups: tuple[OverlapGroup, ...]
    refined: list[Tensor]
    assistant_labels: Tensor
    logits: Tensor | None
    entropy: Tensor
    left_out: Tensor | None = None

    def without(self, left_out: Tensor) -> Lesson:
        """The lesson without pixels of the panoramas, bool ``(B, H, W)``."""
        windows = cut_windows(left_out, self.grid)
        labels, weight = self.ensemble.labels.masked_fill(windows, IGNORE), self.ensemble.weight.masked_fill(windows, 0)
        return replace(
            self,
            ensemble=self.ensemble._replace(labels=labels, weight=weight),
            refined=[
                refined & ~cut_overlaps(left_out, self.grid, group)
                for refined, group in zip(self.refined, self.groups, strict=True)
            ],
            assistant_labels=self.assistant_labels.masked_fill(windows, IGNORE),
            left_out=left_out,
        )

    @property
    def whole_labels(self) -> Tensor:
        """The teacher assistant's labels of the panoramas, int64 ``(B, H, W)``: argmax of ``whole``."""
        return stitch_windows(self.assistant_labels, self.grid)

    @property
    def whole(self) -> Tensor:
        """The teacher assistant's logits of the panoramas, ``S_TA^w``, ``(B, C, H, W)``.

        Raises:
            ValueError: If the lesson was stored, which keeps labels alone.
        """
        if self.logits is None:
            raise ValueError('a stored lesson has no logits, which soft targets need; set store_lessons=False')
        return stitch_windows(self.logits, self.grid)

    def stored(self) -> list[StoredLesson]:
        """The lesson of each panorama as it is stored: labels alone, on the CPU."""
        labels, weight = self.ensemble.labels.byte().cpu(), self.ensemble.weight.bool().cpu()
        assistant, refined = self.assistant_labels.byte().cpu(), [part.cpu() for part in self.refined]
        entropy = float(self.entropy)
        return [
            StoredLesson(
                self.grid, labels[b], weight[b], assistant[b], self._in_order([part[b] for part in refined]), entropy
            )
            for b in range(len(labels))
        ]

    def _in_order(self, groups: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps ``(m, h', o)`` of each group as one map of each overlap, in the grid's order."""
        maps = {
            index: part[k]
            for group, part in zip(self.groups, groups, strict=True)
            for k, index in enumerate(group.members)
        }
        return tuple(maps[index] for index in range(len(maps)))

    @classmethod
    def from_stored(cls, lessons: Sequence[StoredLesson]) -> Lesson:
        """The lesson of a batch of stored ones, on their device.

        Raises:
            TrainingError: If the panoramas have different grids.
        """
        grid = lessons[0].grid
        if any(other.grid != grid for other in lessons):
            raise TrainingError('panoramas of different sizes in one batch', 'set train_dataloader.batch_size=1')
        groups = overlap_groups(grid)
        labels = torch.stack([lesson.labels for lesson in lessons]).long()
        return cls(
            grid,
            Fused(labels, torch.stack([lesson.reliable for lesson in lessons]).float()),
            groups,
            [
                torch.stack([torch.stack([one.refined[i] for i in group.members]) for one in lessons])
                for group in groups
            ],
            torch.stack([lesson.assistant_labels for lesson in lessons]).long(),
            None,
            labels.new_full((), sum(lesson.entropy for lesson in lessons) / len(lessons), dtype=torch.float32),
        )


def without_left_out(lesson: Lesson, samples: Any) -> Lesson:
    """The lesson without the pixels that the samples leave out (``LeaveOut``)."""
    maps = [sample.get('left_out') for sample in samples]
    if all(left_out is None for left_out in maps):
        return lesson
    none = lesson.ensemble.labels.new_zeros(lesson.grid.height, lesson.grid.width, dtype=torch.bool)
    return lesson.without(torch.stack([none if left_out is None else left_out for left_out in maps]))
