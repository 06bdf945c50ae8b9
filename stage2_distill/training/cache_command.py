"""The command line that makes the mask cache which a config expects."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.exchange.import_settings import NAME as IMPORTED
from stage1_sam_cache.exchange.import_settings import ImportSettings
from stage1_sam_cache.geometry.windows import DEFAULT_WINDOWS, WindowSettings
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbSettings
from stage1_sam_cache.sam.settings import TOY_SETTINGS, Sam2Settings, SamSettings

_DEFAULTS = CacheSettings()
# Flags of cache_sam.py by the setting of the fingerprint that they set, with their defaults.
_FLAGS = {
    ('boundary', 'source'): ('--overlap-source', _DEFAULTS.overlap_source),
    ('boundary', 'rule'): ('--boundary', _DEFAULTS.boundary),
    ('boundary', 'thickness'): ('--boundary-thickness', _DEFAULTS.boundary_thickness),
    ('order',): ('--order', _DEFAULTS.order),
    ('generator', 'model'): ('--sam', 'vit_h'),
    ('generator', 'level'): ('--level', 'exact'),
}
_SETTINGS: dict[str, SamSettings | FelzenszwalbSettings | ImportSettings] = {
    'sam': SamSettings(),
    'adapted_sam': SamSettings(),
    'toy_sam': TOY_SETTINGS,
    'adapted_toy_sam': TOY_SETTINGS,
    'sam2': Sam2Settings(),
    'toy_sam2': Sam2Settings(),
    'felzenszwalb': FelzenszwalbSettings(),
    IMPORTED: ImportSettings(),
}
_SAM2 = 'sam2_l'  # the publishers' defaults were chosen for it
_FOLDER = 'FOLDER'  # of imported masks: a cache does not say where it was
_ADAPTER = ('--adapter', 'FILE')  # nor where the adapter was
_GENERATORS = {
    'felzenszwalb': ('--generator', 'felzenszwalb'),
    'adapted_sam': _ADAPTER,
    'toy_sam': ('--sam', 'toy'),
    'adapted_toy_sam': ('--sam', 'toy', *_ADAPTER),
    'toy_sam2': ('--sam', 'sam2_toy'),
}


def cache_command(dataset: Mapping[str, Any]) -> str:
    """The command that makes the cache of a data set; where several settings would do, with the first of them.

    Args:
        dataset: Config of a ``CatalogueDataset``, with ``cache`` and ``expect``.

    Returns:
        ``tools/cache_sam.py``, or ``tools/cache_truth.py`` where ToyPASS's own segments are expected, and flags.
    """
    expect = dataset['expect']
    generator = _first((expect.get('generator') or {}).get('name', 'sam'))
    if generator in ('truth', 'simulated'):
        words = ['tools/cache_truth.py', *_images(dataset, ('split', 'root')), *_windows(expect['grid'])]
        return shlex.join([*words, *_damage(expect['generator']), '--out', str(dataset['cache'])])
    words = ['tools/cache_sam.py', *_images(dataset, ('name', 'images', 'split', 'root', 'list_file'))]
    words += [
        *_source(expect.get('generator') or {}, generator),
        *_windows(expect['grid']),
        *_others(expect, generator),
    ]
    words += _generator_settings(expect.get('generator') or {}, generator)
    return shlex.join([*words, '--out', str(dataset['cache'])])


def _source(identity: Mapping[str, Any], generator: str) -> tuple[str, ...]:
    """The flags that choose what makes the masks, or made them."""
    if generator == IMPORTED:
        return '--import', _FOLDER, '--import-name', str(_first(identity.get('tool', 'TOOL')))
    return _GENERATORS.get(generator, ())


def _images(dataset: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    flags = {
        'name': '--dataset', 'images': '--images', 'split': '--split', 'root': '--data-root', 'list_file': '--list',
    }  # fmt: skip
    name = dataset.get('name')
    for key in keys:
        default = DATASETS[name].default_split if name and key == 'split' else None
        if dataset.get(key) and dataset[key] != default:
            yield from (flags[key], str(dataset[key]))
    yield from (f'--{name.replace("_", "-")}' for name in ('follow_links', 'skip_refused') if dataset.get(name))


def _windows(grid: Mapping[str, Any]) -> Iterator[str]:
    settings = WindowSettings.from_json(grid)
    (height, width), (rows, columns) = settings.window, settings.strides
    if settings.window != DEFAULT_WINDOWS.window:
        yield from ('--window', f'{height}x{width}')
    if (rows, columns) != (height, DEFAULT_WINDOWS.strides[1]):
        yield from ('--stride', str(columns) if rows == height else f'{rows}x{columns}')
    if settings.wrap:
        yield '--wrap'


def _others(expect: Mapping[str, Any], generator: str) -> Iterator[str]:
    for path, (flag, default) in _FLAGS.items():
        value: Any = expect
        for key in path:
            value = (value or {}).get(key)
        value = _first(value)
        if value is not None and value != default and (generator in ('sam', 'adapted_sam') or path[0] != 'generator'):
            yield from (flag, str(value))
    if generator == 'sam2':
        yield from ('--sam', str(_first((expect['generator']).get('model', _SAM2))))


def _generator_settings(identity: Mapping[str, Any], generator: str) -> Iterator[str]:
    """The generator's own settings, as far as they are known and not its defaults."""
    for name, default in asdict(_SETTINGS[generator]).items() if generator in _SETTINGS else ():
        value = identity.get(name, default)
        several = isinstance(default, tuple)
        value = _first(value) if not several or isinstance(_first(value), list | tuple) else value
        if isinstance(default, bool):
            if value != default:
                yield f'--{"" if value else "no-"}{name.replace("_", "-")}'
        elif value != (list(default) if several and isinstance(value, list) else default):
            words = value if several else [value]
            yield from ('--' + name.replace('_', '-'), *(str(word) for word in words))


def _damage(generator: Mapping[str, Any]) -> Iterator[str]:
    """The damage of simulated masks; other settings of their generator are no flags."""
    for name in ('merge', 'cut', 'rough', 'erode', 'drop', 'seed'):
        if name in generator:
            yield from (f'--{name}', str(_first(generator[name])))


def _first(value: Any) -> Any:
    """The first of several alternatives."""
    return value[0] if isinstance(value, list | tuple) else value
