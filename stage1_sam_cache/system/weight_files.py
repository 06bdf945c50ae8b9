"""Files of weights as others write them: read without running code in them, and searched for a network's tensors.

A training run saves more than weights: its arguments, scores, the state of its optimizer, a teacher or an average of
the network. Plain values load; anything that could run code is refused unless the user vouches for the file.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import re
import types
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.torch_version import TorchVersion

# Where files keep the network that was trained, by its key or the prefix of its names; not an average, not a teacher.
MAIN = ('state_dict', 'model_state_dict', 'model', 'module', '_orig_mod', 'net', 'network', 'weights', 'sam')
_BEGINNINGS = (b'P', b'\x80')  # of files that torch.save writes: a zip, formerly a pickle
_DEPTH = 3  # of dictionaries in which weights are looked for
_LONGEST = 64  # parts of a name


class UnreadableFileError(Exception):
    """A file that can't be read; ``trusting`` tells whether it may be one that asks to run code."""

    def __init__(self, reason: str, trusting: bool) -> None:
        super().__init__(reason)
        self.trusting = trusting


class WeightSet(NamedTuple):
    """Tensors that belong together.

    Attributes:
        place: Keys and prefix under which the file has them, such as ``model`` or ``state_dict.teacher``; may be empty.
        weights: By name.
    """

    place: str
    weights: dict[str, torch.Tensor]

    @property
    def is_main(self) -> bool:
        """Whether the place says that this is the trained network."""
        return all(part in MAIN for part in self.place.split('.') if part)


def plain_types() -> list[Any]:
    """Types of plain values that PyTorch does not allow by itself: NumPy's numbers, dates, paths, arguments of a run.

    Making one, whatever the values, runs no code but its own constructor.
    """
    dtypes = [getattr(np.dtypes, name) for name in np.dtypes.__all__ if re.match(r'(U?Int|Float|Bool)\w*DType', name)]
    values = [argparse.Namespace, types.SimpleNamespace, TorchVersion]
    dates = [datetime.datetime, datetime.date, datetime.timedelta, datetime.timezone]
    return [np.ndarray, np.dtype, *dtypes, *values, *dates, *_by_any_name()]


def _by_any_name() -> Iterator[tuple[Any, str]]:
    """What other versions of NumPy and Python, or Windows, have under other names."""
    # The functions that pickle calls to make a number and an array; NumPy has no public name for them.
    makers: list[Any] = [np.float32(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
    for maker in makers:
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
            yield maker, f'{module}.{maker.__name__}'
    for module in ('pathlib', 'pathlib._local'):
        for name in ('PosixPath', 'PurePosixPath', 'WindowsPath', 'PureWindowsPath'):
            yield pathlib.PureWindowsPath if 'Windows' in name else pathlib.PurePosixPath, f'{module}.{name}'


def read_weights_only(path: Path, map_location: Any = 'cpu', trusted: bool = False, more: Sequence[Any] = ()) -> Any:
    """Read a file that ``torch.save`` wrote.

    Args:
        path: The file; ``find_damage`` finds what this does not.
        map_location: As ``torch.load``.
        trusted: Let the file run code.
        more: Types, or pairs of an object and its full name, that are allowed beside ``plain_types``.

    Raises:
        UnreadableFileError: If it is damaged, is no such file, or asks to run code and is not trusted.
    """
    try:
        # Not within the context, whose end would also remove what others have added.
        torch.serialization.add_safe_globals(plain_types())
        with torch.serialization.safe_globals(list(more)), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # PyTorch's about odd files; the caller says it in one line
            return torch.load(path, map_location=map_location, weights_only=not trusted)
    except UnpicklingError as problem:
        with path.open('rb') as file:
            can_run_code = file.read(1) in _BEGINNINGS
        raise UnreadableFileError(_gist(problem), can_run_code and not trusted) from problem
    except (OSError, RuntimeError) as problem:
        raise UnreadableFileError(_gist(problem), False) from problem
    except Exception as problem:  # of other files PyTorch raises almost anything, such as KeyError(101)
        raise UnreadableFileError('it is not what PyTorch writes', False) from problem


def weight_sets(content: Any) -> list[WeightSet]:
    """All sets of tensors in what a file holds: without a key first, then by ``MAIN``, then the others."""
    found = list(_search(content, (), _DEPTH))

    def rank(one: WeightSet) -> list[int]:
        return [MAIN.index(part) if part in MAIN else len(MAIN) for part in one.place.split('.') if part]

    return sorted(found, key=rank)


def _search(content: Any, place: tuple[str, ...], depth: int) -> Iterator[WeightSet]:
    if isinstance(content, torch.nn.Module):
        content = content.state_dict()
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        return
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if tensors:
        yield WeightSet('.'.join(place), tensors)
    for name, value in content.items():
        if depth and name not in tensors:
            yield from _search(value, (*place, name), depth - 1)


def sets_for(content: Any, needed: Collection[str]) -> list[WeightSet]:
    """The sets that have weights of these names below any prefix, without it: most names first, then ``MAIN`` first."""
    found, wanted = [], set(needed)
    for one in weight_sets(content):
        votes: Counter[str] = Counter()
        for name in one.weights:
            parts = name.split('.', _LONGEST)
            votes.update('.'.join(parts[:i]) for i in range(len(parts)) if '.'.join(parts[i:]) in wanted)
        for prefix in votes:
            start = f'{prefix}.' if prefix else ''
            weights = {name.removeprefix(start): value for name, value in one.weights.items() if name.startswith(start)}
            found.append(WeightSet('.'.join(filter(None, (one.place, prefix))), weights))
    return sorted(found, key=lambda one: (-len(wanted & one.weights.keys()), not one.is_main))


def missing_from(weights: Mapping[str, Any], needed: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of a network's weights for which there is no dense tensor of that shape and kind.

    Batch normalisation's count of batches is not needed: PyTorch begins it anew where old files lack it.
    """

    def fits(weight: torch.Tensor, value: Any) -> bool:
        return (
            isinstance(value, torch.Tensor)
            and value.shape == weight.shape
            and value.is_floating_point() == weight.is_floating_point()
            and value.layout is torch.strided
            and not value.is_meta
        )

    return [
        name
        for name, weight in needed.items()
        if not fits(weight, weights.get(name)) and not (name.endswith('num_batches_tracked') and name not in weights)
    ]


def _gist(problem: Exception) -> str:
    """The gist of PyTorch's long explanations."""
    text = ' '.join(str(problem).split())
    gist = re.search(r'GLOBAL \S+|got <class [^>]+>|Unsupported operand \d+', text)
    return gist.group() if gist else text[:80] or type(problem).__name__
