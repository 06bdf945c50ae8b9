"""Labels of a panorama from the logits of overlapping windows, one prediction at a time.

Predictions are used up one by one, so that only one window's logits and, for each pixel of the panorama, what the rule
needs are in memory at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from stage1_sam_cache.errors import InputSizeError
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.errors import ConfigError, Stage2Error
from stage2_distill.fusion.pixelwise import first_argmax

UNANIMOUS_THRESHOLD = 0.85  # The paper's value is not known; the authors' code has it in another rule.


@dataclass(frozen=True)
class Merged:
    """Labels of a panorama.

    Attributes:
        labels: int64 ``(H, W)``; ``ignored`` where the rule gives none.
        confidence: float32 ``(H, W)``: what the rule compares with its threshold.
        ignored_share: Share of the pixels that have no label.
    """

    labels: Tensor
    confidence: Tensor
    ignored_share: float


class _Rule(Protocol):
    """What is known of every pixel so far."""

    def __init__(self, classes: int, grid: WindowGrid, device: torch.device) -> None: ...

    def add(self, region: tuple[Any, ...], logits: Tensor) -> None:
        """Take in float32 logits ``(C, h, w)`` of a region of the panorama."""

    def result(self, laps: int) -> tuple[Tensor, Tensor]:
        """Return labels, int64, and confidence, each ``(H, W)``; ``laps`` is how often each window came."""


class _Unanimous:
    """The class on which all agree, and the smallest of their probabilities of it; 0 where they do not agree."""

    NOT_SEEN, DISPUTED = -1, -2

    def __init__(self, classes: int, grid: WindowGrid, device: torch.device) -> None:
        self.labels = torch.full((grid.height, grid.width), self.NOT_SEEN, device=device)
        self.smallest = torch.ones(grid.height, grid.width, device=device)

    def add(self, region: tuple[Any, ...], logits: Tensor) -> None:
        labels, before = first_argmax(logits, 0), self.labels[region]
        agreed = (before == self.NOT_SEEN) | (before == labels)
        self.labels[region] = labels.where(agreed, self.DISPUTED)
        self.smallest[region] = torch.minimum(self.smallest[region], logits.softmax(0).amax(0))

    def result(self, laps: int) -> tuple[Tensor, Tensor]:
        agreed = self.labels >= 0
        return self.labels.clamp(min=0), self.smallest.where(agreed, 0)


class _Vote:
    """Most votes; of equally many, the class with the highest logit with which it was voted for."""

    def __init__(self, classes: int, grid: WindowGrid, device: torch.device) -> None:
        shape = (classes, grid.height, grid.width)
        self.votes = torch.zeros(shape, dtype=torch.int16, device=device)
        self.highest = torch.full(shape, -torch.inf, device=device)

    def add(self, region: tuple[Any, ...], logits: Tensor) -> None:
        label = first_argmax(logits, 0)[None]
        self.votes[region].scatter_add_(0, label, torch.ones_like(label, dtype=torch.int16))
        self.highest[region].scatter_reduce_(0, label, logits.amax(0, keepdim=True), 'amax')

    def result(self, laps: int) -> tuple[Tensor, Tensor]:
        most = self.votes.amax(0)
        labels = first_argmax(self.highest.where(self.votes == most, -torch.inf), 0)
        return labels, most / self.votes.sum(0)


class _Sum:
    """The sum over windows of the mean of the laps' probabilities: the authors' second revision."""

    def __init__(self, classes: int, grid: WindowGrid, device: torch.device) -> None:
        self.total = torch.zeros(classes, grid.height, grid.width, device=device)
        self.seen = torch.zeros(grid.height, grid.width, device=device)

    def add(self, region: tuple[Any, ...], logits: Tensor) -> None:
        self.total[region] += logits.softmax(0)
        self.seen[region] += 1

    def result(self, laps: int) -> tuple[Tensor, Tensor]:
        return first_argmax(self.total, 0), self.total.amax(0) / laps


class _Mean(_Sum):
    """The mean probability."""

    def result(self, laps: int) -> tuple[Tensor, Tensor]:
        return first_argmax(self.total, 0), self.total.amax(0) / self.seen


_RULES: dict[str, type[_Rule]] = {'unanimous': _Unanimous, 'vote': _Vote, 'mean': _Mean, 'sum': _Sum}
RULES = tuple(_RULES)


@torch.no_grad()
def merge(
    predictions: Iterable[tuple[int, Tensor]],
    grid: WindowGrid,
    rule: str = 'unanimous',
    threshold: float | None = None,
    ignored: int = 255,
) -> Merged:
    """Merge predictions of windows, which may come in any order.

    Args:
        predictions: Window index and logits ``(C, h, w)`` at the window's size, on one device; every window equally
            often.
        grid: The windows.
        rule: ``'unanimous'``: the class on which all agree, its confidence is the smallest of its probabilities.
            ``'vote'``: most votes, of equally many the class with the highest logit; the share of votes. ``'mean'``:
            the most probable class on average; that probability. ``'sum'``: as ``'mean'``, but the sum over windows
            instead of the mean: a pixel that more windows see passes a threshold more easily.
        threshold: A pixel keeps its label if its confidence exceeds it. By default 0.85 for ``'unanimous'``, else 0.
        ignored: Label of all other pixels.

    Raises:
        ConfigError: For another rule.
        InputSizeError: If logits have not the window's size.
        Stage2Error: If a window is not of the grid, or windows came more or less often than others.
    """
    if rule not in _RULES:
        raise ConfigError(f'merge rule {rule!r} is not one of {", ".join(map(repr, RULES))}', 'choose one of them')
    state: _Rule | None = None
    seen: Counter[int] = Counter()
    for window, logits in predictions:
        check_prediction(window, logits, grid)
        state = state or _RULES[rule](len(logits), grid, logits.device)
        _add(state, grid, window, logits.float())
        seen[window] += 1
        del logits  # before the next prediction is made
    times = laps_in([seen[window] for window in range(len(grid.windows))])
    assert state is not None
    labels, confidence = state.result(times)
    if threshold is None:
        threshold = UNANIMOUS_THRESHOLD if rule == 'unanimous' else 0
    kept = confidence > threshold
    return Merged(labels.where(kept, ignored), confidence, 1 - kept.double().mean().item())


def _add(state: _Rule, grid: WindowGrid, window: int, logits: Tensor) -> None:
    valid = grid.valid(grid.windows[window])
    for region, columns in grid.regions(valid):
        state.add(region, logits[:, : valid.height, columns])


def laps_in(times: Sequence[int]) -> int:
    """Return how often each window came, from the number of its predictions.

    Raises:
        Stage2Error: If windows came more or less often than others, or not at all.
    """
    if min(times) == 0 or min(times) != max(times):
        raise Stage2Error(f'predictions per window: {list(times)}', 'predict every window of the grid once per lap')
    return times[0]


def check_prediction(window: int, logits: Tensor, grid: WindowGrid) -> None:
    """Check that a prediction is one of a grid's windows.

    Raises:
        Stage2Error: If the window is not of the grid.
        InputSizeError: If logits have not the window's size.
    """
    if not 0 <= window < len(grid.windows):
        raise Stage2Error(f'window {window} of a grid of {len(grid.windows)}', 'use the grid that the patches are of')
    if tuple(logits.shape[-2:]) != grid.window:
        raise InputSizeError(
            f'logits of {logits.shape[-2]}x{logits.shape[-1]} pixels for windows of {grid.window[0]}x{grid.window[1]}',
            'resize them with omnisam.patches.window_logits',
        )
