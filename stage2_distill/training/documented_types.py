"""Which keys of a config take text: the component that a key is an argument of says so."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import mmseg.registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner

_TEXT = {'str', 'Path', 'PathLike'}
_NOT_A_TYPE = {'None', 'NoneType', 'Optional', 'Union', 'optional', 'or', 'obj', 'typing', 'pathlib', 'os'}
_LOOKS_LIKE_A_PATH = re.compile(r'[/\\]|\.\w+$')


def takes_text(config: Any, key: str) -> bool:
    """Tell whether a key takes text and nothing else.

    The annotation of the component's argument decides, or else its docstring. Where neither says a type, a key whose
    value in the config looks like the path of a file takes text.

    Args:
        config: A config, or any nested dicts and lists; a dict with ``type`` is a registered component, and the
            outermost holds the arguments of MMEngine's runner.
        key: Dotted names; an item of a list is named by its number.
    """
    *parents, name = key.split('.')
    holder = config
    for parent in parents:
        holder = item_of(holder, parent)
    if not isinstance(holder, dict | Config):
        return False
    types = [kind for component in _components(holder, outermost=not parents) for kind in _types(component, name)]
    if types:
        return set(types) <= _TEXT
    present = holder.get(name)
    return isinstance(present, str) and bool(_LOOKS_LIKE_A_PATH.search(present))


def item_of(holder: Any, name: str) -> Any:
    """Return an item of a dict, a list or a config, None if there is none."""
    if isinstance(holder, list | tuple):
        return holder[int(name)] if name.isdecimal() and int(name) < len(holder) else None
    return holder.get(name) if isinstance(holder, dict | Config) else None


def _components(holder: dict[str, Any] | Config, outermost: bool) -> Iterator[Any]:
    """Find the classes or functions that get a dict's items as arguments."""
    kind = holder.get('runner_type' if outermost else 'type')
    if outermost:
        yield Runner
    if isinstance(kind, str):
        registries = [item for item in vars(mmseg.registry).values() if isinstance(item, Registry)]
        yield from {found for found in (registry.get(kind) for registry in registries) if found is not None}
    elif kind is not None:
        yield kind


def _types(component: Any, name: str) -> set[str]:
    """Return the names of the types that an argument can have, without None; empty if nothing says them."""
    for part in inspect.getmro(component) if inspect.isclass(component) else [component]:
        function = vars(part).get('__init__') if inspect.isclass(part) else part
        said: Any = ''
        if inspect.isfunction(function) and name in inspect.signature(function).parameters:
            said = inspect.signature(function).parameters[name].annotation
            said = '' if said is inspect.Parameter.empty else said
        if said == '':
            docstrings = '\n'.join(inspect.cleandoc(item.__doc__ or '') for item in (part, function) if item)
            written = re.search(rf'^\s+{re.escape(name)} \(([^)]*)\)', docstrings, re.M)
            said = written[1] if written else ''
        words = re.findall(r'[A-Za-z]\w*', said.__name__ if isinstance(said, type) else str(said))
        if words:
            return {word for word in words if word not in _NOT_A_TYPE} or {'Any'}
    return set()
