"""Checkpoints are data: nothing in one may run code.

A checkpoint is a pickle, and unpickling can run anything. MMEngine asks PyTorch to load weights only, but where that
fails it loads the file without restriction, and what it lets through includes ``getattr``. ``use_safe_loaders`` gives
MMEngine loaders of files and addresses that let through less and refuse damaged files, wherever a config names one.
``check_checkpoint`` does the same before anything is built.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner.checkpoint import CheckpointLoader

from stage1_sam_cache.system.torch_files import find_damage
from stage2_distill.checkpoints.safetensors_files import SUFFIX, load_safetensors
from stage2_distill.checkpoints.shipped_weights import locate
from stage2_distill.errors import CheckpointError

_SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'  # PyTorch's own; it overrides weights_only=False
_OPPOSITE = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_WEB = ('http://', 'https://')
_ADDRESS = re.compile(r'^[a-z0-9-]{2,}:')  # a scheme, and not a Windows drive
_PUBLISHED = re.compile(r'_\d{8}(?:_\d{6})?-([0-9a-f]{8})\.pth$')  # as OpenMMLab names files, by date and SHA-256


def use_safe_loaders(trusted: bool = False) -> None:
    """Forbid checkpoints that hold more than tensors and plain values, in this process and its children.

    It changes the process: PyTorch's switch in the environment, and MMEngine's loaders of plain files and of http
    addresses. Whatever loads checkpoints calls it first; importing this package does not.

    Args:
        trusted: The user vouches for every checkpoint; then nothing is forbidden.
    """
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(_WEB, load_from_http, force=True)
    os.environ.pop(_OPPOSITE, None)  # PyTorch raises if both are set
    os.environ[_SWITCH] = '0' if trusted else '1'
    if not trusted:
        # Numbers in MMEngine's log history have more types than those it allows itself.
        torch.serialization.add_safe_globals(_number_types())


def check_checkpoint(path: str, trusted: bool = False) -> dict[str, Any]:
    """Load a checkpoint file to the CPU, or say why it can't be used. Addresses are left to MMEngine.

    Args:
        path: A file, weights of the package (``goodsam://``), or an address that MMEngine knows.
        trusted: Let the file run code.

    Returns:
        The checkpoint; empty for an address.

    Raises:
        CheckpointError: If the file is missing, is no checkpoint, is damaged, or asks to run code.
    """
    path = locate(path)
    return {} if _is_address(path) else _load(path, trusted)


def load_from_local(filename: str, map_location: Any = None, logger: Any = 'current') -> dict[str, Any]:
    """Load a file, as MMEngine's loaders do; trusted only where ``use_safe_loaders`` was told so.

    Raises:
        CheckpointError: As ``check_checkpoint``.
    """
    return _load(os.path.expanduser(filename), os.environ.get(_SWITCH) == '0', map_location)  # noqa: PTH111


def load_from_http(filename: str, map_location: Any = None, logger: Any = 'current') -> dict[str, Any]:
    """Load what is at an address, as MMEngine's loaders do: fetched once, by the first process.

    Raises:
        CheckpointError: If it can't be fetched, and as ``check_checkpoint``.
    """
    rank, processes = get_dist_info()
    path = _fetch(filename) if rank == 0 else None
    if processes > 1:
        torch.distributed.barrier()
    return load_from_local(path or _fetch(filename), map_location)


def _fetch(address: str) -> str:
    """Fetch an address into PyTorch's folder of checkpoints, unless it is there; return the file."""
    path = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(address).path).name)
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(path))
        except OSError as problem:
            raise CheckpointError(
                f'checkpoint {address} cannot be fetched ({getattr(problem, "reason", None) or problem})',
                f'fetch it elsewhere and put it at {path}',
            ) from problem
    return str(path)


def _is_address(path: str) -> bool:
    return bool(_ADDRESS.match(path)) and not Path(path).is_file()


