"""SegFormers of Hugging Face and of their authors as checkpoints for MMSegmentation: names, and order of classes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill.checkpoints.class_order import CLASSIFIER, difference, in_order_of, is_order_of, space_with
from stage2_distill.checkpoints.hub_files import CONFIG, class_names
from stage2_distill.checkpoints.segformer_names import names_of, to_mmseg
from stage2_distill.errors import CheckpointError

REFUSED = 'classes_refused'  # in the meta of a checkpoint: why its classes can't be used
_USUAL = 'cityscapes19'


def as_mmseg(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """A checkpoint whose weights have the names of mmseg, and its classes the order of a label space.

    The classes are those of ``id2label`` in the config beside the file, or of ``meta`` in it. Those of no label space
    are left as they are, and ``meta`` says why they can't be used, since a backbone alone may be wanted.

    Args:
        checkpoint: As MMEngine has it.
        path: Its file.

    Returns:
        The checkpoint itself if its names are none of Hugging Face's or the authors'.

    Raises:
        CheckpointError: If it is incomplete, or its config is damaged.
    """
    given = checkpoint.get('state_dict', checkpoint)
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    whose = names_of(tensors)
    if whose is None:
        return checkpoint
    meta = checkpoint.get('meta') or {}
    names = class_names(path) or _listed(meta)
    try:
        weights = to_mmseg(tensors)
        if not any(name.startswith(CLASSIFIER) for name in weights):  # a backbone alone
            return {'state_dict': weights, 'meta': {}}
        if names is None:
            print_log(
                f'checkpoint {path}: the order of its classes is not checked, since there is no {CONFIG} beside it',
                'current',
                logging.WARNING,
            )
            return {'state_dict': weights, 'meta': {}}
        space = space_with(names)
        if space is None:
            return {'state_dict': weights, 'meta': {REFUSED: _refusal(names, path)}}
        if not is_order_of(space, names):
            print_log(f'checkpoint {path}: its classes are put into the order of {space.name}', 'current')
        ordered = in_order_of(space, names, weights)
    except ValueError as problem:
        raise CheckpointError(f'checkpoint {path} is no whole SegFormer of {whose}: {problem}') from problem
    dataset_meta = {'classes': list(space.classes), 'palette': [list(colour) for colour in space.palette]}
    return {'state_dict': ordered, 'meta': {'dataset_meta': dataset_meta}}


def check_classes(checkpoint: Mapping[str, Any], path: str) -> None:
    """Check that a checkpoint's classes can be used; whoever loads a whole network or a head calls it.

    Raises:
        CheckpointError: If they are those of no label space.
    """
    refusal = (checkpoint.get('meta') or {}).get(REFUSED)
    if refusal:
        raise CheckpointError(
            f'checkpoint {path}: {refusal}',
            "take the backbone alone (backbone.init_cfg with prefix='backbone.'), or, if its config misnames them, "
            f'write the names into id2label of its {CONFIG}',
        )


def _listed(meta: Mapping[str, Any]) -> list[str] | None:
    """The classes that mmseg of the authors' time writes into its checkpoints."""
    names = meta.get('CLASSES')
    return [str(name) for name in names] if isinstance(names, (list, tuple)) and names else None


def _refusal(names: list[str], path: Path) -> str:
    spaces = [space for space in LABEL_SPACES.values() if len(space.classes) == len(names)]
    return difference(names, spaces[0] if spaces else LABEL_SPACES[_USUAL])
