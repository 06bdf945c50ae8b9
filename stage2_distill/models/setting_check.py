"""Settings of the segmentor that contradict each other, told when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stage2_distill.models.names import NETWORKS, PREDICTORS
from stage2_distill.models.sequence_assistant import sequence_method

SCHEDULES = ('joint', 'ta_first')


def check_settings(model: Any) -> None:
    """Check a ``GoodSAM`` whose networks and heads are built.

    Raises:
        ValueError: If a setting is unknown, or the networks have different classes.
    """
    if model.schedule not in SCHEDULES or model.ta_input_scale <= 0 or model.wrap_columns < 0:
        raise ValueError(
            f'schedule={model.schedule!r}, ta_input_scale={model.ta_input_scale}, wrap_columns={model.wrap_columns}'
        )
    if model.teacher_assistant.num_classes != model.num_classes:
        raise ValueError('student and teacher assistant have different numbers of classes')
    by_class = model.mka_head.class_weight
    if by_class is not None and len(by_class) != model.num_classes:
        raise ValueError(f'class_weight has {len(by_class)} values for {model.num_classes} classes')
    if set(model.norm_eval) - set(NETWORKS):
        raise ValueError(f'norm_eval {", ".join(model.norm_eval)}: {" and ".join(NETWORKS)} can be named')
    unknown = set(model.predictors) - set(PREDICTORS)
    if unknown:
        raise ValueError(f'predictors {", ".join(sorted(unknown))} are none of {", ".join(PREDICTORS)}')
    if sequence_method(model.teacher_assistant) is not None:
        if model.ta_input_scale != 1:
            raise ValueError('ta_input_scale enlarges windows, which this teacher assistant does itself; leave it at 1')
        if 'ta_whole' in model.predictors:
            raise ValueError('this teacher assistant sees windows in their order and no whole panorama; drop ta_whole')
    if model.update_ta and not any(True for _ in model.teacher_assistant.parameters()):
        raise ValueError('the teacher assistant has no weights to train; set update_ta=False')
    if model.update_ta and not any(model.mka_head.weights_ta.values()):
        raise ValueError('the teacher assistant has no loss; set update_ta=False')
    if not any(model.mka_head.weights_student.values()):
        raise ValueError('the student has no loss')


def check_normalisation(seen: Mapping[str, Any] | None, learned: Mapping[str, Any] | None) -> None:
    """Compare how images are normalised with what a teacher assistant learned with, where its config says so.

    Args:
        seen: Config of GoodSAM's data preprocessor, which prepares the images of both networks.
        learned: Of the assistant's own, which is not run.

    Raises:
        ValueError: If they differ.
    """
    if not learned or learned.get('mean') is None:
        return
    images, needed = (_normalisation(settings or {}) for settings in (seen, learned))
    if images != needed:
        raise ValueError(
            f'images have {images}, the teacher assistant learned with {needed}; give model.data_preprocessor the '
            "assistant's mean, std and bgr_to_rgb"
        )


def _normalisation(settings: Mapping[str, Any]) -> str:
    mean, std = (settings.get(name) and [float(x) for x in settings[name]] for name in ('mean', 'std'))
    return f'mean {mean}, std {std}, {"RGB" if settings.get("bgr_to_rgb") else "BGR"}'
