"""How this process was started: alone, or as one of several by torchrun, SLURM's srun or MPI's mpirun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from stage1_sam_cache.errors import LaunchError

_TORCHRUN = {'RANK', 'WORLD_SIZE', 'LOCAL_RANK'}  # it sets all three; other tools may set RANK alone


class Launch(NamedTuple):
    """Process ``rank`` (from 0) of ``processes`` that a program started together; ``by`` is its name or empty."""

    by: str = ''
    rank: int = 0
    processes: int = 1


def by_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun started this process, be it as the only one."""
    return set(environment) >= _TORCHRUN


def launch_of(environment: Mapping[str, str]) -> Launch:
    """Return how this process was started; the innermost program counts, such as torchrun under srun.

    Raises:
        LaunchError: If the variables make no sense.
    """
    sources = (
        ('torchrun', 'RANK', 'WORLD_SIZE') if by_torchrun(environment) else None,
        ('srun', 'SLURM_PROCID', 'SLURM_STEP_NUM_TASKS'),  # of a job step; a batch script itself has one task
        ('mpirun', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),
    )
    for name, rank, count in filter(None, sources):
        if environment.get(count) in (None, '1') and name != 'torchrun':
            continue
        try:
            launch = Launch(name, int(environment[rank]), int(environment[count]))
        except (KeyError, ValueError) as problem:
            raise LaunchError(f'the variables {rank} and {count} of {name} make no sense ({problem})') from problem
        if not 0 <= launch.rank < launch.processes:
            raise LaunchError(f'{rank}={launch.rank}, but {count}={launch.processes}')
        return launch
    return Launch()


def require_one_process(command: str, environment: Mapping[str, str]) -> None:
    """Refuse to be one of several processes, which would all do the same work and write the same files.

    Args:
        command: ``tools/<name>.py``.
        environment: Of this process.

    Raises:
        LaunchError: If there are several.
    """
    launch = launch_of(environment)
    if launch.processes > 1:
        raise LaunchError(
            f'{command} works in one process, and {launch.by} has started {launch.processes} of it',
            f'start it without {launch.by}',
        )
