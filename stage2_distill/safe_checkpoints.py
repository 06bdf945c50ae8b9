"""Checkpoints are data: nothing in one may run code.

A checkpoint is a pickle, and unpickling can run anything. MMEngine asks PyTorch to load weights only, but where that
fails it loads the file without restriction; ``load_weights_only`` closes that way for every loader in the process. And
what it lets through includes ``getattr``, so ``check_checkpoint`` goes over a file first with a narrower list.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from stage2_distill.errors import CheckpointError
from stage2_distill.safetensors_files import SUFFIX, load_safetensors

_SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'  # PyTorch's own; it wins over weights_only=False
_ADDRESS = re.compile(r'^[a-z0-9-]{2,}:')  # a scheme, and not a Windows drive


def load_weights_only(trusted: bool = False) -> None:
    """Forbids, in this process and its children, checkpoints that hold more than tensors and plain values.

    Args:
        trusted: The user vouches for every checkpoint; then nothing is forbidden.
    """
    if trusted:
        os.environ.pop(_SWITCH, None)
        return
    os.environ[_SWITCH] = '1'
    # Numbers in MMEngine's log history have more types than those it allows itself.
    torch.serialization.add_safe_globals(_number_types())


def check_checkpoint(path: str, trusted: bool = False) -> dict[str, Any]:
    """Loads a checkpoint file to the CPU, or says why it can't be used. Addresses are left to MMEngine.

    Args:
        path: A file, or an address that MMEngine knows.
        trusted: Let the file run code.

    Returns:
        The checkpoint; empty for an address.

    Raises:
        CheckpointError: If the file is missing, is no checkpoint, is damaged, or asks to run code.
    """
    if _ADDRESS.match(path):
        return {}
    if not Path(path).is_file():
        raise CheckpointError(f'checkpoint {path} does not exist; give a file that training has written')
    if Path(path).suffix == SUFFIX:
        return load_safetensors(path)
    try:
        # Not within the context, whose end would also take away what load_weights_only has added.
        torch.serialization.add_safe_globals(_number_types())
        with torch.serialization.safe_globals(_history_types()):
            found = torch.load(path, map_location='cpu', weights_only=not trusted)
    except UnpicklingError as problem:
        raise CheckpointError(
            f'checkpoint {path} is damaged or holds more than weights ({_reason(problem)}); if you trust where it '
            'comes from, add --trust-checkpoint, which lets it run code'
        ) from problem
    except Exception as problem:  # damaged files make PyTorch raise almost anything
        raise CheckpointError(f'checkpoint {path} is damaged or no checkpoint ({_reason(problem)})') from problem
    if not isinstance(found, dict):
        raise CheckpointError(f'checkpoint {path} holds a {type(found).__name__}, not the weights of a model')
    return found


def check_fit(model: torch.nn.Module, path: str, trusted: bool = False) -> None:
    """Makes sure that a checkpoint file has every weight of a model; MMEngine only warns and leaves the rest untrained.

    Args:
        model: The model, not wrapped for distribution.
        path: A checkpoint that ``check_checkpoint`` has passed, or an address.
        trusted: Let the file run code.

    Raises:
        CheckpointError: If weights are missing or have other shapes.
    """
    # What is at an address was fetched when the model was built, and lies on disk.
    found = CheckpointLoader.load_checkpoint(path, 'cpu') if _ADDRESS.match(path) else check_checkpoint(path, trusted)
    found = found.get('state_dict', found)
    shapes = {name.removeprefix('module.'): getattr(value, 'shape', None) for name, value in found.items()}
    wanted = model.state_dict()
    bad = [name for name, weight in wanted.items() if shapes.get(name) != weight.shape]
    if bad:
        raise CheckpointError(
            f'checkpoint {path} does not fit the model: {len(bad)} of {len(wanted)} weights are missing or have '
            f'another shape, such as {bad[0]}; give the config that it was trained with'
        )


def _reason(problem: Exception) -> str:
    """The gist of PyTorch's long explanations."""
    text = ' '.join(str(problem).split())
    found = re.search(r'GLOBAL \S+|got <class [^>]+>|Unsupported operand \d+', text)
    return found.group() if found else text[:80] or type(problem).__name__


def _number_types() -> list[Any]:
    """NumPy's numbers and arrays."""
    dtypes = [getattr(np.dtypes, name) for name in np.dtypes.__all__ if re.match(r'(U?Int|Float|Bool)\w*DType', name)]
    # What pickle calls to make a number and an array; NumPy has no public name for them.
    makers = [np.float32(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
    return [np.ndarray, np.dtype, *makers, *dtypes]


def _history_types() -> list[Any]:
    """MMEngine's log history, which names its own methods with ``getattr``."""
    return [HistoryBuffer, (_history_method, 'builtins.getattr')]


def _history_method(owner: type, name: str) -> Any:
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'GLOBAL getattr({owner}, {name})')
    return getattr(HistoryBuffer, name)
