"""Changes of a config that were typed on a command line: text -> values."""

from __future__ import annotations

import argparse
from typing import Any

from mmengine.config import Config, DictAction

from stage2_distill.errors import ConfigError


def apply_options(config: Config, options: dict[str, Any]) -> None:
    """Change a config.

    Args:
        config: Changed in place.
        options: Values by dotted keys; a value that is text is read as it would be on a command line.

    Raises:
        ConfigError: If a value can't be read.
    """
    config.merge_from_dict({key: read_value(key, value) for key, value in options.items()})


def read_value(key: str, value: Any) -> Any:
    """Return a value by the rules of MMEngine's ``DictAction``; what is no text already is returned as it is.

    Raises:
        ConfigError: If brackets have no partner.
    """
    if not isinstance(value, str):
        return value
    parsed = argparse.Namespace()
    try:
        DictAction(option_strings=['--cfg-options'], dest='options')(
            argparse.ArgumentParser(), parsed, [f'{key}={value}']
        )
    except AssertionError as problem:
        raise ConfigError(f'{key}={value} cannot be read: {problem}') from problem
    return parsed.options[key]
