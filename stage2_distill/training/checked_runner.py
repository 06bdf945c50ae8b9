"""MMEngine's runner, which finds what is wrong with data and checkpoints before anything is built."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS, RUNNERS
from torch import nn
from torch.utils.data import DataLoader

from stage1_sam_cache.data.refusals import RefusedError
from stage1_sam_cache.system import interruption
from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.checkpoints.fit import check_fit, check_initial_weights, initial_files
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, use_safe_loaders
from stage2_distill.errors import CheckpointError, ConfigError, building
from stage2_distill.training.config_keys import check_loaders, check_loops, check_optimizers, misspelt
from stage2_distill.training.optimizer_settings import OptimizerSettingsHook
from stage2_distill.training.rate_schedule import end_schedulers, warnings_of
from stage2_distill.training.resuming import find_latest, folder_of, list_digest, nothing_to_resume
from stage2_distill.training.schedule_hook import ScheduleHook
from stage2_distill.training.size_check import check_scored_batches

_IMAGES = 'images'  # in the meta of a checkpoint
_OWN_FOLDER = '{{ fileDirname }}'  # MMEngine puts the name there before it reads the file
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class ConfigDatasets:
    """The data sets of a config, each built, and so listed, once; equal settings share an object.

    Only the training images have an object of their own in any case: what reads them may be given stored lessons.

    Args:
        config: What is listed at once.
        build: Builds a data set from its settings.
    """

    def __init__(self, config: Config, build: Callable[[dict[str, Any]], Any]) -> None:
        self._config, self._build = config, build
        self._built: list[tuple[dict[str, Any], bool, Any]] = []
        for loader in LOADERS:
            if config.get(loader):
                self.of(config[loader]['dataset'], loader == 'train_dataloader')

    def of(self, settings: dict[str, Any], training: bool = False) -> Any:
        """The data set with these settings, for training or not; it is built if the config had none."""
        for known, trains, dataset in self._built:
            if known == settings and trains == training:
                return dataset
        try:
            dataset = self._build(copy.deepcopy(settings))
        except RefusedError as problem:
            follow, skip = (self._option(settings, name) for name in ('follow_links', 'skip_refused'))
            raise problem.with_ways(follow, skip) from None
        self._built.append((copy.deepcopy(settings), training, dataset))
        return dataset

    def _option(self, settings: dict[str, Any], name: str) -> str:
        """A switch of all data sets with these settings, as the command line takes it."""
        loaders = [loader for loader in LOADERS if (self._config.get(loader) or {}).get('dataset') == settings]
        return ' '.join(['--cfg-options', *(f'{loader}.dataset.{name}=True' for loader in loaders)])

    def __iter__(self) -> Iterator[Any]:
        return (dataset for *_, dataset in self._built)


@RUNNERS.register_module()
class CheckedRunner(Runner):
    """Lists all data before it builds anything else, and lets no checkpoint run code.

    Attributes:
        datasets: The data sets of the config; set by ``from_cfg``.
    """

    datasets: ConfigDatasets
    _image_list: dict[str, Any] | None = None
    _train_loop: Any  # MMEngine's: a config, then what is built of it
    _val_loop: Any
    optim_wrapper: Any

    @classmethod
    def from_cfg(cls, cfg: Config) -> CheckedRunner:
        """Check, then build.

        Raises:
            DatasetError: If images are missing.
            MaskCacheError: If a data set's cache can't be used.
            CheckpointError: If initial weights are missing or damaged.
            ConfigError: If labels are missing.
        """
        use_safe_loaders(cfg.get('trust_checkpoint', False))
        if not cfg.get('resume') and not cfg.get('load_from'):
            for path in initial_files(cfg.model):
                check_checkpoint(path, cfg.get('trust_checkpoint', False))
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        check_loaders(cfg, LOADERS)
        check_loops(cfg)
        check_optimizers(cfg)
        datasets = ConfigDatasets(cfg, lambda settings: cls.build_dataset(settings, cfg))
        check_scored_batches(cfg, datasets.of)
        join_processes(cfg)
        end_schedulers(cfg)
        runner = super().from_cfg(cfg)
        runner.datasets = datasets
        for note in [note for dataset in datasets for note in getattr(dataset, 'notes', [])]:
            runner.logger.warning(note)
        for line in misspelt(cfg):
            runner.logger.warning(line)
        if cfg.get('train_cfg') and cfg.get('train_dataloader'):
            samples = len(datasets.of(cfg.train_dataloader['dataset'], training=True)) / runner.world_size
            for line in warnings_of(cfg, ceil(samples / (cfg.train_dataloader.get('batch_size') or 1)) or 1):
                runner.logger.warning(line)
            runner.register_hook(ScheduleHook())
            runner.register_hook(OptimizerSettingsHook())
        return runner

    def train(self) -> nn.Module:
        """Train, if what the run starts from fits the model; MMEngine only warns.

        Raises:
            CheckpointError: If it does not.
            ConfigError: If loaders, optimizers or loops can't be built.
        """
        runner: Any = self  # whose attributes hold settings first, then what is built of them
        with building():  # MMEngine's ``train`` would do so later, and takes what is built as it is
            runner._train_loop = runner.build_train_loop(runner._train_loop)
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
            if runner._val_loop is not None:
                runner._val_loop = runner.build_val_loop(runner._val_loop)
        model: Any = getattr(self.model, 'module', self.model)
        trusted = self.cfg.get('trust_checkpoint', False)
        if self.cfg.get('load_from') and not self.cfg.get('resume'):
            check_fit(model, self.cfg.load_from, trusted, starts=True)
        elif not self.cfg.get('resume'):
            check_initial_weights(model, trusted)
        elif latest := find_latest(self.work_dir, folder_of({**self.cfg, 'work_dir': self.work_dir})):
            self.check_resume(str(latest))  # before anything is prepared for another run
        self.prepare()
        return super().train()

    def check_resume(self, filename: str) -> None:
        """Check that a checkpoint is of this run.

        Raises:
            CheckpointError: If it is of another model.
            ConfigError: If the run is given another seed than it had.
        """
        trusted = self.cfg.get('trust_checkpoint', False)
        seed = check_checkpoint(filename, trusted)['meta'].get('seed')
        given = self._randomness_cfg.get('seed')
        if seed is not None and given not in (None, seed):
            raise ConfigError(f'{filename} was trained with seed {seed}, this run has {given}', f'add --seed {seed}')
        model: Any = getattr(self.model, 'module', self.model)
        check_fit(model, filename, trusted)

    def prepare(self) -> None:
        """Do what has to be done before the first iteration; nothing here."""

    @classmethod
    def build_dataset(cls, settings: dict[str, Any], cfg: Config) -> Any:
        """Build a data set from its settings in the config."""
        return DATASETS.build(settings)

    def load_or_resume(self) -> None:
        """Load or resume as MMEngine does; a run that is to continue does so from a checkpoint of its own folder.

        Raises:
            CheckpointError: If there is none.
        """
        if self.cfg.get('resume') and not self.cfg.get('load_from'):
            folder = folder_of({**self.cfg, 'work_dir': self.work_dir})
            if find_latest(self.work_dir, folder) is None:
                raise nothing_to_resume(self.work_dir, folder)
        super().load_or_resume()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Continue a run; warn if its training images are not those that it had.

        Raises:
            CheckpointError: If the checkpoint is of another model or of other optimizers.
            ConfigError: As ``check_resume``.
        """
        self.check_resume(filename)
        before = check_checkpoint(filename, self.cfg.get('trust_checkpoint', False))['meta'].get(_IMAGES)
        now = self._images()
        if before and now and before != now:
            self.logger.warning(
                f'{filename} was trained on another list of images: {before["count"]} then, {now["count"]} now. '
                'The run continues with the list of now'
            )
        try:
            super().resume(filename, *args, **kwargs)
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as problem:
            raise CheckpointError(
                f'{filename} cannot be continued with this config ({type(problem).__name__}: {problem})',
                f'give the config that it was made with, or begin a new run from its weights: --load-from {filename}',
            ) from problem

    def save_checkpoint(self, *args: Any, meta: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Save a checkpoint as MMEngine does; its ``meta`` also gets a digest of the list of training images."""
        super().save_checkpoint(*args, meta={**(meta or {}), _IMAGES: self._images()}, **kwargs)

    def _images(self) -> dict[str, Any]:
        if self._image_list is None:
            self._image_list = list_digest(self.train_dataloader.dataset)
        return self._image_list

    @master_only
    def dump_config(self) -> None:
        """Write the config of a training run to its work dir; scoring there leaves that file as it is.

        Its ``work_dir`` is written as the folder of the file, whatever that is called later, also with an apostrophe.
        """
        if self.cfg.get('train_cfg') is None:
            return
        config = copy.deepcopy(self.cfg)
        config.work_dir, config.resume = _OWN_FOLDER, False
        name = Path(config.filename or self.timestamp).with_suffix('.py').name
        text = config.pretty_text.replace(f"'{_OWN_FOLDER}'", f'"""{_OWN_FOLDER}"""')
        commit(Path(self.work_dir, name), text.encode(), replace=True)

    def build_dataloader(
        self, dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """As MMEngine, a static method there, around the data sets that were built at the start.

        With ``num_workers=0`` settings that only workers have are dropped; PyTorch refuses them.
        """
        if not isinstance(dataloader, DataLoader):
            # The loaders differ by more than their data: the training loader's sampler never ends.
            dataset = self.datasets.of(dataloader['dataset'], dataloader == self.cfg.get('train_dataloader'))
            # MMEngine copies the settings deeply, and would copy the data set; it calls a function as it is.
            dataloader = {**dataloader, 'dataset': {'type': lambda: dataset}}
            if not dataloader.get('num_workers'):
                for name in ('persistent_workers', 'prefetch_factor', 'timeout', 'multiprocessing_context'):
                    dataloader.pop(name, None)
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        loader.worker_init_fn = partial(_begin_worker, loader.worker_init_fn)
        return loader


def _begin_worker(then: Callable[[int], None] | None, number: int) -> None:
    """Begin a loader's worker, which outlives signals to all processes of a run: the iteration needs its sample."""
    interruption.outlast()
    if then is not None:
        then(number)


def join_processes(config: Config) -> None:
    """Join the processes of torchrun where there is no GPU, which MMEngine's own way needs.

    Batch statistics are then those of each process, because PyTorch synchronises them on GPUs alone.
    """
    if config.get('launcher') != 'pytorch' or torch.cuda.is_available():
        return
    config.model_wrapper_cfg = {**(config.get('model_wrapper_cfg') or {}), 'device_ids': None}
    config.sync_bn = None
    if not dist.is_initialized():
        dist.init_process_group('gloo')
