"""The device that this process uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stage1_sam_cache.errors import OutOfMemory, Stage1Error
from stage1_sam_cache.system.resources import explain

if TYPE_CHECKING:
    import torch


def choose_device(name: str, environment: Mapping[str, str]) -> torch.device:
    """Return the device of a ``--device`` value; ``auto`` is a GPU if there is one. Each torchrun process gets its own.

    Raises:
        Stage1Error: If there is no such device.
        OutOfMemory: If it has no memory left.
    """
    import torch  # here, because parsing a command line needs no PyTorch

    cuda = torch.cuda.is_available()
    if name == 'auto':
        name = 'cuda' if cuda else 'cpu'
    if name == 'cuda' and environment.get('LOCAL_RANK', '').isdecimal():
        name = f'cuda:{environment["LOCAL_RANK"]}'
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError, AttributeError) as problem:  # all raised by PyTorch's backends
        explained = explain(problem)
        if isinstance(explained, OutOfMemory):
            raise explained from problem
        seen = f'{torch.cuda.device_count()} CUDA devices' if cuda else 'no CUDA device'
        raise Stage1Error(
            f'device {name!r} cannot be used: PyTorch {torch.__version__} sees {seen}', 'the device cpu always works'
        ) from problem
    return device
