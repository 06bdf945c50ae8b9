"""The runner: MMEngine's, with the checks that let a long training start, and a resume that continues exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import RUNNERS

from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, check_fit, load_weights_only
from stage2_distill.errors import ConfigError
from stage2_distill.models.goodsam import NETWORKS
from stage2_distill.training.cache_check import check_cache, grid_settings


@RUNNERS.register_module()
class GoodSAMRunner(Runner):
    """Trains teacher assistant and student against a cache of stage 1.

    ``train_cfg``, ``optim_wrapper`` and all else are MMEngine's. Added are a check of the cache and of the networks'
    initial weights before anything is built, and the refusal to resume with another seed.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> GoodSAMRunner:
        """Checks, then builds.

        Raises:
            MaskCacheError: If the cache can't be trained on.
            CheckpointError: If initial weights are missing or damaged.
            ConfigError: If the config contradicts itself.
        """
        trusted = cfg.get('trust_checkpoint', False)
        load_weights_only(trusted)
        for name in NETWORKS:
            path = initial_weights(cfg.model, name)
            if path and not cfg.get('resume') and not cfg.get('load_from'):
                check_checkpoint(path, trusted)
        loader = cfg.get('train_dataloader')
        if loader is not None:
            if not loader['dataset'].get('cache'):
                raise ConfigError('train_dataloader.dataset has no cache; give the folder that cache_sam.py wrote')
            check_cache(loader['dataset'], cfg.model['grid'])
            # Of several caches side by side the data set is to open this one.
            loader['dataset']['grid'] = grid_settings(cfg.model['grid'])
        return super().from_cfg(cfg)

    def _init_model_weights(self) -> None:
        """Loads the networks' initial weights, and makes sure that all of them were found."""
        super()._init_model_weights()
        model = getattr(self.model, 'module', self.model)
        for name in NETWORKS:
            path = initial_weights(self.cfg.model, name)
            if path:
                network = getattr(model, name)
                check_fit(getattr(network, 'module', network), path, self.cfg.get('trust_checkpoint', False))

    def load_initial_weights(self) -> None:
        """Gives the networks the weights that a training would start from."""
        self._init_model_weights()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Continues a training.

        Raises:
            ConfigError: If it was begun with another seed.
        """
        found = check_checkpoint(filename, self.cfg.get('trust_checkpoint', False))['meta'].get('seed')
        if found is not None and found != self.seed:
            raise ConfigError(f'{filename} was trained with seed {found}, this run has {self.seed}; add --seed {found}')
        super().resume(filename, *args, **kwargs)


def initial_weights(model: dict[str, Any], name: str) -> str | None:
    """Where a network's initial weights come from; None if they are random."""
    return (model[name].get('init_cfg') or {}).get('checkpoint')


def optimizer_configs(config: Config) -> Iterator[dict[str, Any]]:
    """The optimizer wrappers of a config: one, or one a network."""
    wrapper = config.get('optim_wrapper')
    if wrapper is None:
        return
    if 'constructor' in wrapper and 'optimizer' not in wrapper:
        yield from (wrapper[name] for name in NETWORKS if name in wrapper)
    else:
        yield wrapper
