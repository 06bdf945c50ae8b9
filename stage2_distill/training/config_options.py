"""Changes of a config that were typed on a command line: text -> values.

Values are read by the rules of MMEngine's ``DictAction``: numbers, true and false, lists. But a folder may be called
``20240501`` or ``Berlin, Mitte``, so a key that takes text gets the text exactly as it was typed. ``None`` is None for
every key; a folder of that name is ``./None``.
"""

from __future__ import annotations

import argparse
from functools import reduce
from typing import Any

from mmengine.config import Config, DictAction

from stage2_distill.errors import ConfigError
from stage2_distill.training.documented_types import item_of, takes_text

_SWITCHES = ('yes', 'no', 'on', 'off')  # as YAML has them; as text each would count as True


def apply_options(config: Config, options: dict[str, Any]) -> None:
    """Change a config.

    Args:
        config: Changed in place.
        options: Values by dotted keys; a value that is text is read as it would be on a command line.

    Raises:
        ConfigError: If a value can't be read.
    """
    config.merge_from_dict({key: read_value(config, key, value) for key, value in options.items()})


def read_value(config: Config, key: str, value: Any) -> Any:
    """Return what was typed for a key as the config takes it; what is no text is returned as it is.

    Raises:
        ConfigError: If brackets of a list have no partner, a switch is neither on nor off, or there is no value, as
            from a variable that is not set.
    """
    if value == '':
        raise ConfigError(f'--cfg-options {key}= has no value', f'none is {key}=None')
    if not isinstance(value, str) or value == 'None':
        return None if value == 'None' else value
    try:
        parsed = _by_dict_action(key, value)
    except AssertionError as problem:
        if takes_text(config, key):
            return value
        raise ConfigError(f'{key}={value} cannot be read: {problem}') from problem
    except RecursionError as problem:  # of DictAction, which knows lists but no dictionaries
        raise ConfigError(
            f'--cfg-options {key}={value} cannot be read', f'give the keys of a dictionary one by one: {key}.NAME=VALUE'
        ) from problem
    if takes_text(config, key):
        return value
    is_switch = isinstance(reduce(item_of, key.split('.'), config), bool)
    if isinstance(parsed, str) and (is_switch or parsed.casefold() in _SWITCHES):
        raise ConfigError(f'{key}={value} is neither True nor False')
    return parsed


def _by_dict_action(key: str, value: str) -> Any:
    """Read a value by the rules of ``DictAction``, which asserts that brackets have partners."""
    action, read = DictAction(option_strings=['--cfg-options'], dest='options'), argparse.Namespace()
    action(argparse.ArgumentParser(), read, [f'{key}={value}'])
    return read.options[key]
