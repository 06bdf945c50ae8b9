"""Checkpoints are data: nothing in one may run code.

A checkpoint is a pickle, and unpickling can run anything. MMEngine asks PyTorch to load weights only, but where that
fails it loads the file without restriction, and what it lets through includes ``getattr``. ``use_safe_loaders`` gives
MMEngine loaders of files and addresses that let through less and refuse damaged files, wherever a config names one.
``check_checkpoint`` does the same before anything is built.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import get_dist_info
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner.checkpoint import CheckpointLoader

from stage1_sam_cache.system.digests import sha256_of
from stage1_sam_cache.system.torch_files import find_damage
from stage1_sam_cache.system.weight_files import UnreadableFileError, plain_types, read_weights_only, weight_sets
from stage1_sam_cache.system.weight_sources import NotFoundError, find_file
from stage2_distill.checkpoints.foreign_segformers import as_mmseg
from stage2_distill.checkpoints.hub_files import SCHEME as HUB
from stage2_distill.checkpoints.hub_files import WEIGHTS, find_in_hub, weights_in_folder
from stage2_distill.checkpoints.safetensors_files import SUFFIX, load_safetensors
from stage2_distill.checkpoints.shipped_weights import locate
from stage2_distill.errors import CheckpointError

_SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'  # PyTorch's own; it overrides weights_only=False
_OPPOSITE = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_WEB = ('http://', 'https://')
_ADDRESS = re.compile(r'^[a-z0-9-]{2,}:')  # a scheme, and not a Windows drive
_WRAPPERS = ('module.', '_orig_mod.', 'model.')  # of distribution, compilation, Lightning
_PUBLISHED = re.compile(r'_\d{8}(?:_\d{6})?-([0-9a-f]{8})\.pth$')  # as OpenMMLab names files, by date and SHA-256


def use_safe_loaders(trusted: bool = False) -> None:
    """Forbid checkpoints that hold more than tensors and plain values, in this process and its children.

    It changes the process: PyTorch's switch in the environment, and MMEngine's loaders of plain files and of http
    addresses. Whatever loads checkpoints calls it first; importing this package does not.

    Args:
        trusted: The user vouches for every checkpoint; then nothing is forbidden.
    """
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(rf'.*\{SUFFIX}$', load_from_local, force=True)  # which know foreign names as well
    CheckpointLoader.register_scheme(_WEB, load_from_http, force=True)
    CheckpointLoader.register_scheme(HUB, load_from_hub, force=True)
    os.environ.pop(_OPPOSITE, None)  # PyTorch raises if both are set
    os.environ[_SWITCH] = '0' if trusted else '1'
    if not trusted:
        # Numbers in MMEngine's log history have more types than those it allows itself.
        torch.serialization.add_safe_globals(plain_types())


def check_checkpoint(path: str, trusted: bool = False) -> dict[str, Any]:
    """Load a checkpoint file to the CPU, or say why it can't be used. Addresses are left to MMEngine.

    Args:
        path: A file, weights of the package (``goodsam://``), or an address that MMEngine knows.
        trusted: Let the file run code.

    Returns:
        The checkpoint, with the network's weights in ``state_dict`` or as the whole; empty for an address.

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


def load_from_hub(filename: str, map_location: Any = None, logger: Any = 'current') -> dict[str, Any]:
    """Load a repository of Hugging Face, as MMEngine's loaders do; fetched once, by the first process.

    Raises:
        CheckpointError: If it is not there, and as ``check_checkpoint``.
    """
    rank, processes = get_dist_info()
    file = find_in_hub(filename) if rank == 0 else None
    if processes > 1:
        torch.distributed.barrier()
    return load_from_local(str(file or find_in_hub(filename)), map_location)


def load_any(path: str, trusted: bool = False) -> dict[str, Any]:
    """Load a file or what is at an address to the CPU; an address is fetched unless it was before.

    Raises:
        CheckpointError: As ``check_checkpoint``.
    """
    if path.startswith(_WEB):
        return load_from_http(path, 'cpu')
    if path.startswith(HUB):
        return load_from_hub(path, 'cpu')
    if _is_address(locate(path)):
        return CheckpointLoader.load_checkpoint(path, 'cpu')
    return check_checkpoint(path, trusted)


def _fetch(address: str) -> str:
    """The file of an address: of the user's folder, of PyTorch's folder of checkpoints, or fetched into the latter."""
    kept = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(address).path).name)
    try:
        return str(find_file(address, kept))
    except (NotFoundError, OSError) as problem:
        raise CheckpointError(
            f'checkpoint {kept.name} is not there and cannot be fetched; tried: {problem}',
            f'fetch it elsewhere and put it at {kept}, or into a folder that --weights-dir names',
        ) from problem


