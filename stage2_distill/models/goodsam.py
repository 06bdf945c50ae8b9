"""The segmentor: teacher assistant and student, and what one training iteration does with them (Fig. 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapperDict
from mmengine.structures import PixelData
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.data.cached_masks import CachedMasks
from stage2_distill.fusion.pixelwise import first_argmax
from stage2_distill.geometry.window_batch import cut_windows, stitch_windows
from stage2_distill.heads.heads import Lesson

NETWORKS = ('teacher_assistant', 'student')
PREDICTORS = ('student', 'ta_whole', 'ta_tile', 'ta_slide', 'ensemble')
SCHEDULES = ('joint', 'ta_first')


@MODELS.register_module()
class GoodSAM(BaseSegmentor):
    """Teaches a student to segment whole panoramas, from SAM's cached masks and a teacher assistant's labels.

    Args:
        student: Config of an mmseg ``EncoderDecoder``; it sees whole panoramas.
        teacher_assistant: The same; it sees windows.
        grid: ``window``, ``stride`` and ``wrap`` of the cache, as ``WindowGrid`` takes them.
        ctcf_head: Config of ``CTCFHead``.
        mka_head: Config of ``MKAHead``.
        ta_input_scale: How much a window is enlarged before the assistant sees it.
        update_ta: Whether the assistant is trained.
        schedule: ``'joint'`` trains both in every iteration; ``'ta_first'`` the assistant alone for ``ta_iters``
            iterations, then the student alone.
        ta_iters: See ``schedule``.
        label_momentum: None: the assistant's own predictions become the ensemble's labels and those of Eq. 4, as in the
            paper. Otherwise a copy's do, which after every step of the assistant keeps this share of itself and takes
            the rest from it; 1 keeps it as it began.
        norm_eval: Networks of which batch normalisation keeps the statistics that it came with, also in training: with
            a batch of one panorama they tell more than the batch's own.
        wrap_columns: Columns of the other side that are laid beside the panorama's left and right border before the
            student predicts, so that it sees across the seam.
        data_preprocessor: Of mmseg.
        test_cfg: ``predictors``, which of ``PREDICTORS`` to run; a data sample then carries a map for each of them
            but the student, whose prediction is mmseg's ``pred_sem_seg``.

    Raises:
        ValueError: If a setting is unknown, or the networks have different classes.
    """

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
        label_momentum: float | None = None,
        norm_eval: Sequence[str] = (),
        wrap_columns: int = 0,
        data_preprocessor: dict[str, Any] | None = None,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if schedule not in SCHEDULES or ta_input_scale <= 0 or wrap_columns < 0:
            raise ValueError(f'schedule={schedule!r}, ta_input_scale={ta_input_scale}, wrap_columns={wrap_columns}')
        self.student = MODELS.build(student)
        self.teacher_assistant = MODELS.build(teacher_assistant)
        self.ctcf_head = MODELS.build(ctcf_head)
        self.mka_head = MODELS.build(mka_head)
        self.num_classes = self.student.num_classes
        if self.teacher_assistant.num_classes != self.num_classes:
            raise ValueError('student and teacher assistant have different numbers of classes')
        by_class = self.mka_head.class_weight
        if by_class is not None and len(by_class) != self.num_classes:
            raise ValueError(f'class_weight has {len(by_class)} values for {self.num_classes} classes')
        self.grid = dict(grid)
        self.ta_input_scale = ta_input_scale
        self.update_ta, self.schedule, self.ta_iters = update_ta, schedule, ta_iters
        if label_momentum is not None and not 0 <= label_momentum <= 1:
            raise ValueError(f'label_momentum {label_momentum} is not from 0 to 1')
        self.label_momentum = label_momentum if update_ta else None  # an assistant that rests is its own copy
        if self.label_momentum is not None:
            average = get_ema_multi_avg_fn(label_momentum)
            self.label_assistant = AveragedModel(self.teacher_assistant, multi_avg_fn=average, use_buffers=True)
            self.label_assistant.requires_grad_(False)
            self.label_assistant.n_averaged.fill_(1)  # so that the first step is averaged like all others
            self.register_load_state_dict_pre_hook(_begin_as_the_assistant)
        self.norm_eval, self.wrap_columns = tuple(norm_eval), wrap_columns
        if set(self.norm_eval) - set(NETWORKS):
            raise ValueError(f'norm_eval {", ".join(self.norm_eval)}: {" and ".join(NETWORKS)} can be named')
        self.align_corners = self.student.align_corners
        self.train_cfg, self.test_cfg = train_cfg, test_cfg or {}
        unknown = set(self.predictors) - set(PREDICTORS)
        if unknown:
            raise ValueError(f'predictors {", ".join(sorted(unknown))} are none of {", ".join(PREDICTORS)}')
        if update_ta and not any(self.mka_head.weights_ta.values()):
            raise ValueError('the teacher assistant has no loss; set update_ta=False')
        if not any(self.mka_head.weights_student.values()):
            raise ValueError('the student has no loss')
        if not update_ta:
            self.teacher_assistant.requires_grad_(False)
        self.register_state_dict_post_hook(_name_without_wrappers)

    @property
    def predictors(self) -> tuple[str, ...]:
        """What ``predict`` runs."""
        return tuple(self.test_cfg.get('predictors', ('student',)))

    def train(self, mode: bool = True) -> GoodSAM:
        """As ever, but an assistant that is not trained stays as it is for prediction, and so does ``norm_eval``."""
        super().train(mode)
        for name in self.norm_eval:
            for module in getattr(self, name).modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        if not self.update_ta:
            self.teacher_assistant.eval()
        if self.label_momentum is not None:
            self.label_assistant.eval()
        return self

    def init_weights(self) -> None:
        """As ever; the copy that labels begins as the assistant."""
        super().init_weights()
        if self.label_momentum is not None:
            self.label_assistant.module.load_state_dict(self.teacher_assistant.state_dict())

    def train_step(self, data: dict[str, Any], optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """One iteration: assistant, lesson, its losses and step; student, its losses and step.

        Returns:
            Every term of Eq. 8 and 9 by name, ``loss_ta``, ``loss_student``, their sum ``loss``, ``reliable``, the mean
            of the weight map, and ``entropy``, that of the assistant's pixels.
        """
        data = self.data_preprocessor(data, True)
        inputs, samples = data['inputs'], data['data_samples']
        iteration = MessageHub.get_current_instance().get_info('iter', 0) or 0
        teach_ta = self.update_ta and (self.schedule == 'joint' or iteration < self.ta_iters)
        teach_student = self.schedule == 'joint' or iteration >= self.ta_iters
        if not teach_ta:
            self.teacher_assistant.eval()
        log: dict[str, Tensor] = {}

        with _forward(optim_wrapper, 'teacher_assistant', self.teacher_assistant, teach_ta):
            windows = self.assistant_windows(inputs)
        logits, boundary = self._split(windows, 2)
        labelled = logits
        if self.label_momentum is not None:
            with _forward(optim_wrapper, 'teacher_assistant', self.label_assistant, False):
                labelled, _ = self._split(self.assistant_windows(inputs, self.label_assistant), 2)
        lesson = self.ctcf_head(labelled, self._masks_of(inputs, samples))
        log['reliable'] = lesson.ensemble.weight.mean()
        log['entropy'] = lesson.entropy
        if teach_ta:
            losses = self.mka_head.assistant_losses(logits, lesson, boundary, iteration)
            log |= _step(losses, 'loss_ta', optim_wrapper['teacher_assistant'])
            if self.label_momentum is not None:
                self.label_assistant.update_parameters(self.teacher_assistant)
        del windows, logits, boundary

        if teach_student:
            with _forward(optim_wrapper, 'student', self.student, True):
                panorama = self.student_panorama(inputs)
            logits, boundary = self._split(panorama, 1)
            losses = self.mka_head.student_losses(logits, lesson, boundary, iteration)
            log |= _step(losses, 'loss_student', optim_wrapper['student'])
        log['loss'] = sum(log[name] for name in ('loss_ta', 'loss_student') if name in log)  # type: ignore[assignment]
        return log

    def assistant_windows(self, inputs: Tensor, network: torch.nn.Module | None = None) -> Tensor:
        """The assistant's, or such a network's, logits of every window: ``(B, 3, H, W)`` to ``(B, n, C, h, w)``."""
        grid = self.grid_of(inputs)
        windows = cut_windows(inputs, grid)
        return self._assist(windows.flatten(0, 1), network).unflatten(0, windows.shape[:2])

    def _assist(self, images: Tensor, network: torch.nn.Module | None = None) -> Tensor:
        """The logits of windows, or of whole panoramas, at their size."""
        seen = images
        if self.ta_input_scale != 1:
            seen = _resize(images, [round(side * self.ta_input_scale) for side in images.shape[-2:]])
        network = self.teacher_assistant if network is None else network
        return _resize(network(seen, mode='tensor'), images.shape[-2:])

    def student_panorama(self, inputs: Tensor, wrap_columns: int = 0) -> Tensor:
        """The student's logits of whole panoramas: ``(B, 3, H, W)`` to ``(B, C, H, W)``."""
        if wrap_columns:
            inputs = F.pad(inputs, (wrap_columns, wrap_columns, 0, 0), mode='circular')
        logits = _resize(self.student(inputs, mode='tensor'), inputs.shape[-2:])
        return logits[..., wrap_columns:-wrap_columns] if wrap_columns else logits

    def grid_of(self, inputs: Tensor) -> WindowGrid:
        """The windows over panoramas ``(B, C, H, W)``."""
        return WindowGrid(*inputs.shape[-2:], **self.grid)

    def predict(self, inputs: Tensor, data_samples: Any = None) -> Any:
        """Runs ``predictors`` over whole panoramas.

        Returns:
            Data samples with ``pred_sem_seg`` and ``seg_logits`` of the student, and a map ``PixelData`` for each other
            predictor. The ensemble needs ``cached_masks`` in the samples.
        """
        wanted = set(self.predictors)
        results = self.postprocess_result(
            self._split(self.student_panorama(inputs, self.wrap_columns), 1)[0], data_samples
        )
        maps = {}
        if 'ta_whole' in wanted:
            maps['ta_whole'] = first_argmax(self._split(self._assist(inputs), 1)[0])
        if wanted & {'ta_tile', 'ta_slide', 'ensemble'}:
            logits = self._split(self.assistant_windows(inputs), 2)[0].float()
            grid = self.grid_of(inputs)
            if 'ta_tile' in wanted:
                maps['ta_tile'] = first_argmax(stitch_windows(logits, grid))
            if 'ta_slide' in wanted:
                maps['ta_slide'] = first_argmax(stitch_windows(logits.softmax(2), grid, 'mean'))
            if 'ensemble' in wanted:
                fused = self.ctcf_head.fuse(logits, self._masks_of(inputs, data_samples))
                maps['ensemble'] = stitch_windows(fused.labels, grid)
        for name, labels in maps.items():
            for sample, label in zip(results, labels, strict=True):
                sample.set_data({name: PixelData(data=label[None])})
        return results

    @torch.no_grad()
    def explain(self, inputs: Tensor, data_samples: Any) -> tuple[Lesson, Tensor]:
        """What panoramas teach, and the student's logits ``(B, C, H, W)``; for pictures."""
        logits = self._split(self.assistant_windows(inputs), 2)[0].float()
        lesson = self.ctcf_head(logits, self._masks_of(inputs, data_samples))
        return lesson, self._split(self.student_panorama(inputs), 1)[0]

    def extract_feat(self, inputs: Tensor) -> Any:
        """Features of the student."""
        return self.student.extract_feat(inputs)

    def encode_decode(self, inputs: Tensor, batch_data_samples: Any) -> Tensor:
        """The student's logits of whole panoramas."""
        return self.student_panorama(inputs, self.wrap_columns)

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        return self.student(inputs, mode='tensor')

    def loss(self, inputs: Tensor, data_samples: Any) -> dict[str, Tensor]:
        """Every term of Eq. 8 and 9, without a step."""
        windows = self.assistant_windows(inputs)
        logits, boundary = self._split(windows, 2)
        lesson = self.ctcf_head(logits, self._masks_of(inputs, data_samples))
        losses = self.mka_head.assistant_losses(logits, lesson, boundary) if self.update_ta else {}
        panorama, boundary = self._split(self.student_panorama(inputs), 1)
        return {**losses, **self.mka_head.student_losses(panorama, lesson, boundary)}

    def _masks_of(self, inputs: Tensor, samples: Any) -> list[CachedMasks]:
        """SAM's side of the panoramas.

        Raises:
            MaskCacheError: If it is not loaded, or was made with other windows than the model's.
        """
        masks = [sample.get('cached_masks') for sample in samples]
        if None in masks:
            raise MaskCacheError('the ensemble needs cached masks: give the data set a cache and LoadCachedMasks')
        grid = self.grid_of(inputs)
        if any(other.grid != grid for other in masks):
            raise MaskCacheError(f'the cache has windows {masks[0].grid}, the model {grid}')
        return masks

    def _split(self, output: Tensor, dim: int) -> tuple[Tensor, Tensor | None]:
        """Class logits, and the logits of a boundary head if there is one."""
        if output.shape[dim] == self.num_classes:
            return output, None
        classes, boundary = output.split([self.num_classes, 1], dim)
        return classes, boundary


