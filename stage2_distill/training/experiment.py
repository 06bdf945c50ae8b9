"""What the tools of stage 2 share: a config file with the command line's changes -> a runner."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmseg.registry import RUNNERS

from stage1_sam_cache.errors import GoodSAMError
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, use_safe_loaders
from stage2_distill.errors import ConfigError, building
from stage2_distill.training.checked_runner import CheckedRunner
from stage2_distill.training.config_files import find_config
from stage2_distill.training.config_keys import check_options
from stage2_distill.training.config_options import apply_options
from stage2_distill.training.rate_schedule import follow_length, run_length


def read_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file.

    Args:
        path: The file, or the name of one of the project's own, see ``config_files.find_config``.
        options: Changes by dotted keys, see ``config_options.apply_options``. Where they change the length of the run
            and not its schedulers' ends, those that ended with the run do so again.

    Raises:
        ConfigError: If it is missing or is no config.
    """
    file = find_config(path)
    try:
        config = Config.fromfile(file)
        if options:
            check_options(config, options)
            length = run_length(config)
            apply_options(config, options)
            if not any(re.fullmatch(r'param_scheduler(.*\.end)?', name) for name in options):
                follow_length(config, length)
    except ConfigError:
        raise
    except Exception as problem:  # a config is Python, so anything can be raised
        raise ConfigError(f'config {path} cannot be used: {type(problem).__name__}: {problem}') from problem
    return config


def choose_work_dir(config: Config, path: str, given: str | None) -> None:
    """Set where logs and checkpoints go: what was given, else what the config says, else work_dirs/<config>."""
    if given is not None:
        config.work_dir = given
    elif not config.get('work_dir'):
        config.work_dir = str(Path('work_dirs') / Path(path).stem)


def build_runner(config: Config, trusted: bool = False) -> Runner:
    """Build the config's runner; no checkpoint may run code.

    Args:
        config: As MMEngine's runner takes it.
        trusted: Let checkpoints run code.

    Raises:
        ConfigError: If the config can't be built.
        CheckpointError: If ``load_from`` or the networks' initial weights can't be used.
        DatasetError: If the images are missing.
        MaskCacheError: If there is no cache that the config can be trained on.
    """
    use_safe_loaders(trusted)
    config.trust_checkpoint = trusted
    if config.get('load_from'):
        check_checkpoint(config.load_from, trusted)
    init_default_scope(config.get('default_scope', 'mmseg'))  # another config of this process may have set its own
    imports = config.get('custom_imports')
    if imports:
        import_modules_from_strings(**imports)
    with building():
        if 'runner_type' in config:
            return RUNNERS.build(config)
        return CheckedRunner.from_cfg(config)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise an error from a loader's worker, which comes wrapped in its traceback, as what it was."""
    try:
        yield
    except (GoodSAMError, OSError) as problem:
        lines = str(problem).strip().splitlines()
        if lines and lines[0].startswith('Caught '):
            raise type(problem)(lines[-1].partition(': ')[2]) from None
        raise
