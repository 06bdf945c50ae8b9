"""The runner of the adaptation: what would fail late is said before anything is built."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmseg.registry import RUNNERS

from stage2_distill.errors import ConfigError
from stage2_distill.omnisam import instance_labels
from stage2_distill.omnisam.adaptation import TRAIN_ONE
from stage2_distill.omnisam.cached_target import build_with_masks
from stage2_distill.training.checked_runner import CheckedRunner


@RUNNERS.register_module()
class AdaptationRunner(CheckedRunner):
    """``CheckedRunner`` for a run that starts from a source model."""

    @classmethod
    def from_cfg(cls, cfg: Config) -> AdaptationRunner:
        """Check, then build.

        Raises:
            ConfigError: If no source model is given, or workers would keep the images of old rounds.
        """
        if cfg.get('train_cfg'):
            if not cfg.get('load_from') and not cfg.get('resume'):
                raise ConfigError('the adaptation starts from a source model, and none is given', TRAIN_ONE)
            loader = cfg.train_dataloader
            if loader.get('num_workers') and loader.get('persistent_workers'):
                raise ConfigError(
                    'persistent workers keep the target images of the first round',
                    'set train_dataloader.persistent_workers=False',
                )
        runner = super().from_cfg(cfg)
        assert isinstance(runner, AdaptationRunner)
        return runner

    @classmethod
    def build_dataset(cls, settings: dict[str, Any], cfg: Config) -> Any:
        """Build a data set; the masks of a target that is labelled by instances are checked first."""
        rounds = (cfg.get('default_hooks') or {}).get('rounds') or {}
        target = settings.get('target')
        if target and (target.get('cache') or (rounds.get('labelling') or {}).get('rule') in instance_labels.RULES):
            settings = {**settings, 'target': build_with_masks(target, cfg, 'train_dataloader.dataset.target')}
        return super().build_dataset(settings, cfg)
