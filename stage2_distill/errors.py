"""User errors of stage 2; every command line prints them as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stage1_sam_cache.errors import GoodSAMError


class Stage2Error(GoodSAMError):
    """Base class of what stage 2 raises."""


class ConfigError(Stage2Error):
    """A config file that can't be read, or that asks for something that does not exist."""


class CheckpointError(Stage2Error):
    """A checkpoint that is missing, damaged, or holds more than weights and plain values."""


class TrainingError(Stage2Error):
    """A training run that can't go on, because a loss is not finite for example."""


class NotFiniteError(Stage2Error):
    """A network's output is NaN or infinite."""


@contextmanager
def building() -> Iterator[None]:
    """Raise what a wrong setting makes of the libraries that build the parts of a config as ``ConfigError``."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AssertionError, ImportError) as problem:
        raise ConfigError(f'the config cannot be built: {type(problem).__name__}: {problem}') from problem
