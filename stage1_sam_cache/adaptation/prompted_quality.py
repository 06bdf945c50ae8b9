"""How well SAM's answers to prompts fit the masks that the prompts were made of."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from stage1_sam_cache.adaptation.answers import Answers, answer, embed
from stage1_sam_cache.adaptation.losses.self_training import thresholded_iou
from stage1_sam_cache.adaptation.prompts import Prompts
from stage1_sam_cache.adaptation.window_dataset import PromptedWindow

SUREST = 'point1_surest'  # of three answers the one of the highest expected IoU


@torch.no_grad()
def prompted_quality(sam: Sam, windows: Iterable[PromptedWindow]) -> dict[str, float]:
    """Score a SAM's answers.

    Args:
        sam: The model, in evaluation mode.
        windows: Their weak views are asked about.

    Returns:
        IoU in [0, 1] by kind of prompt, averaged within a window and then over the windows that have the kind. Of the
        three answers to a single point ``'point1'`` is the best, ``SUREST`` the one of the highest expected IoU.
    """
    found: dict[str, list[float]] = {}
    for window in windows:
        embedding = embed(sam, [window.weak])[0]
        answers = answer(sam, embedding, window.prompts, window.extent, at_input=True)
        for asked, given in zip(window.prompts, answers, strict=True):
            for name, iou in _scores(asked, given, window.extent).items():
                found.setdefault(name, []).append(float(iou.mean()))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _scores(asked: Prompts, given: Answers, extent: tuple[int, int]) -> dict[str, Tensor]:
    """IoU of each answer in pixels of the window, ``(N,)`` by name."""
    count, several = given.expected_iou.shape
    seen = given.masks[..., : extent[0], : extent[1]]
    at_window = torch.nn.functional.interpolate(
        seen, tuple(asked.masks.shape[1:]), mode='bilinear', align_corners=False
    )
    true = asked.masks.to(seen.device).repeat_interleave(several, dim=0)
    iou = thresholded_iou(at_window.flatten(0, 1), true).view(count, several)
    if several == 1:
        return {asked.kind: iou[:, 0]}
    surest = given.expected_iou.argmax(1, keepdim=True)
    return {asked.kind: iou.amax(1), SUREST: iou.gather(1, surest)[:, 0]}
