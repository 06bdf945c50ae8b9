"""Which part of the work, and which device, belongs to this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from stage1_sam_cache.errors import Stage1Error

if TYPE_CHECKING:
    import torch

Item = TypeVar('Item')


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 0) of ``count`` equal parts; ``source`` says where that was read."""

    index: int = 0
    count: int = 1
    source: str = 'the whole list'

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every ``count``-th item from ``index`` on: all shards together have each item once."""
        return list(items[self.index :: self.count])


def parse_shard(text: str) -> Shard:
    """``'2/8'`` is the third of eight parts.

    Raises:
        ValueError: If it is not ``i/n`` with ``0 <= i < n``.
    """
    index, slash, count = text.partition('/')
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ValueError(f'shard {text!r} is not i/n with i from 0 to n-1, such as 0/4')
    return Shard(int(index), int(count), '--shard')


def shard_of_environment(environment: Mapping[str, str]) -> Shard:
    """The shard that a launcher gave this process: torchrun's rank, a SLURM array's task, or both together.

    Raises:
        Stage1Error: If the variables are there but make no sense.
    """
    shard = Shard()
    try:
        if 'SLURM_ARRAY_TASK_ID' in environment:
            first = int(environment.get('SLURM_ARRAY_TASK_MIN', 0))
            step = int(environment.get('SLURM_ARRAY_TASK_STEP', 1))
            last = int(environment['SLURM_ARRAY_TASK_MAX'])
            index = (int(environment['SLURM_ARRAY_TASK_ID']) - first) // step
            shard = Shard(index, (last - first) // step + 1, 'SLURM array')
        # torchrun sets all three; another tool's lone RANK means nothing here.
        if {'RANK', 'WORLD_SIZE', 'LOCAL_RANK'} <= set(environment):
            rank, world = int(environment['RANK']), int(environment['WORLD_SIZE'])
            source = 'torchrun' if shard.count == 1 else f'{shard.source} and torchrun'
            shard = Shard(shard.index * world + rank, shard.count * world, source)
    except (KeyError, ValueError) as problem:
        raise Stage1Error(f'the SLURM or torchrun variables are incomplete ({problem}); give --shard i/n') from problem
    if not 0 <= shard.index < shard.count:
        raise Stage1Error(f'{shard.source} asks for shard {shard.index} of {shard.count}; give --shard i/n')
    return shard


def choose_device(name: str, environment: Mapping[str, str]) -> torch.device:
    """The device of a ``--device`` value; ``auto`` is a GPU where there is one, and each torchrun process its own.

    Raises:
        Stage1Error: If there is no such device.
    """
    import torch  # here, because most of what this module serves needs no PyTorch

    cuda = torch.cuda.is_available()
    if name == 'auto':
        name = 'cuda' if cuda else 'cpu'
    if name == 'cuda' and environment.get('LOCAL_RANK', '').isdecimal():
        name = f'cuda:{environment["LOCAL_RANK"]}'
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        seen = f'{torch.cuda.device_count()} CUDA devices' if cuda else 'no CUDA device'
        raise Stage1Error(f'device {name!r} cannot be used: PyTorch {torch.__version__} sees {seen}') from problem
    return device