def _load(path: str, trusted: bool, map_location: Any = 'cpu') -> dict[str, Any]:
    """Load a file, or say why it can't be used."""
    if not Path(path).is_file():
        raise CheckpointError(f'checkpoint {path} does not exist', 'give a file that training has written')
    if Path(path).suffix == SUFFIX:
        return load_safetensors(path, map_location)
    damage = find_damage(Path(path))
    if damage:
        raise CheckpointError(f'checkpoint {path} is damaged ({damage})')
    named = _PUBLISHED.search(path)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest() if named else ''
    if named and not digest.startswith(named[1]):
        # A warning, because some files were published with the digest of the file they were converted from.
        print_log(
            f'checkpoint {path} has the SHA-256 {digest[:8]}..., its name says {named[1]}: it may be damaged',
            'current',
            logging.WARNING,
        )
    try:
        # Not within the context, whose end would also remove what use_safe_loaders has added.
        torch.serialization.add_safe_globals(_number_types())
        with torch.serialization.safe_globals(_history_types()), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # PyTorch's about odd files, for which one line is raised here
            checkpoint = torch.load(path, map_location=map_location, weights_only=not trusted)
    except UnpicklingError as problem:
        remedy = 'if you trust where it comes from, add --trust-checkpoint, which lets it run code'
        raise CheckpointError(
            f'checkpoint {path} is damaged or holds more than weights ({_reason(problem)})', '' if trusted else remedy
        ) from problem
    except Exception as problem:  # damaged files make PyTorch raise almost anything
        raise CheckpointError(f'checkpoint {path} is damaged or no checkpoint ({_reason(problem)})') from problem
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'checkpoint {path} holds a {type(checkpoint).__name__}, not the weights of a model')
    weights, meta = checkpoint.get('state_dict', {}), checkpoint.get('meta') or {}
    parts = {'content': checkpoint, 'state_dict': weights, 'meta': meta}
    for name, part in parts.items():
        if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
            raise CheckpointError(f'checkpoint {path} is damaged or no checkpoint (its {name} is no dict of names)')
    return checkpoint


def check_resumable(checkpoint: dict[str, Any], path: str) -> None:
    """Check that a checkpoint has all that resuming needs beside the weights.

    Raises:
        CheckpointError: If not, as with exported or published weights.
    """
    parts = {name: checkpoint.get(name) for name in ('meta', 'message_hub', 'param_schedulers', 'optimizer')}
    meta = parts['meta'] if isinstance(parts['meta'], dict) else {}
    missing = [f'meta.{name}' for name in ('epoch', 'iter') if not isinstance(meta.get(name), int)]
    missing += [name for name, part in parts.items() if not isinstance(part, (dict, list))]
    if missing:
        raise CheckpointError(f'checkpoint {path} holds no {missing[-1]}, so training cannot go on from it')


def check_fit(model: torch.nn.Module, path: str, trusted: bool = False) -> None:
    """Check that a checkpoint has every weight of a model; MMEngine only warns and leaves the others untrained.

    Args:
        model: The model, not wrapped for distribution; its method ``complete``, if it has one, adds the weights that it
            derives from others when it loads.
        path: As ``check_checkpoint``; an address is fetched unless it was before.
        trusted: Let the file run code.

    Raises:
        CheckpointError: If weights are missing or have other shapes.
    """
    if path.startswith(_WEB):
        checkpoint = load_from_http(path, 'cpu')
    elif _is_address(locate(path)):
        checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu')
    else:
        checkpoint = check_checkpoint(path, trusted)
    weights = checkpoint.get('state_dict', checkpoint)
    weights = {name.removeprefix('module.'): value for name, value in weights.items()}
    complete = getattr(model, 'complete', None)
    if complete is not None:
        weights = complete(weights)
    needed = model.state_dict()
    bad = misfits(needed, weights)
    if bad:
        raise CheckpointError(
            f'checkpoint {path} does not fit the model: {len(bad)} of {len(needed)} weights are missing or have '
            f'another shape, such as {bad[0]}',
            'give the config that it was trained with',
        )


def misfits(needed: dict[str, torch.Tensor], weights: dict[str, Any]) -> list[str]:
    """Names of a model's weights for which a checkpoint has no dense tensor of that shape and kind."""

    def fits(weight: torch.Tensor, value: Any) -> bool:
        return (
            isinstance(value, torch.Tensor)
            and value.shape == weight.shape
            and value.is_floating_point() == weight.is_floating_point()
            and value.layout is torch.strided
            and not value.is_meta
        )

    return [name for name, weight in needed.items() if not fits(weight, weights.get(name))]


def _reason(problem: Exception) -> str:
    """The gist of PyTorch's long explanations."""
    text = ' '.join(str(problem).split())
    gist = re.search(r'GLOBAL \S+|got <class [^>]+>|Unsupported operand \d+', text)
    return gist.group() if gist else text[:80] or type(problem).__name__


def _number_types() -> list[Any]:
    """NumPy's numbers and arrays."""
    dtypes = [getattr(np.dtypes, name) for name in np.dtypes.__all__ if re.match(r'(U?Int|Float|Bool)\w*DType', name)]
    # The functions that pickle calls to make a number and an array; NumPy has no public name for them.
    makers = [np.float32(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
    return [np.ndarray, np.dtype, *makers, *dtypes]


def _history_types() -> list[Any]:
    """MMEngine's log history, which names its own methods with ``getattr``."""
    return [HistoryBuffer, (_history_method, 'builtins.getattr')]


def _history_method(owner: type, name: str) -> Any:
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'GLOBAL getattr({owner}, {name})')
    return getattr(HistoryBuffer, name)
