"""Misspelt keys of a config, which MMEngine would accept and never read.

A config file may define any names, as helpers of its own, so a name at its top is only warned of where it looks like
one that is read. The command line changes a config after its file was read, so a key that only the file uses, or that
nothing uses, or that looks like a known key, is refused there.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import LOOPS, OPTIMIZERS, Registry
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmseg import registry

from stage1_sam_cache.system.nearest import nearest
from stage2_distill.errors import ConfigError
from stage2_distill.training.rate_schedule import whole_number

# What is read of a config beside the arguments of MMEngine's runner: by MMEngine, and by this project.
_READ = (
    *('runner_type', 'custom_imports', 'model_wrapper_cfg', 'sync_bn', 'work_dir', 'find_unused_parameters'),
    *('compile', 'activation_checkpointing', 'efficient_conv_bn_eval'),
    *('expected_cache', 'store_lessons', 'lessons_dir', 'trust_checkpoint'),
)
KNOWN = frozenset(_READ) | frozenset(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
_FREE = ('custom_keys', 'label_ids')  # dictionaries whose keys are no settings
_LIKENESS = 0.88  # of a file's own names: train_config and train_loader may be meant


def misspelt(config: Config) -> list[str]:
    """Return a line for each name at the top of a config that nothing reads and that looks like one that is read."""
    return [
        f'{config.filename}: nothing reads {key}; was {near[0]} meant?'
        for key in config
        if key not in KNOWN and (near := nearest(key, KNOWN, likeness=_LIKENESS))
    ]


def check_options(config: Config, options: Iterable[str]) -> None:
    """Check the dotted keys of a command line against a config that they will change.

    Raises:
        ConfigError: If nothing reads a key, or a new one looks like one that is there.
    """
    for option in options:
        top = option.partition('.')[0]
        if top not in KNOWN:
            what = (
                'is a variable of the config file, and nothing reads it later'
                if top in config
                else 'is read by nothing'
            )
            near = _paths_to(config, top) or nearest(top, KNOWN, likeness=0.6)
            raise ConfigError(f'--cfg-options {option}: {top} {what}', f'was {near[0]} meant?' if near else '')
        _check_path(config, option)


def _paths_to(config: Config, key: str) -> list[str]:
    """Return the dotted keys of a config that end with a key, those on top first."""
    found, places = [], [(name, config[name]) for name in config if name in KNOWN]
    for path, value in places:  # which grows meanwhile
        if isinstance(value, Mapping):
            found += [f'{path}.{key}'] if key in value else []
            places += [(f'{path}.{name}', inner) for name, inner in value.items()]
    return found


def _check_path(config: Config, option: str) -> None:
    """Check the first part of a dotted key that the config does not have."""
    parts = option.split('.')
    node: Any = config
    depth = 0
    while depth < len(parts):
        part = parts[depth]
        if isinstance(node, (list, tuple)) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, (Config, Mapping)) and part in node:
            node = node[part]
        else:
            break
        depth += 1
    if depth < len(parts) and isinstance(node, (list, tuple)):
        place, rest = '.'.join(parts[:depth]), '.'.join(parts[depth:])
        raise ConfigError(
            f'--cfg-options {option}: {place} is a list of {len(node)}, and {parts[depth]} no place in it',
            f'number the places from 0, such as {place}.0.{rest}' if node and not parts[depth].isdecimal() else '',
        )
    if depth in (0, len(parts)) or not isinstance(node, Mapping) or parts[depth - 1] in _FREE:
        return
    accepted, _ = _arguments(config, node.get('type'))
    if part in accepted or part == '_delete_':
        return
    near = nearest(part, [*node, *accepted])
    if near:
        place = '.'.join(parts[:depth])
        raise ConfigError(f'--cfg-options {option}: {place} has no {part}', f'was {near[0]} meant?')


def check_loops(config: Config) -> None:
    """Check ``train_cfg``, ``val_cfg`` and ``test_cfg``, whose loops are built when the networks are there already.

    Raises:
        ConfigError: If one has a key that its loop does not take, or an interval that is not a whole number.
    """
    if config.get('val_cfg'):
        whole_number((config.get('train_cfg') or {}).get('val_interval'), 'train_cfg.val_interval')
    for name in ('train_cfg', 'val_cfg', 'test_cfg'):
        settings = config.get(name)
        if not isinstance(settings, Mapping) or not settings.get('type'):
            continue
        accepted, closed = _arguments(config, settings['type'], (LOOPS,))
        unknown = [key for key in settings if key not in {*accepted, 'type', '_scope_'}]
        if closed and unknown:
            near = nearest(unknown[0], accepted, likeness=0.6)
            raise ConfigError(
                f'{name} has {unknown[0]}, which {settings["type"]} does not take',
                f'was {near[0]} meant?' if near else '',
            )


def check_loaders(config: Config, loaders: Iterable[str]) -> None:
    """Check and convert the numbers of each loader, which PyTorch would fail at later, without their names.

    Raises:
        ConfigError: If one is not a whole number, or too small.
    """
    for loader in loaders:
        settings = config.get(loader) or {}
        for name, least in (('batch_size', 1), ('num_workers', 0)):
            if name in settings:
                settings[name] = whole_number(settings[name], f'{loader}.{name}', least)


def check_optimizers(config: Config) -> None:
    """Check the ``type`` of each optimizer, of which MMEngine would only say that None can't be called.

    Raises:
        ConfigError: If there is no such optimizer.
    """
    wrapper = config.get('optim_wrapper') or {}
    for part in [wrapper] if 'optimizer' in wrapper else wrapper.values():
        kind = (part.get('optimizer') or {}).get('type') if isinstance(part, Mapping) else None
        if isinstance(kind, str) and registry.OPTIMIZERS.get(kind) is None:
            near = nearest(kind, OPTIMIZERS.module_dict, likeness=0.6)
            raise ConfigError(f'there is no optimizer {kind}', f'was {near[0]} meant?' if near else '')


def _arguments(config: Config, kind: Any, registries: Iterable[Registry] | None = None) -> tuple[set[str], bool]:
    """Return the arguments of what a ``type`` names, and whether there can be no others; none if it is not known."""
    if isinstance(kind, str):
        imports = config.get('custom_imports')
        if imports:
            import_modules_from_strings(**imports)
        if registries is None:
            registries = [value for value in vars(registry).values() if isinstance(value, Registry)]
        kind = next(filter(None, (known.module_dict.get(kind) or known.get(kind) for known in registries)), None)
    if kind is None:
        return set(), False
    if not inspect.isclass(kind):
        parameters = inspect.signature(kind).parameters.values()
        return {each.name for each in parameters}, all(each.kind != each.VAR_KEYWORD for each in parameters)
    names: set[str] = set()
    for base in kind.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = inspect.signature(vars(base)['__init__']).parameters.values()
        names |= {each.name for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
        if all(each.kind != each.VAR_KEYWORD for each in parameters):
            return names - {'self', 'runner', 'dataloader'}, True
    return names - {'self', 'runner', 'dataloader'}, False