def _is_address(path: str) -> bool:
    return bool(_ADDRESS.match(path)) and not Path(path).is_file()


def _load(path: str, trusted: bool, map_location: Any = 'cpu') -> dict[str, Any]:
    """Load a file, or say why it can't be used."""
    if path and Path(path).is_dir():
        inside = weights_in_folder(Path(path))
        if inside is None:
            raise CheckpointError(f'checkpoint {path} is a folder without {" or ".join(WEIGHTS)}', 'give a file in it')
        path = str(inside)
    if not Path(path).is_file():
        raise CheckpointError(f'checkpoint {path} does not exist', 'give a file that training has written')
    if Path(path).suffix == SUFFIX:
        return as_mmseg(load_safetensors(path, map_location), Path(path))
    damage = find_damage(Path(path))
    if damage:
        raise CheckpointError(f'checkpoint {path} is damaged ({damage})')
    named = _PUBLISHED.search(path)
    digest = sha256_of(Path(path)) if named else ''
    if named and not digest.startswith(named[1]):
        # A warning, because some files were published with the digest of the file they were converted from.
        print_log(
            f'checkpoint {path} has the SHA-256 {digest[:8]}..., its name says {named[1]}: it may be damaged',
            'current',
            logging.WARNING,
        )
    try:
        checkpoint = read_weights_only(Path(path), map_location, trusted, _history_types())
    except UnreadableFileError as problem:
        if problem.trusting:
            raise CheckpointError(
                f'checkpoint {path} is damaged or holds more than weights ({problem})',
                'if you trust where it comes from, add --trust-checkpoint, which lets it run code',
            ) from problem
        raise CheckpointError(
            f'checkpoint {path} is damaged or no checkpoint ({problem})', 'give a file that training has written'
        ) from problem
    if isinstance(checkpoint, torch.nn.Module):
        checkpoint = {'state_dict': checkpoint.state_dict()}
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'checkpoint {path} holds a {type(checkpoint).__name__}, not the weights of a model')
    weights, meta = checkpoint.get('state_dict', {}), checkpoint.get('meta') or {}
    parts = {'content': checkpoint, 'state_dict': weights, 'meta': meta}
    for name, part in parts.items():
        if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
            raise CheckpointError(f'checkpoint {path} is damaged or no checkpoint (its {name} is no dict of names)')
    return as_mmseg(_as_mmengine(checkpoint, path), Path(path))


def _as_mmengine(checkpoint: dict[str, Any], path: str) -> dict[str, Any]:
    """A checkpoint with the network's weights where MMEngine looks for them: ``state_dict``, or the whole.

    Raises:
        CheckpointError: If it has several networks, and nothing says which is meant.
    """
    if 'state_dict' in checkpoint:
        weights = checkpoint['state_dict']
    else:
        sets = weight_sets(checkpoint)
        chosen = max((one for one in sets if one.is_main), key=lambda one: len(one.weights), default=None)
        if chosen is None and len(sets) > 1:
            raise CheckpointError(
                f'checkpoint {path} holds several sets of weights: {", ".join(one.place for one in sets)}',
                'save the one that you mean in a file by itself',
            )
        chosen = chosen or (sets[0] if sets else None)
        weights = checkpoint if chosen is None or not chosen.place else chosen.weights
    plain = _without_wrapper(weights)
    return checkpoint if plain is checkpoint.get('state_dict', checkpoint) else {**checkpoint, 'state_dict': plain}


def _without_wrapper(weights: dict[str, Any]) -> dict[str, Any]:
    """Weights without what frameworks put before the name of every one."""
    for wrapper in _WRAPPERS * 2:
        names = [name for name, value in weights.items() if isinstance(value, torch.Tensor)]
        # 'model' could be a part of the network itself, so it counts where a whole network follows.
        known = wrapper != 'model.' or any('backbone' in name.split('.', 3) for name in names)
        if names and known and all(name.startswith(wrapper) for name in names):
            weights = {name.removeprefix(wrapper): weights[name] for name in names}
    return weights


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


def _history_types() -> list[Any]:
    """MMEngine's log history, which names its own methods with ``getattr``."""
    return [HistoryBuffer, (_history_method, 'builtins.getattr')]


def _history_method(owner: type, name: str) -> Any:
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'GLOBAL getattr({owner}, {name})')
    return getattr(HistoryBuffer, name)
