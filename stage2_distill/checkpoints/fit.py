"""Whether the weights of a checkpoint are those of a network; MMEngine only warns, and trains from random ones.

A whole network has to have all of its weights. A part of one, such as a backbone, may begin with a few at random, which
is said; with more than half of them missing, the file is of something else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit
from mmseg.models.segmentors.base import BaseSegmentor

from stage1_sam_cache.system.weight_files import missing_from, sets_for
from stage2_distill.checkpoints.foreign_segformers import check_classes
from stage2_distill.checkpoints.safe_checkpoints import load_any
from stage2_distill.checkpoints.segformer_sizes import size_of
from stage2_distill.errors import CheckpointError


def check_fit(model: torch.nn.Module, path: str, trusted: bool = False, starts: bool = False) -> None:
    """Check that a checkpoint has every weight of a model.

    Args:
        model: The model, not wrapped for distribution; its method ``complete``, if it has one, adds the weights that it
            derives from others when it loads.
        path: As ``check_checkpoint``; an address is fetched unless it was before.
        trusted: Let the file run code.
        starts: A training run starts from it, so that the remedy may be to start from a part.

    Raises:
        CheckpointError: If weights are missing or have other shapes, or their classes are none of this project's.
    """
    checkpoint = load_any(path, trusted)
    check_classes(checkpoint, path)
    weights = weights_in(checkpoint)
    complete = getattr(model, 'complete', None)
    needed = model.state_dict()
    try:
        completed = weights if complete is None else complete(weights)
    except CheckpointError as problem:
        raise CheckpointError(f'checkpoint {path}: {problem}') from problem
    bad = missing_from(completed, needed)
    if bad:
        remedy = _part_remedy(model, path, weights, 'model', ' instead of --load-from') if starts else ''
        raise misfit(model, path, weights, bad, 'the model', remedy)


def check_initial_weights(model: torch.nn.Module, trusted: bool = False) -> None:
    """Check the files that ``init_cfg`` names anywhere in a model.

    Args:
        model: Not wrapped for distribution; parts of it may be.
        trusted: Let files run code.

    Raises:
        CheckpointError: If a file does not fit the part of the model that names it.
    """
    loaded: dict[str, dict[str, Any]] = {}
    for name, part, init in _pretrained_parts(model):
        path, prefix = init['checkpoint'], init.get('prefix')
        if path not in loaded:
            loaded[path] = load_any(path, trusted)
        if any('conv_seg' in key for key in part.state_dict()):
            check_classes(loaded[path], path)
        _check_part(part, f'model.{name}'.rstrip('.'), path, prefix, weights_in(loaded[path]))


def initial_files(settings: Any) -> Iterator[str]:
    """The files that ``init_cfg``, or the argument ``weights``, names anywhere in the config of a model."""
    if isinstance(settings, dict):
        if isinstance(settings.get('weights'), str):
            yield settings['weights']
        if settings.get('type') == 'Pretrained' and isinstance(settings.get('checkpoint'), str):
            yield settings['checkpoint']
        settings = list(settings.values())
    if isinstance(settings, (list, tuple)):
        for part in settings:
            yield from initial_files(part)


def weights_in(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The weights of a loaded checkpoint, without the prefix of distributed training."""
    weights = checkpoint.get('state_dict', checkpoint)
    return {name.removeprefix('module.'): value for name, value in weights.items()}


def _pretrained_parts(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, dict[str, Any]]]:
    """Name in the config, module and ``init_cfg`` of each part that starts from a file."""
    for name, part in model.named_modules():
        parts = name.split('.')
        settings = getattr(part, 'init_cfg', None) or []
        if parts[0] == 'label_assistant':  # a copy, which begins as the assistant
            continue
        for init in settings if isinstance(settings, (list, tuple)) else [settings]:
            if isinstance(init, dict) and init.get('type') in ('Pretrained', PretrainedInit) and init.get('checkpoint'):
                yield '.'.join(each for each in parts if each != 'module'), part, init


