"""Images that are labelled by way of their cached masks: the cache is checked as GoodSAM checks its own."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmseg.registry import DATASETS

from stage1_sam_cache.data.images import read_size
from stage1_sam_cache.geometry.windows import WindowSettings
from stage2_distill.data.datasets import CatalogueDataset
from stage2_distill.errors import ConfigError
from stage2_distill.omnisam.instance_labels import RULES
from stage2_distill.omnisam.window_choice import WindowChoice
from stage2_distill.training.cache_check import build_with_cache, expected_masks


def build_with_masks(settings: dict[str, Any], config: Config, place: str) -> CatalogueDataset:
    """Build a data set whose images get labels by one of ``instance_labels.RULES``, and check its cache.

    Args:
        settings: Config of a ``CatalogueDataset`` with ``cache``, whose pipeline has ``LoadCachedMasks``.
        config: Of the run, with ``model.grid`` and perhaps ``expected_cache``.
        place: Of the settings in the config, for errors.

    Raises:
        ConfigError: If there is no cache, or its masks are not loaded.
        MaskCacheError, DatasetError, ImageError: As ``build_with_cache``.
    """
    rules = ' and '.join(RULES)
    if not settings.get('cache'):
        raise ConfigError(
            f'labels by {rules} need cached masks, and {place} has no cache',
            f'make masks with tools/cache_sam.py and the windows of model.grid, and give their folder as {place}.cache',
        )
    steps = [step['type'] for step in settings['pipeline']]
    if 'LoadCachedMasks' not in steps:
        raise ConfigError(
            f'labels by {rules} need cached masks, and the pipeline of {place} loads none',
            'put LoadCachedMasks behind LoadPanorama',
        )
    expect = expected_masks(config, _windows(settings, config))
    return build_with_cache({**settings, 'expect': expect})


def _windows(settings: dict[str, Any], config: Config) -> WindowSettings:
    """The windows of the images: of several the ones for images as high as the first."""
    choice = WindowChoice(config.model.grid)
    if len(choice.settings) == 1:
        return choice.settings[0]
    images = DATASETS.build({**settings, 'cache': None, 'pipeline': []})
    return choice.over(*read_size(images.get_data_info(0)['img_path'])).settings
