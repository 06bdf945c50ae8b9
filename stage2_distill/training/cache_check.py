"""Whether a cache of stage 1 can be trained on: there, whole, of these windows, and with every image of the list."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from PIL import Image

from stage1_sam_cache.cache.reader import MaskCache, open_cache
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.errors import MaskCacheError
from stage1_sam_cache.geometry.windows import WindowSettings
from stage2_distill.data.cached_masks import mirrored_order, rolled_order
from stage2_distill.data.datasets import CatalogueDataset


def grid_settings(grid: dict[str, Any]) -> dict[str, Any]:
    """A model's ``grid`` as a cache's fingerprint has it."""
    return WindowSettings.from_json(grid).to_json()


def cache_command(dataset: dict[str, Any], grid: dict[str, Any]) -> str:
    """The command that makes the cache that a data set of a config asks for."""
    settings = grid_settings(grid)
    words = ['tools/cache_sam.py']
    for flag, key in (('--dataset', 'name'), ('--images', 'images'), ('--split', 'split')):
        if dataset.get(key):
            words += [flag, dataset[key]]
    for flag, key in (('--data-root', 'root'), ('--list', 'list_file')):
        if dataset.get(key):
            words += [flag, dataset[key]]
    name = dataset.get('name')
    if name and dataset.get('split') == DATASETS[name].default_split:
        del words[words.index('--split') : words.index('--split') + 2]
    if settings['window'] != [400, 512]:
        words += ['--window', 'x'.join(map(str, settings['window']))]
    rows, columns = settings['stride']
    if [rows, columns] != [settings['window'][0], 256]:
        words += ['--stride', str(columns) if rows == settings['window'][0] else f'{rows}x{columns}']
    if settings['wrap']:
        words.append('--wrap')
    return shlex.join([*words, '--out', str(dataset['cache'])])


def check_cache(dataset: dict[str, Any], grid: dict[str, Any]) -> MaskCache:
    """Checks the cache of a data set of a config.

    Whole means that the manifest which seals a finished cache lists every image, and every file is there at its sealed
    size; the bytes themselves are checked whenever they are read.

    Args:
        dataset: Config of a ``CatalogueDataset`` with a ``cache``.
        grid: The model's windows.

    Raises:
        MaskCacheError: In one line, with the command that makes the cache.
        ConfigError: If the pipeline turns panoramas in a way that the windows don't allow.
        DatasetError: If the images are not there.
    """
    remedy = f'run {cache_command(dataset, grid)}'
    root = dataset['cache']
    try:
        cache = open_cache(root, expect={'grid': grid_settings(grid)})
        sealed = {record['file']: record for record in cache.manifest()}
    except MaskCacheError as problem:
        raise MaskCacheError(f'{_first_sentence(problem)}; {remedy}') from problem
    options = {key: value for key, value in dataset.items() if key not in ('type', 'pipeline', 'cache', 'grid')}
    samples = CatalogueDataset(**options, pipeline=[], lazy_init=True).load_data_list()
    sizes = {file.name: file.stat().st_size for file in cache.files()}
    missing = cache.missing(sample['image_id'] for sample in samples)
    if missing:
        raise MaskCacheError(
            f'{cache.path}: {len(missing)} of {len(samples)} training images are not in the cache, the first is '
            f'{missing[0]}; {remedy}'
        )
    if not sealed:
        raise MaskCacheError(f'{cache.path}: the cache was not finished and sealed; {remedy}')
    for name, record in sealed.items():
        if sizes.get(name) != record['bytes']:
            state = 'is missing' if name not in sizes else f'has {sizes[name]} bytes, not {record["bytes"]}'
            raise MaskCacheError(f'{cache.path / name} {state}; run tools/inspect_cache.py repair, then {remedy[4:]}')
    _check_augmentation(dataset, samples[0]['img_path'], grid)
    return cache


def _check_augmentation(dataset: dict[str, Any], image: str, grid: dict[str, Any]) -> None:
    """Makes sure that windows can be mirrored or rolled where the pipeline does so."""
    steps = {step['type'] for step in dataset.get('pipeline') or []}
    if not steps & {'FlipPanorama', 'RollPanorama'}:
        return
    with Image.open(Path(image)) as file:
        windows = WindowSettings.from_json(grid).over(file.height, file.width)
    if 'FlipPanorama' in steps:
        mirrored_order(windows)
    if 'RollPanorama' in steps:
        rolled_order(windows, 1)


def _first_sentence(problem: Exception) -> str:
    """An error's cause without its own remedy, which names the tool but not the settings."""
    return str(problem).split('. Run ')[0].split('; make one with')[0]
