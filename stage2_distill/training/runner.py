"""GoodSAM's runner: checks that let a long run start, and a resume that continues exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import broadcast
from mmengine.optim import OptimWrapperDict
from mmseg.registry import RUNNERS

from stage1_sam_cache.system.weight_files import missing_from
from stage2_distill.checkpoints.fit import check_initial_weights, misfit, weights_in
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, load_any
from stage2_distill.errors import ConfigError
from stage2_distill.models.names import NETWORKS
from stage2_distill.training import lesson_store
from stage2_distill.training.border_check import check_borders, entries_of
from stage2_distill.training.cache_check import build_with_cache, expected_settings
from stage2_distill.training.checked_runner import LOADERS, CheckedRunner
from stage2_distill.training.resuming import find_latest, folder_of

_ASSISTANT_FILE = 'assistant_sha256'  # in the meta of a checkpoint
MASKS = 'mask_cache'  # the same: fingerprint and settings of the masks that a run learns from


@RUNNERS.register_module()
class GoodSAMRunner(CheckedRunner):
    """Trains teacher assistant and student against a cache of stage 1.

    ``train_cfg``, ``optim_wrapper`` and all else are MMEngine's. Added are checks of the caches and of the networks'
    initial weights before anything is built, and the refusal to resume with another seed. Keys of the config that
    MMEngine does not know:

    Config:
        store_lessons (bool): Whether a frozen assistant's lessons are made once, before training.
        lessons_dir (str): Folder of these lessons; None means ``lessons`` in the work dir.
        trust_checkpoint (bool): Whether checkpoints may run code.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> GoodSAMRunner:
        """Check, then build.

        Raises:
            MaskCacheError: If a cache can't be used.
            CheckpointError: If initial weights are missing or damaged.
            ConfigError: If the config contradicts itself.
        """
        train = cfg.get('train_dataloader')
        if train is not None and not train['dataset'].get('cache'):
            raise ConfigError('train_dataloader.dataset has no cache', 'give the folder that cache_sam.py wrote')
        for loader in LOADERS:
            settings = (cfg.get(loader) or {}).get('dataset') or {}
            if settings.get('cache'):
                settings['expect'] = expected_settings(cfg, scored=loader != 'train_dataloader')
        runner = super().from_cfg(cfg)
        for cache in filter(None, (getattr(dataset, 'mask_cache', None) for dataset in runner.datasets)):
            generator = json.dumps(cache.fingerprint.settings['generator'])
            runner.logger.info(f'masks of {cache.path}, fingerprint {cache.fingerprint.key}, generator {generator}')
        return runner

    @classmethod
    def build_dataset(cls, settings: dict[str, Any], cfg: Config) -> Any:
        """Build a data set, and check its cache if it has one, and borders that the student is to see across."""
        if not settings.get('cache'):
            dataset = super().build_dataset(settings, cfg)
        else:
            train = cfg.get('train_dataloader') or {}
            dataset = build_with_cache(settings, train['batch_size'] if settings == train.get('dataset') else 1)
        if cfg.model.get('wrap_columns'):
            remedy = 'choose other images, or set model.wrap_columns=0 (tools/test.py --wrap sets another value)'
            check_borders(entries_of(dataset), f'model.wrap_columns={cfg.model.wrap_columns}', remedy)
        return dataset

    def prepare(self) -> None:
        """Let a frozen assistant make its labels."""
        if lesson_store.are_stored(self.cfg):
            self._store_lessons()

    def _store_lessons(self) -> None:
        """Let the assistant make its lessons; before the loaders' workers start, which read them."""
        dataset = self.datasets.of(self.cfg.train_dataloader['dataset'], training=True)
        reader = lesson_store.reader_of(dataset)
        if reader is None:
            return
        model: Any = getattr(self.model, 'module', self.model)
        assistant = getattr(model.teacher_assistant, 'module', model.teacher_assistant)
        self._load_assistant(assistant)
        folder = Path(self.cfg.get('lessons_dir') or Path(self.work_dir) / lesson_store.FOLDER)
        reader.lessons = lesson_store.store_lessons(model, dataset, self.cfg, folder)
        self.logger.info(f'labels of the frozen teacher assistant: {reader.lessons}')
        self.register_hook(lesson_store.SameAssistantHook(lesson_store.weights_digest(assistant)))

    def _load_assistant(self, assistant: Any) -> None:
        """Give the assistant the weights that it will have in training, before MMEngine loads all of them.

        Raises:
            CheckpointError: If the checkpoint is of another assistant.
        """
        path, resumed = self.cfg.get('load_from'), self.cfg.get('resume')
        if resumed and not path:
            path = find_latest(self.work_dir, folder_of({**self.cfg, 'work_dir': self.work_dir}))
        prefix, weights = 'teacher_assistant.', {}
        if path:
            loaded = load_any(str(path), self.cfg.get('trust_checkpoint', False))
            if resumed:
                self._check_assistant_file(str(path), loaded)
            state = weights_in(loaded)
            weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if weights:
            bad = missing_from(weights, assistant.state_dict())
            if bad:
                raise misfit(assistant, str(path), weights, bad, 'the teacher assistant')
            assistant.load_state_dict(weights, strict=False)
        else:
            assistant.init_weights()

    def load_initial_weights(self) -> None:
        """Give the networks the weights that training would start from.

        Raises:
            CheckpointError: If they don't fit.
        """
        model: Any = getattr(self.model, 'module', self.model)
        check_initial_weights(model, self.cfg.get('trust_checkpoint', False))
        model.init_weights()
        for values in model.state_dict().values():
            broadcast(values)  # random ones are to be the same in all processes

    def check_resume(self, filename: str) -> None:
        """Check that a checkpoint is of this run.

        Raises:
            CheckpointError: If it is of another model.
            ConfigError: If it began with another seed or another assistant's file, or trained other networks.
        """
        checkpoint = check_checkpoint(filename, self.cfg.get('trust_checkpoint', False))
        seed = checkpoint['meta'].get('seed')
        if seed is not None and seed != self.seed:
            raise ConfigError(
                f'{filename} was trained with seed {seed}, this run has {self.seed}', f'add --seed {seed}'
            )
        self._check_assistant_file(filename, checkpoint)
        trained, trains = set(checkpoint.get('optimizer', {})) & set(NETWORKS), set(_names(self.optim_wrapper))
        if trained and trains and trained != trains:
            raise ConfigError(
                f'{filename} is of a run that trained {" and ".join(sorted(trained))}, this one trains '
                f'{" and ".join(sorted(trains))}',
                f'begin a new run from its weights: --load-from {filename}',
            )
        super().check_resume(filename)

    def save_checkpoint(self, *args: Any, meta: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Save a checkpoint; ``meta`` gets the masks' identity, and the digest of an assistant that is a file."""
        known = {_ASSISTANT_FILE: self._assistant_file(), MASKS: self._masks()}
        super().save_checkpoint(*args, meta={**(meta or {}), **known}, **kwargs)

    def _masks(self) -> dict[str, Any]:
        """What tells the masks of training from others, as plain values."""
        dataset = self.datasets.of(self.cfg.train_dataloader['dataset'], training=True)
        fingerprint = dataset.mask_cache.fingerprint
        return {'fingerprint': fingerprint.key, 'settings': dict(fingerprint.settings), 'panoramas': len(dataset)}

    def _assistant_file(self) -> str:
        """SHA-256 (hex) of the file that the assistant is; empty if its weights are in the checkpoint."""
        model: Any = getattr(self.model, 'module', self.model)
        assistant = getattr(model.teacher_assistant, 'module', model.teacher_assistant)
        return str(getattr(assistant, 'weights_sha256', ''))

    def _check_assistant_file(self, path: str, checkpoint: dict[str, Any]) -> None:
        """Check that the assistant is the one that a resumed run had, where it is a file or was one.

        Raises:
            ConfigError: If not.
        """
        before, now = checkpoint['meta'].get(_ASSISTANT_FILE), self._assistant_file()
        if before is None or before == now:
            return
        known = f'a file with SHA-256 {before[:12]}...' if before else 'no file but a network of its own'
        has = f'the file with SHA-256 {now[:12]}...' if now else 'such a network'
        raise ConfigError(
            f"{path} was trained with a teacher assistant that is {known}, this run's is {has}",
            f'give the same assistant, or begin a new run from its weights: --load-from {path}',
        )


def _names(wrapper: Any) -> list[str]:
    """The networks that a built optimizer wrapper has; none of one that is not built yet, or of a single one."""
    return list(wrapper.keys()) if isinstance(wrapper, OptimWrapperDict) else []


def optimizer_configs(config: Config) -> Iterator[dict[str, Any]]:
    """The optimizer wrappers of a config: one, or one per network."""
    wrapper = config.get('optim_wrapper')
    if wrapper is None:
        return
    if 'constructor' in wrapper and 'optimizer' not in wrapper:
        yield from (wrapper[name] for name in NETWORKS if name in wrapper)
    else:
        yield wrapper