@contextmanager
def _forward(optimizers: OptimWrapperDict, name: str, network: torch.nn.Module, with_gradient: bool) -> Iterator[None]:
    """The context of a forward pass: mixed precision, gradients, and when they are exchanged."""
    wrapper = optimizers[name] if name in optimizers else next(iter(optimizers.values()))
    with torch.set_grad_enabled(with_gradient), wrapper.optim_context(network):
        yield


def _begin_as_the_assistant(model: torch.nn.Module, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Lets weights without a copy that labels be loaded: it begins as their assistant."""
    own, assistant = f'{prefix}label_assistant.', f'{prefix}teacher_assistant.'
    if any(name.startswith(own) for name in weights):
        return
    for name in [name for name in weights if name.startswith(assistant)]:
        weights[f'{own}module.{name.removeprefix(assistant)}'] = weights[name]
    weights[f'{own}n_averaged'] = torch.tensor(1)


def _name_without_wrappers(model: torch.nn.Module, weights: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """Names weights as without distribution, where each network is wrapped for itself."""
    for name in NETWORKS:
        wrapped = f'{prefix}{name}.module.'
        for key in [key for key in weights if key.startswith(wrapped)]:
            weights[f'{prefix}{name}.{key.removeprefix(wrapped)}'] = weights.pop(key)


def _step(losses: dict[str, Tensor], total: str, wrapper: Any) -> dict[str, Tensor]:
    """Adds the terms up and takes a step; returns them for the log."""
    value = torch.stack([*losses.values()]).sum()
    wrapper.update_params(value)
    return {name: loss.detach() for name, loss in {**losses, total: value}.items()}


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Images or logits ``(B, C, ...)`` at another size, bilinearly; plane by plane, as all that follows wants them."""
    return F.interpolate(maps.contiguous(), tuple(size), mode='bilinear', align_corners=False)
