"""The part of the panoramas that this process works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from stage1_sam_cache.errors import Stage1Error
from stage1_sam_cache.system.launched import by_torchrun

Item = TypeVar('Item')


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 0) of ``count`` equal parts; ``source`` says where the numbers come from."""

    index: int = 0
    count: int = 1
    source: str = 'the whole list'

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Return every ``count``-th item from ``index`` on: all shards together have each item once."""
        return list(items[self.index :: self.count])


def parse_shard(text: str) -> Shard:
    """Parse a shard such as ``'2/8'``, the third of eight parts.

    Raises:
        ValueError: If it is not ``i/n`` with ``0 <= i < n``.
    """
    index, slash, count = text.partition('/')
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ValueError(f'shard {text!r} is not i/n with i from 0 to n-1, such as 0/4')
    return Shard(int(index), int(count), '--shard')


def shard_of_environment(environment: Mapping[str, str]) -> Shard:
    """Return the shard that a launcher gave this process: torchrun's rank, a SLURM array's task, or both together.

    Raises:
        Stage1Error: If the variables are incomplete or contradictory.
    """
    parts = []
    try:
        if 'SLURM_ARRAY_TASK_ID' in environment:
            parts.append(_slurm_array(environment))
        if by_torchrun(environment):
            parts.append(Shard(int(environment['RANK']), int(environment['WORLD_SIZE']), 'torchrun'))
    except (KeyError, ValueError, ZeroDivisionError) as problem:
        raise Stage1Error(
            f'the SLURM or torchrun variables are incomplete or make no sense ({problem})', 'give --shard i/n'
        ) from problem
    shard = Shard()
    for part in parts:
        if not 0 <= part.index < part.count:
            raise Stage1Error(f'{part.source} asks for part {part.index} of {part.count}', 'give --shard i/n')
        source = part.source if part is parts[0] else f'{shard.source} and {part.source}'
        shard = Shard(shard.index * part.count + part.index, shard.count * part.count, source)
    return shard


def _slurm_array(environment: Mapping[str, str]) -> Shard:
    task, first, last = (int(environment[f'SLURM_ARRAY_TASK_{name}']) for name in ('ID', 'MIN', 'MAX'))
    step = int(environment.get('SLURM_ARRAY_TASK_STEP', 1))
    count = (last - first) // step + 1
    # An array such as 0,2,5 has gaps: no task would do the missing parts.
    if int(environment.get('SLURM_ARRAY_TASK_COUNT', count)) != count or (task - first) % step:
        raise ValueError('an array with missing task numbers')
    return Shard((task - first) // step, count, 'SLURM array')


def worst_status(status: int, environment: Mapping[str, str]) -> int:
    """Wait for all processes of a torchrun and return their largest exit status.

    torchrun ends all processes as soon as one fails, so that one with a failed image has to wait for the others.
    """
    if not by_torchrun(environment):
        return status
    import torch
    from torch import distributed

    distributed.init_process_group('gloo', timeout=timedelta(days=365))
    worst = torch.tensor(status)
    distributed.all_reduce(worst, distributed.ReduceOp.MAX)
    distributed.destroy_process_group()
    return int(worst)
