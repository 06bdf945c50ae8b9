"""Which device this process runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stage1_sam_cache.errors import Stage1Error

if TYPE_CHECKING:
    import torch


def choose_device(name: str, environment: Mapping[str, str]) -> torch.device:
    """The device of a ``--device`` value; ``auto`` is a GPU where there is one, and each torchrun process its own.

    Raises:
        Stage1Error: If there is no such device.
    """
    import torch  # here, because a parser of command lines needs no PyTorch

    cuda = torch.cuda.is_available()
    if name == 'auto':
        name = 'cuda' if cuda else 'cpu'
    if name == 'cuda' and environment.get('LOCAL_RANK', '').isdecimal():
        name = f'cuda:{environment["LOCAL_RANK"]}'
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError, AttributeError) as problem:  # what PyTorch's backends raise
        seen = f'{torch.cuda.device_count()} CUDA devices' if cuda else 'no CUDA device'
        raise Stage1Error(f'device {name!r} cannot be used: PyTorch {torch.__version__} sees {seen}') from problem
    return device
