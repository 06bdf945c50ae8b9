"""Whether a config and a mask cache of stage 1 go together: settings, completeness, every image of the list."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmseg.registry import DATASETS, MODELS
from tqdm import tqdm

from stage1_sam_cache.cache.reader import MaskCache, cache_folders, entry_name
from stage1_sam_cache.cache.remedies import make_again
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.errors import ImageError, MaskCacheError, MissingCacheError
from stage1_sam_cache.geometry.windows import WindowSettings
from stage1_sam_cache.system.digests import sha256_of
from stage2_distill.data.datasets import CatalogueDataset
from stage2_distill.data.transforms import other_images
from stage2_distill.errors import ConfigError
from stage2_distill.training.border_check import check_borders
from stage2_distill.training.cache_command import cache_command
from stage2_distill.training.size_check import check_sizes

_WITHOUT_WRAP = (
    'choose other images by list_file of the data set, or take masks of tools/cache_sam.py without --wrap, with '
    '--cfg-options model.grid.wrap=False'
)


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
    expected = _expected_cache(config)
    boundary = dict(expected.get('boundary') or {})
    if scored:
        boundary.pop('source', None)
    boundary['thickness'] = _expected_thickness(config.model, boundary.get('rule', ['labels', 'contours']))
    grid = WindowSettings.from_json(config.model['grid']).to_json()
    return {**expected, 'grid': grid, 'boundary': boundary}


def expected_masks(config: Config, windows: WindowSettings) -> dict[str, Any]:
    """What a cache's fingerprint has to hold where its masks are read and no boundary maps.

    Args:
        config: With ``expected_cache``, or without: masks of any generator will do then.
        windows: Of the masks.

    Returns:
        Settings as ``open_cache`` takes them.

    Raises:
        ConfigError: If a setting is unknown.
    """
    masks = {key: value for key, value in _expected_cache(config).items() if key != 'boundary'}
    return {**masks, 'grid': windows.to_json()}


def _expected_cache(config: Config) -> dict[str, Any]:
    expected = config.get('expected_cache') or {}
    unknown = [f'expected_cache.{key}' for key in expected if key not in ('generator', 'boundary', 'order')]
    boundary = expected.get('boundary') or {}
    unknown += [f'expected_cache.boundary.{key}' for key in boundary if key not in ('source', 'rule', 'thickness')]
    if unknown:
        raise ConfigError(
            f'{unknown[0]} is no setting of a cache',
            'generator, order, boundary.source and boundary.rule can be expected',
        )
    return dict(expected)


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


def build_with_cache(settings: dict[str, Any], batch_size: int = 1) -> CatalogueDataset:
    """Build a data set of a GoodSAM config, and check its cache.

    The cache has to have every expected setting and every image of the list, and to be complete: the manifest that
    seals a finished cache lists every image, and each file has its sealed size. The bytes are checked when they are
    read. Of all images the size is read, and those that are younger than their masks are compared with what was cached.

    Args:
        settings: Config of a ``CatalogueDataset`` with ``cache``, and with ``expect`` of ``expected_settings``.
        batch_size: Of its loader.

    Raises:
        MaskCacheError: In one line, with the command that makes the cache.
        ConfigError: If the images can't be one batch, the pipeline turns panoramas in a way that the windows don't
            allow, windows cross the seam of a cropped panorama, or labels are missing.
        DatasetError: If images are missing or refused.
        ImageError: If images can't be read.
    """
    command = cache_command(settings)
    try:
        dataset: CatalogueDataset = DATASETS.build(settings)
        cache = dataset.mask_cache
        assert cache is not None
        sealed = {record['file']: record for record in cache.manifest()}
    except MissingCacheError as problem:
        raise MaskCacheError(problem.problem + _with_its_windows(settings), f'run {command}') from problem
    found = {**settings, 'expect': cache.fingerprint.settings}
    command = cache_command(found)  # the one that fills this cache
    entries = [dataset.get_data_info(i) for i in range(len(dataset))]
    _check_complete(cache, entries, command)
    _check_files(cache, sealed, command)
    dataset.notes += check_sizes(found, entries, batch_size)
    wrapped = 'model.grid.wrap=True' if found['expect']['grid']['wrap'] else ''
    dataset.notes += check_borders(entries, wrapped, _WITHOUT_WRAP)
    check_unchanged(cache, entries, {record['id']: record for record in sealed.values()}, command)
    return dataset


def _with_its_windows(settings: dict[str, Any]) -> str:
    """Name the options that let a config take a cache that differs in its windows alone; empty if there is none."""
    expect = settings['expect']
    for folder in cache_folders(Path(settings['cache'])):
        with suppress(MaskCacheError):
            fingerprint = MaskCache(folder).fingerprint
            if fingerprint.differences({key: value for key, value in expect.items() if key != 'grid'}):
                continue
            found, wanted = (WindowSettings.from_json(grid) for grid in (fingerprint.settings['grid'], expect['grid']))
            values = {'window': list(found.window), 'stride': list(found.strides), 'wrap': found.wrap}
            if found.strides[0] == found.window[0]:
                values['stride'] = found.strides[1]
            differs = [name for name in values if getattr(found, name) != getattr(wanted, name)]
            options = [f'model.grid.{name}={values[name]}'.replace(' ', '') for name in differs]
            return f' (either take these windows with --cfg-options {shlex.join(options)}, or make masks of others)'
    return ''


def _check_complete(cache: MaskCache, entries: list[dict[str, Any]], command: str) -> None:
    missing = set(cache.missing(entry['image_id'] for entry in entries))
    if not missing:
        return
    first = next(entry for entry in entries if entry['image_id'] in missing)
    problem = f'{cache.path}: {len(missing)} of {len(entries)} training images are not in the cache, the first is '
    problem += str(first['image_id'])
    try:
        read_rgb(first['img_path'])
    except ImageError as reason:
        raise MaskCacheError(
            f'{problem}, which cannot be cached: {reason}', f'fix or remove such images, then run {command}'
        ) from reason
    raise MaskCacheError(problem, f'run {command}')


def _check_files(cache: MaskCache, sealed: dict[str, dict[str, Any]], command: str) -> None:
    if not sealed:
        raise MaskCacheError(f'{cache.path}: the cache was not finished and sealed', f'run {command}')
    sizes = {file.name: file.stat().st_size for file in cache.files()}
    for name, record in sealed.items():
        if sizes.get(name) != record['bytes']:
            state = 'is missing' if name not in sizes else f'has {sizes[name]} bytes, not {record["bytes"]}'
            raise MaskCacheError(f'{cache.path / name} {state}', make_again(cache.path, command=command))


def check_unchanged(
    cache: MaskCache, entries: Sequence[Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]], command: str
) -> None:
    """Compare images that are younger than their masks with what was cached; the others are compared when read.

    Args:
        cache: The masks.
        entries: Images, with ``image_id`` and ``img_path``.
        records: Of the manifest, by image id.
        command: The command that fills the cache.

    Raises:
        MaskCacheError: If some are other images, with the commands that make their masks again.
        ImageError: If one can't be read.
    """
    younger, changed = [], []
    for entry in entries:
        masks, image = cache.path / entry_name(entry['image_id']), Path(entry['img_path'])
        try:
            if image.stat().st_mtime > masks.stat().st_mtime:
                younger.append(entry)
        except OSError as problem:
            raise ImageError(f'{problem.filename}: cannot be read ({problem.strerror})') from problem
    for entry in tqdm(younger, 'comparing images with their masks', unit='image', delay=3):
        record = records.get(entry['image_id'])
        if record is None:
            continue
        try:
            digest = sha256_of(Path(entry['img_path']))
        except OSError as problem:
            raise ImageError(f'{entry["img_path"]}: cannot be read ({problem.strerror})') from problem
        if digest != record['image_sha256']:
            changed.append(entry)
    if changed:
        raise other_images(changed, cache, command)
