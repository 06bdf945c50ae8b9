"""What the tools of stage 2 share: a config file with the command line's changes -> a runner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmseg.registry import DATASETS, RUNNERS

from stage1_sam_cache.errors import GoodSAMError
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, load_weights_only
from stage2_distill.errors import ConfigError
from stage2_distill.training.config_files import find_config


def read_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file.

    Args:
        path: The file, or the name of one of the project's own, see ``config_files.find_config``.
        options: Changes by dotted keys, as MMEngine's ``DictAction`` gives them.

    Raises:
        ConfigError: If it is missing or is no config.
    """
    file = find_config(path)
    try:
        config = Config.fromfile(file)
        if options:
            config.merge_from_dict(options)
    except Exception as problem:  # a config is Python, so anything can be raised
        raise ConfigError(f'config {path} cannot be used: {type(problem).__name__}: {problem}') from problem
    return config


def choose_work_dir(config: Config, path: str, given: str | None) -> None:
    """Sets where logs and checkpoints go: what was given, else what the config says, else work_dirs/<config>."""
    if given is not None:
        config.work_dir = given
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / Path(path).stem)


def build_runner(config: Config, trusted: bool = False) -> Runner:
    """Builds the config's runner, with nothing allowed to run code from a checkpoint.

    Args:
        config: As MMEngine's runner takes it.
        trusted: Lift that ban.

    Raises:
        ConfigError: If the config can't be built.
        CheckpointError: If ``load_from`` or the networks' initial weights can't be used.
        DatasetError: If the images are not there.
        MaskCacheError: If there is no cache that GoodSAM can be trained on.
    """
    load_weights_only(trusted)
    config.trust_checkpoint = trusted
    if config.get('load_from'):
        check_checkpoint(config.load_from, trusted)
    imports = config.get('custom_imports')
    if imports:
        import_modules_from_strings(**imports)
    check_data(config)
    join_processes(config)
    try:
        if 'runner_type' in config:
            return RUNNERS.build(config)
        return Runner.from_cfg(config)
    except (KeyError, TypeError, ValueError, AssertionError, ImportError) as problem:
        raise ConfigError(f'the config cannot be built: {type(problem).__name__}: {problem}') from problem


def join_processes(config: Config) -> None:
    """Joins the processes of torchrun where there is no GPU; MMEngine's own way asks for one.

    Batch statistics are then those of each process, because PyTorch synchronises them on GPUs alone.
    """
    if config.get('launcher') != 'pytorch' or torch.cuda.is_available():
        return
    config.model_wrapper_cfg = {**(config.get('model_wrapper_cfg') or {}), 'device_ids': None}
    config.sync_bn = None
    if not dist.is_initialized():
        dist.init_process_group('gloo')


def check_data(config: Config) -> None:
    """Lists every data set of the config once, so that missing data is said before anything is built.

    Raises:
        DatasetError: If images are not there.
        ConfigError: If labels are not there.
    """
    init_default_scope(config.get('default_scope', 'mmseg'))
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = (config.get(loader) or {}).get('dataset') or {}
        if dataset.get('type') == 'CatalogueDataset':
            images = {key: value for key, value in dataset.items() if key not in ('cache', 'grid')}
            DATASETS.build({**images, 'pipeline': [], 'lazy_init': True}).load_data_list()


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns an error that comes from a loader's worker, wrapped in its traceback, into what it was."""
    try:
        yield
    except GoodSAMError as problem:
        lines = str(problem).strip().splitlines()
        if lines and lines[0].startswith('Caught '):
            raise type(problem)(lines[-1].partition(': ')[2]) from None
        raise
