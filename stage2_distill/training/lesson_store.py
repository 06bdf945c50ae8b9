"""Lessons of a frozen teacher assistant: made once before training, of every panorama as it is, and then only read.

A frozen assistant says the same in every iteration, so that all but the student's own work can be done beforehand. The
files lie in a folder whose name is a digest of everything that they depend on; with another assistant, other masks or
other settings they are made anew, beside the old ones.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info
from mmengine.hooks import Hook
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from stage1_sam_cache.system.atomic_file import commit, make_folder, remove_abandoned
from stage2_distill.data.stored_lesson import FORMAT, encode, file_name, is_of
from stage2_distill.data.transforms import LoadCachedMasks, PackPanorama
from stage2_distill.errors import ConfigError, TrainingError

FOLDER = 'lessons'  # of a work dir
_ELSEWHERE = 'give another lessons_dir (--cfg-options lessons_dir=DIR), or --cfg-options store_lessons=False'


def are_stored(config: Config) -> bool:
    """Whether a run stores its lessons: with ``store_lessons``, a frozen assistant, and labels that are hard."""
    model = config.model
    soft = model.mka_head.get('soft_target') or (model.ctcf_head.get('fusion') or {}).get('output') == 'soft'
    return bool(config.get('store_lessons')) and not model.get('update_ta', True) and not soft


def reader_of(dataset: Any) -> LoadCachedMasks | None:
    """The transform of a data set that reads masks or lessons; None if it has none."""
    steps = dataset.pipeline.transforms
    return next((step for step in steps if isinstance(step, LoadCachedMasks)), None)


def store_lessons(model: Any, dataset: Any, config: Config, folder: Path) -> Path:
    """Make the lessons that are missing, or of another image; processes share the work.

    Args:
        model: ``GoodSAM`` on its device, the assistant with its weights.
        dataset: ``CatalogueDataset`` with a cache, whose pipeline reads masks.
        config: Of the run.
        folder: Of all lessons.

    Returns:
        Where they lie: a folder in ``folder``.

    Raises:
        ConfigError: If the pipeline changes panoramas at random before it reads masks.
        WriteError: If a file can't be written; those written before stay.
        MaskCacheError, ImageError: If masks or an image can't be read.
    """
    _refuse_chance(dataset)
    about = lesson_settings(model, dataset, config)
    home = folder / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    make_folder(home, _ELSEWHERE)
    ids = [dataset.get_data_info(i)['image_id'] for i in range(len(dataset))]
    rank, processes = get_dist_info()
    pixels = {record['id']: record['image_sha256'] for record in dataset.mask_cache.manifest()}
    for part in {(home / image_id).parent for image_id in ids}:
        remove_abandoned(part)  # of runs that were killed
    mine = [i for i in range(rank, len(ids), processes) if not _is_made(home, ids[i], pixels.get(ids[i], ''))]
    loader = DataLoader(
        _AsTheyAre(dataset, mine),
        batch_size=None,
        num_workers=config.train_dataloader.get('num_workers', 0),
    )
    device = next(model.student.parameters()).device
    was_training = model.training
    model.eval()
    for sample, digest in tqdm(loader, desc='labels of the frozen assistant', unit='panorama', disable=not mine):
        batch = {'inputs': [sample['inputs'].to(device)], 'data_samples': [sample['data_samples'].to(device)]}
        with torch.no_grad():
            (lesson,) = model.lesson_of(batch).stored()
        image_id = sample['data_samples'].image_id
        path = home / file_name(image_id, digest)
        make_folder(path.parent, _ELSEWHERE)
        commit(path, encode(lesson, digest), replace=True)
    model.train(was_training)
    barrier()
    return home


def _is_made(home: Path, image_id: str, image_sha256: str) -> bool:
    return is_of(home / file_name(image_id, image_sha256), image_sha256)


class SameAssistantHook(Hook):
    """Ends a run whose frozen assistant is not the one that made its lessons.

    Args:
        digest: ``weights_digest`` of the assistant that made them.
    """

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def before_train(self, runner: Any) -> None:
        """Compare the weights, now that all are loaded.

        Raises:
            TrainingError: If they differ.
        """
        model = getattr(runner.model, 'module', runner.model)
        if weights_digest(model.teacher_assistant) != self._digest:
            raise TrainingError(
                "the checkpoint's teacher assistant is not the one that made the stored labels",
                'add --cfg-options store_lessons=False, or start from the weights that the config names',
            )


def weights_digest(network: nn.Module) -> str:
    """SHA-256 (hex) of a network's weights, by name; of its file, where it is a file (``weights_sha256``)."""
    network = getattr(network, 'module', network)
    digest = hashlib.sha256(str(getattr(network, 'weights_sha256', '')).encode())
    for name, weight in sorted(network.state_dict().items()):
        digest.update(f'\n{name} {weight.dtype} {tuple(weight.shape)}\n'.encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class _AsTheyAre(Dataset):
    """Some images of a data set with their masks, through the steps that load and none that change them."""

    def __init__(self, dataset: Any, indices: list[int]) -> None:
        self._dataset, self._indices = dataset, indices
        self._steps = [*_loading_steps(dataset), PackPanorama()]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> tuple[dict[str, Any], str]:
        results = self._dataset.get_data_info(self._indices[position])
        digest = ''
        for step in self._steps:
            results = step(results)
            digest = results.get('img_sha256', digest)
        return results, digest


def _refuse_chance(dataset: Any) -> None:
    """Refuse steps before the one that reads masks which draw random numbers: a lesson would keep what they drew."""
    results = dataset.get_data_info(0)
    for step in _loading_steps(dataset):
        before = _random_states()
        results = step(results)
        if _random_states() != before:
            raise ConfigError(
                f'{type(step).__name__} stands before LoadCachedMasks and changes panoramas at random, but the labels '
                'of a frozen teacher assistant are made once',
                'put it behind LoadCachedMasks, or add --cfg-options store_lessons=False',
            )


def _random_states() -> tuple[Any, ...]:
    """The states of the generators that transforms draw from, as values that can be compared."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the generator that transforms draw from
    return random.getstate(), name, np.asarray(keys).tobytes(), rest, torch.get_rng_state().numpy().tobytes()


def _loading_steps(dataset: Any) -> list[Any]:
    """The steps of a pipeline up to the one that reads masks; what comes later changes panoramas at random."""
    steps = dataset.pipeline.transforms
    last = next(i for i, step in enumerate(steps) if isinstance(step, LoadCachedMasks))
    return list(steps[: last + 1])


def lesson_settings(model: Any, dataset: Any, config: Config) -> dict[str, Any]:
    """All that a lesson depends on, but for the image itself, as plain values.

    Args:
        model: ``GoodSAM`` with its weights.
        dataset: ``CatalogueDataset`` with a cache, whose pipeline reads masks.
        config: Of the run.
    """
    copy = model.label_assistant
    network = model.teacher_assistant if copy is None else copy
    parts = ('ctcf_head', 'grid', 'ta_input_scale', 'data_preprocessor')
    assistant = {key: value for key, value in config.model.teacher_assistant.items() if key != 'init_cfg'}
    loading = len(_loading_steps(dataset))
    return {
        'format': FORMAT,
        'weights': weights_digest(network),
        'teacher_assistant': repr(assistant),
        'cache': dataset.mask_cache.fingerprint.key,
        'loading': repr(config.train_dataloader.dataset.pipeline[:loading]),
        **{part: repr(config.model.get(part)) for part in parts},
    }
