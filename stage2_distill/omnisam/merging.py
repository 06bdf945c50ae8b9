"""Labels of a panorama from the logits of overlapping windows, one prediction at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from stage1_sam_cache.geometry.windows import WindowGrid

RULES = ('unanimous', 'vote', 'mean', 'sum')


@dataclass(frozen=True)
class Merged:
    """Labels of a panorama.

    Attributes:
        labels: int64 ``(H, W)``; ``ignored`` where the rule gives none.
        confidence: float32 ``(H, W)``, what the rule compares with its threshold.
    """

    labels: Tensor
    confidence: Tensor


def merge(
    predictions: Iterable[tuple[int, Tensor]],
    grid: WindowGrid,
    rule: str = 'unanimous',
    threshold: float | None = None,
    ignored: int = 255,
) -> Merged:
    """Merge predictions of windows; they may come in any order, and each window any number of times.

    Args:
        predictions: Window index and logits ``(C, h, w)`` at the window's size, on any device.
        grid: The windows.
        rule: ``'unanimous'``: the class on which all agree; its confidence is the smallest of its probabilities.
            ``'vote'``: most votes, of equal ones that with the highest logit; the share of the votes. ``'mean'``: mean
            probability. ``'sum'``: as ``'mean'``, but summed over windows, as the authors' second revision does.
        threshold: A pixel keeps its label if its confidence exceeds it. By default 0.85 for ``'unanimous'``, else 0.
        ignored: Label of the others.
    """
    raise NotImplementedError
