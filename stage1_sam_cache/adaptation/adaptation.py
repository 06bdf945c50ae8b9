"""WeSAM's three branches: anchor, teacher and student, and the losses between them.

Teacher and student are one network that sees two views of a window; the anchor is that network without its updates.
No loss joins teacher and student with a gradient on both sides, so a step has two parts, each with a backward pass of
its own: the teacher's, whose thresholded masks are kept, then the student's. The gradient is that of the sum, and only
one network's activations are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor

from stage1_sam_cache.adaptation.answers import Answers, answer, embed, inside
from stage1_sam_cache.adaptation.lora import attach, without_updates
from stage1_sam_cache.adaptation.losses.anchor import anchor_term
from stage1_sam_cache.adaptation.losses.prototypes import contrastive_loss, patches_on_grid, regions_on_grid
from stage1_sam_cache.adaptation.losses.self_training import self_training_loss, thresholded_iou
from stage1_sam_cache.adaptation.prompts import Prompts
from stage1_sam_cache.adaptation.settings import AdaptSettings
from stage1_sam_cache.adaptation.window_dataset import PromptedWindow

IDLE = 1e-6  # a contrastive loss below it has no negative pair


class Targets(NamedTuple):
    """What the student of one window learns from; no gradient reaches it.

    Attributes:
        anchor, teacher: Thresholded masks, bool ``(K, h, w)``.
        taught: Indices int64 ``(K',)`` of the student's answers that learn from ``teacher``; None for all ``K``.
    """

    anchor: Tensor
    teacher: Tensor
    taught: Tensor | None = None


class Adaptation:
    """A SAM with low-rank updates, and the losses that train them.

    Args:
        sam: The model, in evaluation mode; it is frozen and gets the updates, in place.
        settings: Of the adaptation.
        seed: Of the updates' initial values.

    Attributes:
        updates: What is trained, by the names of an adapter file.
    """

    def __init__(self, sam: Sam, settings: AdaptSettings, seed: int = 0) -> None:
        self.sam, self.settings = sam, settings
        self.updates = attach(sam, settings.rank, seed)

    def teacher_losses(self, windows: Sequence[PromptedWindow]) -> tuple[dict[str, Tensor], list[Targets]]:
        """Compute the losses of the teacher, and the targets of the student.

        Args:
            windows: At least one.

        Returns:
            ``loss_teacher_anchor``, ``loss_contrast`` and ``contrast_idle``, the share of the windows whose contrast
            has no negative pair: means over the windows, scalars float32. Losses of weight 0 are left out. And the
            targets of each window.
        """
        weak = [window.weak for window in windows]
        with torch.no_grad(), without_updates(self.sam):
            anchors = embed(self.sam, weak)
            fixed = [self._ask(*pair) for pair in zip(anchors, windows, strict=True)]
        learns = bool(self.settings.anchor or self.settings.contrast)
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            embeddings = embed(self.sam, weak, self.settings.checkpointing)
            answers = [self._ask(*pair) for pair in zip(embeddings, windows, strict=True)]
            losses = []
            for i, window in enumerate(windows):
                masks, held = _all_masks(answers[i]), _all_masks(fixed[i])
                of_window: dict[str, Tensor] = {}
                if self.settings.anchor:
                    of_window['loss_teacher_anchor'] = self.settings.anchor * anchor_term(masks, held > 0)
                if self.settings.contrast:
                    contrast = self._contrast(embeddings[i], anchors[i], masks, held, window.extent)
                    of_window['loss_contrast'] = self.settings.contrast * contrast
                    of_window['contrast_idle'] = (contrast.detach() < IDLE).float()
                losses.append(of_window)
        return _mean(losses), [self._targets(*found) for found in zip(windows, fixed, answers, strict=True)]

    def student_losses(self, windows: Sequence[PromptedWindow], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Compute the losses of the student.

        Args:
            windows: As for ``teacher_losses``.
            targets: What it returned.

        Returns:
            ``loss_focal``, ``loss_dice``, ``loss_iou`` and ``loss_student_anchor``: means over the windows, scalars
            float32. Losses of weight 0 are left out.
        """
        weight, losses = self.settings.self_training, []
        embeddings = embed(self.sam, [window.strong for window in windows], self.settings.checkpointing)
        for embedding, window, target in zip(embeddings, windows, targets, strict=True):
            answers = self._ask(embedding, window)
            of_window: dict[str, Tensor] = {}
            masks, expected = _all_masks(answers), torch.cat([each.expected_iou.flatten() for each in answers])
            if weight:
                taught = slice(None) if target.taught is None else target.taught
                terms = self_training_loss(masks[taught], expected[taught], target.teacher, self.settings.focal_alpha)  # type: ignore[arg-type]
                of_window |= {f'loss_{name}': weight * value for name, value in terms._asdict().items()}
            if self.settings.anchor:
                of_window['loss_student_anchor'] = self.settings.anchor * anchor_term(masks, target.anchor)
            losses.append(of_window)
        return _mean(losses)

    def _ask(self, embedding: Tensor, window: PromptedWindow) -> list[Answers]:
        return answer(self.sam, embedding, window.prompts, window.extent, self.settings.loss_at == 'input')

    def _contrast(
        self, teacher: Tensor, anchor: Tensor, masks: Tensor, held: Tensor, extent: tuple[int, int]
    ) -> Tensor:
        """The contrastive loss of one window, over the places of both embeddings that show it; masks are logits."""
        if self.settings.loss_at == 'mask':
            teacher, anchor = (inside(z, self.sam.image_encoder.img_size, extent) for z in (teacher, anchor))
        grid = (teacher.shape[1], teacher.shape[2])
        if self.settings.contrast_unit == 'patch':
            patches = patches_on_grid(grid, teacher.device)
            regions, options = (patches, patches), {'background': False, 'skip_nested': False}
        else:
            regions = regions_on_grid(masks, grid), regions_on_grid(held, grid)
            options = {
                'background': self.settings.contrast_background,
                'skip_nested': self.settings.contrast_skip_nested,
            }
        return contrastive_loss(teacher, anchor, *regions, form=self.settings.contrast_form, **options)  # type: ignore[arg-type]

    def _targets(self, window: PromptedWindow, fixed: list[Answers], answers: list[Answers]) -> Targets:
        held = _all_masks(fixed) > 0
        if self.settings.targets == 'teacher':
            return Targets(held, _all_masks(answers).detach() > 0)
        return Targets(held, *_supervision(window.prompts, answers, window.extent, self.sam.image_encoder.img_size))


def _all_masks(answers: Sequence[Answers]) -> Tensor:
    """All answers of a window, ``(K, h, w)``."""
    return torch.cat([each.masks.flatten(0, 1) for each in answers])


def _supervision(
    prompts: Sequence[Prompts], answers: Sequence[Answers], extent: tuple[int, int], size: int
) -> tuple[Tensor, Tensor]:
    """The masks that were asked for, at the answers' size, and the index of the answer that is nearest to each.

    A pixel means a part as well as its whole, so of three answers only the nearest is taught.
    """
    targets, taught, before = [], [], 0
    for asked, given in zip(prompts, answers, strict=True):
        count, several, height, width = given.masks.shape
        true = _at_answers(asked.masks.to(given.masks.device), (height, width), extent, size)
        iou = thresholded_iou(given.masks.detach().flatten(0, 1), true.repeat_interleave(several, dim=0))
        nearest = iou.view(count, several).argmax(1)
        taught.append(before + torch.arange(count, device=nearest.device) * several + nearest)
        targets.append(true)
        before += count * several
    return torch.cat(targets), torch.cat(taught)


def _at_answers(masks: Tensor, shape: tuple[int, int], extent: tuple[int, int], size: int) -> Tensor:
    """Masks of the window at the size of the answers, bool: pixels of which at least half lies in the mask."""
    if shape != (size, size):
        return F.interpolate(masks[:, None].float(), shape, mode='area')[:, 0] >= 0.5
    at_input = F.interpolate(masks[:, None].float(), extent, mode='bilinear', align_corners=False)[:, 0] >= 0.5
    return F.pad(at_input, (0, size - extent[1], 0, size - extent[0]))


def _mean(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([of_window[name] for of_window in losses]).mean() for name in losses[0]}
