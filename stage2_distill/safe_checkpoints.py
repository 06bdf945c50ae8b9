"""Checkpoints are data: nothing in one may run code.

A checkpoint is a pickle, and unpickling can run anything. MMEngine asks PyTorch to load weights only, but where that
fails it loads the file without restriction. ``load_weights_only`` takes that second way out, for every loader in the
process.
"""

from __future__ import annotations

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from stage2_distill.errors import CheckpointError

_SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'  # PyTorch's own; it wins over weights_only=False
_REMOTE = ('http://', 'https://', 'modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 's3:', 'local://')


def load_weights_only(trusted: bool = False) -> None:
    """Forbids, in this process and its children, checkpoints that hold more than tensors and plain values.

    Args:
        trusted: The user vouches for every checkpoint; then nothing is forbidden.
    """
    if trusted:
        os.environ.pop(_SWITCH, None)
    else:
        os.environ[_SWITCH] = '1'


def check_checkpoint(path: str) -> dict[str, Any]:
    """Loads a checkpoint file to the CPU, or says why it can't be used. Addresses are left to MMEngine.

    Args:
        path: A file, or an address that MMEngine knows.

    Returns:
        The checkpoint; empty for an address.

    Raises:
        CheckpointError: If the file is missing, is no checkpoint, is damaged, or asks to run code.
    """
    if path.startswith(_REMOTE):
        return {}
    if not Path(path).is_file():
        raise CheckpointError(f'checkpoint {path} does not exist; give a file that training has written')
    try:
        found = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except UnpicklingError as problem:
        first = str(problem).strip().splitlines()[0]
        raise CheckpointError(
            f'checkpoint {path} is damaged or holds more than weights ({first}); if you trust where it comes from, '
            'add --trust-checkpoint, which lets it run code'
        ) from problem
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as problem:
        first = (str(problem).strip().splitlines() or ['no reason given'])[0]
        raise CheckpointError(f'checkpoint {path} is damaged or no checkpoint ({first})') from problem
    if not isinstance(found, dict):
        raise CheckpointError(f'checkpoint {path} holds a {type(found).__name__}, not the weights of a model')
    return found
