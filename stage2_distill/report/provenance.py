"""What went into a student, and under which licences: read from its config, its checkpoint and its work dir."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmengine.config import Config

from stage2_distill.models.names import PREDICTORS
from stage2_distill.report.run_files import read_curves, read_scores
from stage2_distill.training.runner import MASKS

UNKNOWN = 'not known here: read it where they come from'
NOT_RECORDED = 'not recorded in the checkpoint'
_OWN = 'Apache-2.0 (networks of this project, trained on rendered images)'
_OWN_IMAGES = 'rendered by tools/make_toypass.py of this project, Apache-2.0'
_NVIDIA = 'NVIDIA Source Code License for SegFormer: non-commercial use'
# By what a checkpoint's address contains; the first that fits. docs/usage.md has the same table.
_WEIGHTS = (
    ('goodsam://', _OWN),
    ('hf:nvidia/', _NVIDIA),
    ('mmsegmentation/v0.5/segformer/', 'Apache-2.0 (MMSegmentation); from NVIDIA and Cityscapes'),
)
_IMAGES = {'toypass': _OWN_IMAGES, 'toypass_source': _OWN_IMAGES}
_TIME = re.compile(r'\d{8}_\d{6}$')  # of an experiment's name: the folder of its log
_SAM = 'Apache-2.0 (SAM, Meta)'
_GENERATORS = {
    'sam': _SAM,
    'adapted_sam': f'{_SAM}; of the adapter {UNKNOWN}',
    'toy_sam': _OWN,
    'adapted_toy_sam': f'{_OWN}; of the adapter {UNKNOWN}',
    'sam2': 'Apache-2.0 (SAM 2, Meta)',
    'toy_sam2': _OWN,
    'felzenszwalb': 'no weights (scikit-image)',
}


@dataclass(frozen=True)
class Ingredient:
    """One thing that a student was made of.

    Attributes:
        role: What it was used as.
        name: Its address, name or fingerprint.
        licence: As its publisher states it, as far as it is known here.
    """

    role: str
    name: str
    licence: str


@dataclass(frozen=True)
class Provenance:
    """Where a student comes from.

    Attributes:
        distilled: Whether it is GoodSAM's student, or else a network trained with labels; None if neither is known, as
            of an exported student, whose config does not say it.
        ingredients: Data, masks and weights that it was made of.
        iteration: Of the checkpoint; None if it says none.
        seed: Of the run; None if it says none.
        scores: Rows of ``{'dataset', 'split', 'images', 'mode', metric: per cent}``, of this checkpoint alone.
        config: The config's whole text.
        versions: Of the packages at hand, by name.
    """

    distilled: bool | None
    ingredients: list[Ingredient]
    iteration: int | None
    seed: int | None
    scores: list[dict[str, Any]]
    config: str
    versions: dict[str, str] = field(default_factory=dict)


def provenance_of(config: Config, checkpoint: Mapping[str, Any], path: str) -> Provenance:
    """Collect what is known of a checkpoint's student.

    Scores are those that the log of the run that wrote it has for its iteration, and those of the student in score
    files in its folder that name this very file and are younger than it.

    Args:
        config: Of the run.
        checkpoint: Loaded.
        path: Its file, or an address.
    """
    meta = checkpoint.get('meta') or {}
    iteration, seed = meta.get('iter'), meta.get('seed')
    distilled = _is_distilled(config, checkpoint)
    return Provenance(
        distilled,
        [_network(path)] if distilled is None else _ingredients(config, meta),
        iteration if isinstance(iteration, int) else None,
        seed if isinstance(seed, int) else None,
        _scores(config, Path(path), meta),
        config.pretty_text,
        {name: version(name) for name in ('goodsam', 'torch', 'onedl-mmsegmentation')},
    )


def _is_distilled(config: Config, checkpoint: Mapping[str, Any]) -> bool | None:
    """How the network was trained, by config and checkpoint together; None if they do not say it."""
    if config.model.type == 'GoodSAM':
        # Other checkpoints are taken too: the initial weights, or an exported student of any run.
        weights = checkpoint.get('state_dict', checkpoint)
        return True if any(name.removeprefix('module.').startswith('student.') for name in weights) else None
    return False if config.get('train_dataloader') else None


def _network(path: str) -> Ingredient:
    """A network of which no more is known than where its weights came from."""
    is_address = '://' in path or path.startswith('hf:')
    return Ingredient('this network', path if is_address else Path(path).name, licence_of(path))


def _ingredients(config: Config, meta: Mapping[str, Any]) -> list[Ingredient]:
    """Panoramas, masks, and the weights that training began with."""
    found = []
    dataset = (config.get('train_dataloader') or {}).get('dataset') or {}
    masks = meta.get(MASKS) or {}
    count = f', {masks["panoramas"]} of them' if 'panoramas' in masks else ''
    name = dataset.get('name') or dataset.get('images') or dataset.get('type') or 'unknown'
    found.append(Ingredient('training images', f'{name}{count}', _IMAGES.get(str(name), UNKNOWN)))
    model = config.model
    if model.type != 'GoodSAM':
        return [*found, *_weights(model, 'initial weights')]
    settings = masks.get('settings') or {}
    generator = settings.get('generator') or {}
    told = f'fingerprint {masks["fingerprint"]}, made by `{json.dumps(generator)}`' if masks else NOT_RECORDED
    licence = _GENERATORS.get(str(generator.get('name')), UNKNOWN) if masks else UNKNOWN
    found.append(Ingredient('instance masks', told, licence))
    found += _weights(model['student'], "student's initial weights")
    return found + _weights(model['teacher_assistant'], "teacher assistant's initial weights")


def _weights(network: Mapping[str, Any], role: str) -> list[Ingredient]:
    """The checkpoints that a network of a config begins with."""
    parts = [network, network.get('backbone') or {}, network.get('decode_head') or {}]
    named = [(part.get('init_cfg') or {}).get('checkpoint') for part in parts if isinstance(part, Mapping)]
    named.append(network.get('file') or network.get('pretrained'))
    return [Ingredient(role, str(one), licence_of(str(one))) for one in named if one]


def licence_of(weights: str) -> str:
    """The licence of weights by their address, as their publisher states it; ``UNKNOWN`` for others."""
    return next((licence for part, licence in _WEIGHTS if part in weights), UNKNOWN)


def _scores(config: Config, path: Path, meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Scores of this checkpoint: of the run's log, then of score files beside it."""
    rows: list[dict[str, Any]] = []
    metrics = ('mIoU', 'mAcc', 'aAcc')
    iteration, began = meta.get('iter'), _TIME.search(str(meta.get('experiment_name')))
    if path.parent.is_dir() and path.is_file():
        validated = (config.get('val_dataloader') or {}).get('dataset') or {}
        curves = read_curves(path.parent, began[0] if began else '*')
        steps = {name: dict(points) for name, points in curves.items() if name in metrics}
        logged = {name: values[iteration] for name, values in steps.items() if iteration in values}
        if logged:
            about = {'dataset': validated.get('name') or validated.get('images'), 'split': validated.get('split')}
            rows.append({**about, 'mode': 'validation of the run', **logged})
        for name, content in read_scores(path.parent).items():
            given = content.get('checkpoint')
            # A score file that is older is of another checkpoint, which had this one's name.
            is_younger = (path.parent / name).stat().st_mtime >= path.stat().st_mtime
            if is_younger and isinstance(given, str) and Path(given).is_file() and path.samefile(given):
                about = {'dataset': content.get('dataset'), 'split': content.get('split')}
                about['images'] = (content.get('images') or {}).get('scored')
                for row in content['scores']:
                    if row.get('mode') in set(PREDICTORS) - {'student'}:
                        continue  # of the assistant and the ensemble labels
                    mode = f'{row.get("mode")}, input scale {row.get("input_scale", 1):g}'
                    rows.append({**about, 'mode': mode, **{name: row[name] for name in metrics if row.get(name)}})
    return rows