def _check_part(part: torch.nn.Module, name: str, path: str, prefix: str | None, weights: dict[str, Any]) -> None:
    """Check a file that a part of a model starts from.

    Raises:
        CheckpointError: If it does not fit.
    """
    needed, below = part.state_dict(), weights
    if prefix is not None:
        start = prefix.rstrip('.') + '.'
        below = {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}
    sets = sets_for(weights, needed)
    if _loads_itself(part):
        if sets:
            return
        below = {}
    bad, whole = missing_from(below, needed), name == 'model' or isinstance(part, BaseSegmentor)
    if bad and (whole or 2 * len(bad) > len(needed)):
        remedy = f'give weights of a {type(part).__name__} of this size'
        if sets and not missing_from(sets[0].weights, needed):
            remedy = f'its weights are below a prefix: --cfg-options {name}.init_cfg.prefix={sets[0].place}.'
        elif whole:
            remedy = _part_remedy(part, path, below, name, f' {name}.init_cfg=None')  # empty: the config is wrong
        raise misfit(part, path, below, bad, name, remedy)
    if bad:
        print_log(
            f'checkpoint {path} fits {name} in part: {len(bad)} of {len(needed)} weights are missing or have another '
            f'shape and begin at random, such as {bad[0]}',
            'current',
            logging.WARNING,
        )


def _loads_itself(part: torch.nn.Module) -> bool:
    """Whether a network has its own way to load initial weights, resizing or renaming them, as some of mmseg's do."""
    code = getattr(getattr(type(part), 'init_weights', None), '__code__', None)
    return code is not None and 'load_state_dict' in code.co_names


def misfit(
    model: torch.nn.Module, path: str, weights: dict[str, Any], bad: list[str], name: str, remedy: str = ''
) -> CheckpointError:
    """The error for a checkpoint that does not fit; it says so where only the number of classes differs.

    Args:
        model: What it does not fit.
        path: Of the checkpoint.
        weights: What it has.
        bad: Names of the weights that are missing or have other shapes.
        name: What the user calls the model.
        remedy: What to do; empty for that of a wrong config.
    """
    needed = model.state_dict()
    pairs = {_numbers_of_classes(weights.get(key), needed[key]) for key in bad}
    classes = pairs.pop() if len(pairs) == 1 else None
    reason = f'it has {classes[0]} classes, not {classes[1]}: ' if classes else ''
    return CheckpointError(
        f'checkpoint {path} does not fit {name}: {reason}{len(bad)} of {len(needed)} weights are missing or have '
        f'another shape, such as {bad[0]}',
        remedy or ('' if classes else _segformer_remedy(model, weights)) or 'give the config that it was trained with',
    )


def _segformer_remedy(model: torch.nn.Module, weights: dict[str, Any]) -> str:
    """What a config has to say to take the weights of a SegFormer; empty where they are none, or it says so."""
    found = size_of(weights)
    if found is None or found == size_of(model.state_dict()):
        return ''
    size, layout = found
    return f"these are the weights of dict(type='SegFormer', size='{size}', layout='{layout}')"


def _numbers_of_classes(weight: Any, needed: torch.Tensor) -> tuple[int, int] | None:
    """The first axes of two tensors that differ in these alone."""
    if isinstance(weight, torch.Tensor) and 0 < weight.ndim == needed.ndim and weight.shape[1:] == needed.shape[1:]:
        return len(weight), len(needed)
    return None


def _part_remedy(model: torch.nn.Module, path: str, weights: dict[str, Any], name: str, instead: str) -> str:
    """How to start from what fits: a part of the model, or what is below a prefix of the file; empty if nothing does.

    Args:
        model: What the whole file does not fit.
        path: The file.
        weights: What it holds.
        name: Of the model in the config.
        instead: What ends the line: what was tried and has to go.
    """
    parts = [(name, model)] + [(f'{name}.{key}', getattr(part, 'module', part)) for key, part in model.named_children()]
    for key, part in parts:
        needed = part.state_dict()
        sets = sets_for(weights, needed) if needed and hasattr(part, 'init_cfg') else []
        if sets and not missing_from(sets[0].weights, needed):
            below = f' {key}.init_cfg.prefix={sets[0].place}.' if sets[0].place else ''
            return (
                f'it fits {key}: start from it by --cfg-options {key}.init_cfg.type=Pretrained '
                f'{key}.init_cfg.checkpoint={path}{below}{instead}'
            )
    return ''
