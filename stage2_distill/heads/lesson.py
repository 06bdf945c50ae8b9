"""The lesson of a batch: all that teacher assistant and student learn from, between the two heads."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.fusion.ensemble import Fused
from stage2_distill.geometry.overlaps import OverlapGroup, cut_overlaps
from stage2_distill.geometry.window_batch import cut_windows, stitch_windows


@dataclass(frozen=True, eq=False)
class Lesson:
    """What one batch of panoramas teaches; nothing in it carries a gradient.

    Attributes:
        grid: The windows.
        ensemble: Labels and weights of the windows, ``(B, n, h, w)``.
        groups: The overlaps.
        refined: The refined boundary maps of each group, bool ``(B, m, h', o)``.
        whole_labels: The teacher assistant's labels of the panoramas, int64 ``(B, H, W)``: argmax of ``whole``.
        logits: The teacher assistant's of the windows, ``(B, n, C, h, w)``.
        entropy: Mean entropy of the teacher assistant's pixels, a scalar; NaN if its logits are not finite.
        left_out: Pixels that teach nothing, bool ``(B, H, W)``: ignored in all labels, weight 0, no boundary; or None.
    """

    grid: WindowGrid
    ensemble: Fused
    groups: tuple[OverlapGroup, ...]
    refined: list[Tensor]
    whole_labels: Tensor
    logits: Tensor
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
            whole_labels=self.whole_labels.masked_fill(left_out, IGNORE),
            left_out=left_out,
        )

    @property
    def whole(self) -> Tensor:
        """The teacher assistant's logits of the panoramas, ``S_TA^w``, ``(B, C, H, W)``."""
        return stitch_windows(self.logits, self.grid)
