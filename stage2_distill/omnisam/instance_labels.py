"""Labels of a panorama from predictions of windows and cached instance masks: OmniSAM says what, the masks say where.

In each window the masks take labels as in GoodSAM (``fusion/ctcf.py``, ``fusion/ssa.py``). Windows that see the same
pixel then vote, and only where a mask's label is reliable does its vote make the pixel a pseudo-label.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.data.cached_masks import CachedMasks
from stage2_distill.errors import ConfigError
from stage2_distill.fusion import ctcf, ssa
from stage2_distill.fusion.ensemble import Fused
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.fusion.pixelwise import first_argmax
from stage2_distill.omnisam.merging import Merged, check_prediction, laps_in

_FUSIONS = {'ctcf': ctcf.fuse, 'ssa': ssa.fuse}
RULES = tuple(_FUSIONS)


@torch.no_grad()
def merge_with_masks(
    predictions: Iterable[tuple[int, Tensor]],
    grid: WindowGrid,
    masks: CachedMasks | None,
    rule: str = 'ctcf',
    threshold: float | None = None,
    ignored: int = IGNORE,
) -> Merged:
    """Merge predictions of windows, which may come in any order, by way of the instances in each window.

    Logits of a window's laps are averaged. Of the labels that windows give a pixel the one with the most reliable votes
    wins, then the one with the most votes, then the more probable one. Its confidence is the share of the windows that
    see the pixel and give it this label reliably.

    Args:
        predictions: As for ``merging.merge``: window index and logits ``(C, h, w)``; every window equally often.
        grid: The windows.
        masks: The panorama's cached masks, of the same windows.
        rule: ``'ctcf'``: labels and reliability by Eq. 3. ``'ssa'``: every mask takes its most frequent label,
            and that is reliable. Pixels in no mask have the network's label, which is not reliable.
        threshold: A pixel keeps its label if its confidence exceeds it. None: 0, so that one reliable window is enough.
            A negative one keeps all labels.
        ignored: Label of all other pixels.

    Returns:
        Labels and confidence ``(H, W)``, as ``merging.merge``.

    Raises:
        ConfigError: For another rule.
        MaskCacheError: If there are no masks, or they were made with other windows.
        InputSizeError: If logits have not the window's size.
        Stage2Error: If a window is not of the grid, or windows came more or less often than others.
    """
    if rule not in _FUSIONS:
        raise ConfigError(f'merge rule {rule!r} is not one of {", ".join(map(repr, RULES))}', 'choose one of them')
    if masks is None:
        raise MaskCacheError(
            f'labels by the rule {rule} need cached masks', 'give the data set a cache and LoadCachedMasks'
        )
    if masks.grid != grid:
        raise MaskCacheError(f'the cache has windows {masks.grid}, the model {grid}')
    logits = _mean_logits(predictions, grid)
    fused = _FUSIONS[rule](MaskAtoms.stack(masks.windows).to(logits.device), logits)
    labels, confidence = _vote(fused, logits, grid)
    kept = confidence > (0 if threshold is None else threshold)
    return Merged(labels.where(kept, ignored), confidence, 1 - kept.double().mean().item())


def _mean_logits(predictions: Iterable[tuple[int, Tensor]], grid: WindowGrid) -> Tensor:
    """Logits of all windows, float32 ``(n, C, h, w)``, each the mean of its laps."""
    total: Tensor | None = None
    seen = [0] * len(grid.windows)
    for window, logits in predictions:
        check_prediction(window, logits, grid)
        if total is None:
            total = logits.new_zeros(len(seen), *logits.shape, dtype=torch.float32)
        total[window] += logits
        seen[window] += 1
        del logits  # before the next prediction is made
    laps = laps_in(seen)
    assert total is not None
    return total.div_(laps)


def _vote(fused: Fused, logits: Tensor, grid: WindowGrid) -> tuple[Tensor, Tensor]:
    """Labels, int64, and the share of the windows that give them reliably, float32; each ``(H, W)``."""
    windows, classes = logits.shape[:2]
    # A reliable vote counts more than any number of others: votes are ordered by both in one number.
    weights = 1 + (windows + 1) * fused.weight.to(torch.int32)
    votes = torch.zeros(classes, grid.height, grid.width, dtype=torch.int32, device=logits.device)
    highest = torch.full(votes.shape, -1.0, device=logits.device)
    seen = torch.zeros(grid.height, grid.width, device=logits.device)
    for window, box in enumerate(grid.windows):
        label = fused.labels[window][None]
        probability = logits[window].softmax(0).gather(0, label)
        valid = grid.valid(box)
        for region, columns in grid.regions(valid):
            part = slice(None), slice(valid.height), columns
            votes[region].scatter_add_(0, label[part], weights[window][None][part])
            highest[region].scatter_reduce_(0, label[part], probability[part], 'amax')
            seen[region] += 1
    most = votes.amax(0)
    labels = first_argmax(highest.where(votes == most, -torch.inf), 0)
    return labels, (most // (windows + 1)) / seen
