"""Whether a config and a mask cache of stage 1 go together: settings, completeness, every image of the list."""

from __future__ import annotations

import inspect
from typing import Any

from mmengine.config import Config
from mmseg.registry import DATASETS, MODELS
from PIL import Image

from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.errors import MaskCacheError, MissingCacheError
from stage1_sam_cache.geometry.windows import WindowSettings
from stage2_distill.data.cached_masks import mirrored_order, rolled_order
from stage2_distill.data.datasets import CatalogueDataset
from stage2_distill.errors import ConfigError
from stage2_distill.training.cache_command import cache_command


def expected_settings(config: Config, scored: bool = False) -> dict[str, Any]:
    """What a cache's fingerprint has to hold for a config: its ``expected_cache``, and what its model says.

    The model's are the windows and the thickness of boundary maps. Cached maps of rule ``contours`` have no thickness;
    they mark the inner pixels of both masks that meet, as ``thickness=2`` does, so the heads need that.

    Args:
        config: Of GoodSAM.
        scored: The masks are only scored. Where the boundary maps come from (``boundary.source``) is then free.

    Returns:
        Settings as ``open_cache`` takes them.

    Raises:
        ConfigError: If a setting is unknown, or the thicknesses of the config contradict each other.
    """
    expected = config.get('expected_cache') or {}
    boundary = dict(expected.get('boundary') or {})
    unknown = [f'expected_cache.{key}' for key in expected if key not in ('generator', 'boundary', 'order')]
    unknown += [f'expected_cache.boundary.{key}' for key in boundary if key not in ('source', 'rule', 'thickness')]
    if unknown:
        raise ConfigError(
            f'{unknown[0]} is no setting of a cache',
            'generator, order, boundary.source and boundary.rule can be expected',
        )
    if scored:
        boundary.pop('source', None)
    boundary['thickness'] = _expected_thickness(config.model, boundary.get('rule', ['labels', 'contours']))
    grid = WindowSettings.from_json(config.model['grid']).to_json()
    return {**expected, 'grid': grid, 'boundary': boundary}


def _expected_thickness(model: dict[str, Any], rule: str | list[str]) -> Any:
    by_head = {
        head: model[head].get('thickness', _default(model[head]['type'], 'thickness'))
        for head in ('ctcf_head', 'mka_head')
    }
    thickness = by_head['ctcf_head']
    if len(set(by_head.values())) > 1:
        given = ', '.join(f'model.{head}.thickness={value}' for head, value in by_head.items())
        raise ConfigError(f'{given}: boundary maps of two thicknesses are compared', 'give both heads the same')
    if rule == 'contours' and thickness != 2:
        raise ConfigError(
            f'model.ctcf_head.thickness={thickness}, but boundary maps of rule contours are like those of thickness 2',
            'give both heads thickness=2',
        )
    if rule == 'labels':
        return thickness
    none_too = [thickness, None] if thickness == 2 else thickness
    return None if rule == 'contours' else none_too


def _default(name: str, argument: str) -> Any:
    return inspect.signature(MODELS.get(name)).parameters[argument].default


def build_with_cache(settings: dict[str, Any]) -> CatalogueDataset:
    """Build a data set of a GoodSAM config, and check its cache.

    The cache has to have every expected setting and every image of the list, and to be complete: the manifest that
    seals a finished cache lists every image, and each file has its sealed size. The bytes are checked when they are
    read.

    Args:
        settings: Config of a ``CatalogueDataset`` with ``cache``, and with ``expect`` of ``expected_settings``.

    Raises:
        MaskCacheError: In one line, with the command that makes the cache.
        ConfigError: If the pipeline turns panoramas in a way that the windows don't allow, or labels are missing.
        DatasetError: If the images are missing.
    """
    command = cache_command(settings)
    try:
        dataset: CatalogueDataset = DATASETS.build(settings)
        cache = dataset.mask_cache
        assert cache is not None
        sealed = {record['file']: record for record in cache.manifest()}
    except MissingCacheError as problem:
        raise MaskCacheError(problem.problem, f'run {command}') from problem
    entries = [dataset.get_data_info(i) for i in range(len(dataset))]
    missing = cache.missing(entry['image_id'] for entry in entries)
    if missing:
        raise MaskCacheError(
            f'{cache.path}: {len(missing)} of {len(entries)} training images are not in the cache, the first is '
            f'{missing[0]}',
            f'run {command}',
        )
    _check_files(cache, sealed, command)
    _check_augmentation(settings, entries[0]['img_path'])
    return dataset


def _check_files(cache: MaskCache, sealed: dict[str, dict[str, Any]], command: str) -> None:
    if not sealed:
        raise MaskCacheError(f'{cache.path}: the cache was not finished and sealed', f'run {command}')
    sizes = {file.name: file.stat().st_size for file in cache.files()}
    for name, record in sealed.items():
        if sizes.get(name) != record['bytes']:
            state = 'is missing' if name not in sizes else f'has {sizes[name]} bytes, not {record["bytes"]}'
            raise MaskCacheError(f'{cache.path / name} {state}', f'run tools/inspect_cache.py repair, then {command}')


def _check_augmentation(settings: dict[str, Any], image: str) -> None:
    """Check that the windows can be mirrored or rolled where the pipeline does so."""
    steps = {step['type'] for step in settings.get('pipeline') or []}
    if not steps & {'FlipPanorama', 'RollPanorama'}:
        return
    with Image.open(image) as file:
        windows = WindowSettings.from_json(settings['expect']['grid']).over(file.height, file.width)
    if 'FlipPanorama' in steps:
        mirrored_order(windows)
    if 'RollPanorama' in steps:
        rolled_order(windows, 1)
