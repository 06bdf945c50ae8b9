"""MMEngine's runner, which finds what is wrong with data and checkpoints before anything is built."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS, RUNNERS
from torch.utils.data import DataLoader

from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, use_safe_loaders
from stage2_distill.training.resuming import find_latest, folder_of, nothing_to_resume

_IMAGES = 'images'  # in the meta of a checkpoint
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class ConfigDatasets:
    """The data sets of a config, each built, and so listed, once; equal settings share an object.

    Args:
        config: What is listed at once.
        build: Builds a data set from its settings.
    """

    def __init__(self, config: Config, build: Callable[[dict[str, Any]], Any]) -> None:
        self._build = build
        self._built: list[tuple[dict[str, Any], Any]] = []
        for loader in LOADERS:
            if config.get(loader):
                self.of(config[loader]['dataset'])

    def of(self, settings: dict[str, Any]) -> Any:
        """The data set with these settings; it is built if the config had none."""
        for known, dataset in self._built:
            if known == settings:
                return dataset
        dataset = self._build(copy.deepcopy(settings))
        self._built.append((copy.deepcopy(settings), dataset))
        return dataset

    def __iter__(self) -> Iterator[Any]:
        return (dataset for _, dataset in self._built)


@RUNNERS.register_module()
class CheckedRunner(Runner):
    """Lists all data before it builds anything else, and lets no checkpoint run code.

    Attributes:
        datasets: The data sets of the config; set by ``from_cfg``.
    """

    datasets: ConfigDatasets
    _image_list: dict[str, Any] | None = None

    @classmethod
    def from_cfg(cls, cfg: Config) -> CheckedRunner:
        """Check, then build.

        Raises:
            DatasetError: If images are missing.
            MaskCacheError: If a data set's cache can't be used.
            ConfigError: If labels are missing.
        """
        use_safe_loaders(cfg.get('trust_checkpoint', False))
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        datasets = ConfigDatasets(cfg, lambda settings: cls.build_dataset(settings, cfg))
        join_processes(cfg)
        runner = super().from_cfg(cfg)
        runner.datasets = datasets
        return runner

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
        """Continue a run; warn if its training images are not those that it had."""
        before = check_checkpoint(filename, self.cfg.get('trust_checkpoint', False))['meta'].get(_IMAGES)
        now = self._images()
        if before and now and before != now:
            self.logger.warning(
                f'{filename} was trained on another list of images: {before["count"]} then, {now["count"]} now. '
                'The run continues with the list of now'
            )
        super().resume(filename, *args, **kwargs)

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

        Its ``work_dir`` is written as the folder of the file, whatever that is called later.
        """
        if self.cfg.get('train_cfg') is None:
            return
        config = copy.deepcopy(self.cfg)
        config.work_dir, config.resume = '{{ fileDirname }}', False
        name = Path(config.filename or self.timestamp).with_suffix('.py').name
        commit(Path(self.work_dir, name), config.pretty_text.encode(), replace=True)

    def build_dataloader(
        self, dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """As MMEngine, a static method there, around the data sets that were built at the start."""
        if not isinstance(dataloader, DataLoader):
            dataset = self.datasets.of(dataloader['dataset'])
            # MMEngine copies the settings deeply, and would copy the data set; it calls a function as it is.
            dataloader = {**dataloader, 'dataset': {'type': lambda: dataset}}
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)


def list_digest(dataset: Any) -> dict[str, Any]:
    """The number of images of a data set and the SHA-256 (hex) of their ids; empty where images have no ids."""
    if not hasattr(dataset, 'get_data_info'):
        return {}
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        if 'image_id' not in (entry := dataset.get_data_info(index)):
            return {}
        digest.update(f'{entry["image_id"]}\n'.encode())
    return {'count': len(dataset), 'sha256': digest.hexdigest()}


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
