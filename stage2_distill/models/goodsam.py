"""The segmentor: teacher assistant and student, and one training iteration (Fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapperDict
from mmengine.structures import PixelData
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from torch import Tensor, nn

from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.geometry.windows import WindowGrid, WindowSettings
from stage2_distill.data.cached_masks import CachedMasks
from stage2_distill.fusion.label_drift import class_counts
from stage2_distill.fusion.pixelwise import first_argmax
from stage2_distill.geometry.window_batch import cut_windows, stitch_windows
from stage2_distill.heads.lesson import Lesson, without_left_out
from stage2_distill.models.label_assistant import averaged_copy, begin_as_the_assistant
from stage2_distill.models.names import NETWORKS
from stage2_distill.models.norm_eval import keep_statistics
from stage2_distill.models.onnx_assistant import OnnxAssistant
from stage2_distill.models.sequence_assistant import sequence_method
from stage2_distill.models.setting_check import check_normalisation, check_settings
from stage2_distill.models.steps import forward_pass, take_step


@MODELS.register_module()
class GoodSAM(BaseSegmentor):
    """Teaches a student to segment whole panoramas, from SAM's cached masks and a teacher assistant's labels.

    Args:
        student: Config of an mmseg ``EncoderDecoder``; it sees whole panoramas.
        teacher_assistant: The same, or of an ``OnnxAssistant``; it sees windows. One with a method
            ``forward_sequence`` sees all windows of a panorama in their order (``sequence_assistant.py``).
        grid: ``window``, ``stride`` and ``wrap`` of the cache, the keywords of ``WindowSettings``.
        ctcf_head: Config of ``CTCFHead``.
        mka_head: Config of ``MKAHead``.
        ta_input_scale: How much a window is enlarged before the assistant sees it.
        update_ta: Whether the assistant is trained.
        schedule: ``'joint'`` trains both in every iteration; ``'ta_first'`` the assistant alone for ``ta_iters``
            iterations, then the student alone.
        ta_iters: See ``schedule``.
        label_momentum: Labels of the ensemble and of Eq. 4 are made by a copy of the assistant in evaluation mode.
            After every step of the assistant it keeps this share of itself and takes the rest from it; 0 follows at
            once, 1 stays as it began. None: they are made by the forward pass that is being trained, the paper's silent
            reading, which can collapse (docs/ablations.md). A frozen assistant makes its labels itself.
        norm_eval: Networks whose batch normalisation keeps its initial statistics during training: with a batch of one
            panorama these are more reliable than the statistics of the batch.
        wrap_columns: Columns copied from the opposite side to pad each border before the student predicts, so that it
            sees across the seam.
        data_preprocessor: Config of mmseg's data preprocessor.
        test_cfg: ``predictors``, which of ``PREDICTORS`` to run; a data sample then carries a map for each of them
            but the student, whose prediction is mmseg's ``pred_sem_seg``.

    Attributes:
        label_counts: Pixels of each class in the ensemble labels of the last training step, int64 ``(C,)``.

    Raises:
        ValueError: If a setting is unknown, the networks have different classes, or the assistant has learned with
            images that were normalised in another way.
    """

    label_counts: Tensor

    def __init__(
        self,
        student: dict[str, Any],
        teacher_assistant: dict[str, Any],
        grid: dict[str, Any],
        ctcf_head: dict[str, Any],
        mka_head: dict[str, Any],
        ta_input_scale: float = 1.0,
        update_ta: bool = True,
        schedule: str = 'joint',
        ta_iters: int = 0,
        label_momentum: float | None = 0.999,
        norm_eval: Sequence[str] = (),
        wrap_columns: int = 0,
        data_preprocessor: dict[str, Any] | None = None,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.student = MODELS.build(student)
        self.teacher_assistant = MODELS.build(teacher_assistant)
        self.ctcf_head = MODELS.build(ctcf_head)
        self.mka_head = MODELS.build(mka_head)
        self.num_classes, self.align_corners = self.student.num_classes, self.student.align_corners
        self.windows = WindowSettings.from_json(grid)
        self.ta_input_scale, self.wrap_columns = ta_input_scale, wrap_columns
        self.update_ta, self.schedule, self.ta_iters = update_ta, schedule, ta_iters
        self.norm_eval = tuple(norm_eval)
        self.train_cfg, self.test_cfg = train_cfg, test_cfg or {}
        self.predictors = tuple(self.test_cfg.get('predictors', ('student',)))
        check_settings(self)
        check_normalisation(data_preprocessor, teacher_assistant.get('data_preprocessor'))
        if isinstance(self.teacher_assistant, OnnxAssistant):
            seen = data_preprocessor or {}
            self.teacher_assistant.undo_normalisation(seen.get('mean'), seen.get('std'), seen.get('bgr_to_rgb', False))
        # A frozen assistant is its own copy.
        self.label_assistant = (
            None if label_momentum is None or not update_ta else averaged_copy(self.teacher_assistant, label_momentum)
        )
        if self.label_assistant is not None:
            self.register_load_state_dict_pre_hook(begin_as_the_assistant)
        if not update_ta:
            self.teacher_assistant.requires_grad_(False)
        self.register_state_dict_post_hook(_name_without_wrappers)

    def train(self, mode: bool = True) -> GoodSAM:
        """Set the mode; a frozen assistant, the copy that labels, and ``norm_eval`` stay in evaluation mode."""
        super().train(mode)
        for name in self.norm_eval:
            keep_statistics(getattr(self, name))
        if not self.update_ta:
            self.teacher_assistant.eval()
        if self.label_assistant is not None:
            self.label_assistant.eval()
        return self

    def init_weights(self) -> None:
        """Initialise all weights; the copy that labels begins as the assistant."""
        super().init_weights()
        if self.label_assistant is not None:
            assistant = getattr(self.teacher_assistant, 'module', self.teacher_assistant)  # wrapped when distributed
            self.label_assistant.module.load_state_dict(assistant.state_dict())

    def complete(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a checkpoint as the model loads them: without the copy that labels, it begins as its assistant."""
        completed = dict(weights)
        if self.label_assistant is not None:
            begin_as_the_assistant(self, completed, '')
        return completed

    def train_step(self, data: dict[str, Any], optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """Run one iteration: assistant, lesson, its losses and step; student, its losses and step.

        Returns:
            Every term of Eq. 8 and 9 by name, ``loss_ta``, ``loss_student``, their sum ``loss``, ``reliable``, the mean
            of the weight map, and ``entropy``, the mean entropy of the assistant's pixels.
        """
        data = self.data_preprocessor(data, True)
        inputs, samples = data['inputs'], data['data_samples']
        iteration = MessageHub.get_current_instance().get_info('iter', 0) or 0
        teach_ta = self.update_ta and (self.schedule == 'joint' or iteration < self.ta_iters)
        teach_student = self.schedule == 'joint' or iteration >= self.ta_iters
        if not teach_ta:
            self.teacher_assistant.eval()

        if not self.update_ta and all('lesson' in sample for sample in samples):
            logits, lesson = None, Lesson.from_stored([sample.lesson for sample in samples])
        else:
            passes = partial(forward_pass, optim_wrapper, 'teacher_assistant')
            asking, labelling = passes(self.teacher_assistant, teach_ta), passes(self.label_assistant, False)
            logits, lesson = self.ask(inputs, samples, asking, labelling)
        lesson = without_left_out(lesson, samples)
        self.label_counts = class_counts(lesson.ensemble.labels, self.num_classes)
        log = {'reliable': lesson.ensemble.weight.mean(), 'entropy': lesson.entropy}
        if teach_ta:
            losses = self.mka_head.assistant_losses(logits, lesson)
            log |= take_step(losses, 'loss_ta', optim_wrapper['teacher_assistant'])
            if self.label_assistant is not None:
                self.label_assistant.update_parameters(self.teacher_assistant)
        del logits

        if teach_student:
            with forward_pass(optim_wrapper, 'student', self.student, True):
                panorama = self.student_panorama(inputs)
            losses = self.mka_head.student_losses(panorama, lesson)
            log |= take_step(losses, 'loss_student', optim_wrapper['student'])
        log['loss'] = torch.stack([log[name] for name in ('loss_ta', 'loss_student') if name in log]).sum()
        return log

    def lesson_of(self, batch: dict[str, Any]) -> Lesson:
        """The lesson of a loader's batch with ``cached_masks``, without a student."""
        data = self.data_preprocessor(batch, False)
        return self.ask(data['inputs'], data['data_samples'])[1]

    def ask(
        self,
        inputs: Tensor,
        samples: Any,
        asking: AbstractContextManager[Any] | None = None,
        labelling: AbstractContextManager[Any] | None = None,
    ) -> tuple[Tensor, Lesson]:
        """The assistant's logits of windows, and the lesson that it, or its averaged copy, gives.

        Args:
            inputs: ``(B, 3, H, W)``.
            samples: Their data samples, with ``cached_masks``.
            asking: Context of the assistant's forward pass.
            labelling: Context of the copy's forward pass; None: without gradient.

        Returns:
            Logits ``(B, n, C, h, w)``, and the lesson.

        Raises:
            MaskCacheError: As ``make_lesson``.
        """
        with asking or nullcontext():
            logits = self.assistant_windows(inputs)
        with labelling or torch.no_grad():
            labels_from = self.labelling_windows(inputs, logits)
        return logits, self.make_lesson(inputs, samples, labels_from)

    def labelling_windows(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """Logits that labels are made from: those of the averaged copy if there is one, else the assistant's.

        Args:
            inputs: ``(B, 3, H, W)``.
            logits: The assistant's, ``(B, n, C, h, w)``.

        Returns:
            ``(B, n, C, h, w)``.
        """
        return logits if self.label_assistant is None else self.assistant_windows(inputs, self.label_assistant)

    def make_lesson(self, inputs: Tensor, samples: Any, labelling: Tensor) -> Lesson:
        """Make the lesson of panoramas; the only place where it is made, for training, loss, pictures and prediction.

        Args:
            inputs: ``(B, 3, H, W)``.
            samples: Their data samples, with ``cached_masks``.
            labelling: ``labelling_windows`` of the inputs.

        Raises:
            MaskCacheError: If masks are not loaded, or were made with other windows than the model's.
        """
        masks: list[CachedMasks] = [sample.get('cached_masks') for sample in samples]
        if None in masks:
            raise MaskCacheError('the ensemble needs cached masks', 'give the data set a cache and LoadCachedMasks')
        grid = self.grid_of(inputs)
        if any(other.grid != grid for other in masks):
            raise MaskCacheError(f'the cache has windows {masks[0].grid}, the model {grid}')
        return self.ctcf_head(labelling, masks)

    def assistant_windows(self, inputs: Tensor, network: nn.Module | None = None) -> Tensor:
        """Run the assistant, or another network, on every window: ``(B, 3, H, W)`` to logits ``(B, n, C, h, w)``."""
        grid = self.grid_of(inputs)
        windows = cut_windows(inputs, grid)
        in_order = sequence_method(self.teacher_assistant if network is None else network)
        if in_order is not None:
            return in_order(windows, grid)
        return self._assist(windows.flatten(0, 1), network).unflatten(0, windows.shape[:2])

    def _assist(self, images: Tensor, network: nn.Module | None = None) -> Tensor:
        """The logits of windows, or of whole panoramas, at their size."""
        enlarged = images
        if self.ta_input_scale != 1:
            enlarged = _resize(images, [round(side * self.ta_input_scale) for side in images.shape[-2:]])
        network = self.teacher_assistant if network is None else network
        return _resize(network(enlarged, mode='tensor'), images.shape[-2:])

    def student_panorama(self, inputs: Tensor, wrap_columns: int = 0) -> Tensor:
        """Run the student on whole panoramas: ``(B, 3, H, W)`` to logits ``(B, C, H, W)``."""
        if wrap_columns:
            inputs = F.pad(inputs, (wrap_columns, wrap_columns, 0, 0), mode='circular')
        logits = _resize(self.student(inputs, mode='tensor'), inputs.shape[-2:])
        return logits[..., wrap_columns:-wrap_columns] if wrap_columns else logits

    def grid_of(self, inputs: Tensor) -> WindowGrid:
        """The windows over panoramas ``(B, C, H, W)``."""
        return self.windows.over(*inputs.shape[-2:])

    def predict(self, inputs: Tensor, data_samples: Any = None) -> Any:
        """Run ``predictors`` over whole panoramas.

        Returns:
            Data samples with ``pred_sem_seg`` and ``seg_logits`` of the student, and a map ``PixelData`` for each other
            predictor. The ensemble needs ``cached_masks`` in the samples.
        """
        results = self.postprocess_result(self.student_panorama(inputs, self.wrap_columns), data_samples)
        maps = self._assistant_maps(inputs, data_samples, set(self.predictors))
        for name, labels in maps.items():
            for sample, label in zip(results, labels, strict=True):
                sample.set_data({name: PixelData(data=label[None])})
        return results

    def _assistant_maps(self, inputs: Tensor, samples: Any, predictors: set[str]) -> dict[str, Tensor]:
        """Label maps ``(B, H, W)`` of the predictors other than the student."""
        maps, grid = {}, self.grid_of(inputs)
        if 'ta_whole' in predictors:
            maps['ta_whole'] = first_argmax(self._assist(inputs))
        if not predictors & {'ta_tile', 'ta_slide', 'ensemble'}:
            return maps
        if 'ensemble' in predictors:
            logits, lesson = self.ask(inputs, samples)
            maps['ensemble'] = stitch_windows(lesson.ensemble.labels, grid)
        else:
            logits = self.assistant_windows(inputs)
        if 'ta_tile' in predictors:
            maps['ta_tile'] = first_argmax(stitch_windows(logits.float(), grid))
        if 'ta_slide' in predictors:
            maps['ta_slide'] = first_argmax(stitch_windows(logits.float().softmax(2), grid, 'mean'))
        return maps

    @torch.no_grad()
    def explain(self, inputs: Tensor, data_samples: Any) -> tuple[Lesson, Tensor]:
        """Return the lesson of panoramas, and the student's logits ``(B, C, H, W)``; for pictures."""
        return self.ask(inputs, data_samples)[1], self.student_panorama(inputs)

    def loss(self, inputs: Tensor, data_samples: Any) -> dict[str, Tensor]:
        """Compute every term of Eq. 8 and 9, without a step."""
        logits, lesson = self.ask(inputs, data_samples)
        lesson = without_left_out(lesson, data_samples)
        losses = self.mka_head.assistant_losses(logits, lesson) if self.update_ta else {}
        return {**losses, **self.mka_head.student_losses(self.student_panorama(inputs), lesson)}

    def extract_feat(self, inputs: Tensor) -> Any:
        """Features of the student."""
        return self.student.extract_feat(inputs)

    def encode_decode(self, inputs: Tensor, batch_data_samples: Any) -> Tensor:
        """The student's logits of whole panoramas."""
        return self.student_panorama(inputs, self.wrap_columns)

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        """The student's raw output; mmseg asks its segmentors for this method."""
        return self.student(inputs, mode='tensor')


def _name_without_wrappers(model: nn.Module, weights: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """Name weights as without distribution, where each network is wrapped for itself."""
    for name in NETWORKS:
        wrapped = f'{prefix}{name}.module.'
        for key in [key for key in weights if key.startswith(wrapped)]:
            weights[f'{prefix}{name}.{key.removeprefix(wrapped)}'] = weights.pop(key)


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize images or logits ``(B, C, ...)`` bilinearly; plane by plane in memory, as all later steps want them."""
    return F.interpolate(maps.contiguous(), tuple(size), mode='bilinear', align_corners=False)
