"""Flags that several command lines of stage 2 have, with one name, meaning and help each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.commands.shared_flags import add_refusal_flags
from stage1_sam_cache.commands.shared_flags import add_trust_flag as add_trust_flag
from stage1_sam_cache.commands.shared_flags import add_weights_flag as add_weights_flag
from stage1_sam_cache.errors import LaunchError
from stage1_sam_cache.system.launched import by_torchrun, launch_of

SCALES = (0.02, 50)  # of --input-scale; beyond, images vanish or no memory suffices
# The program that each launcher needs, and a variable by which it is known.
_LAUNCHERS = {
    'pytorch': ('torchrun', 'LOCAL_RANK'),
    'slurm': ('srun', 'SLURM_PROCID'),
    'mpi': ('mpirun', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


class KeyValueAction(argparse.Action):
    """Collects ``KEY=VALUE`` as text by key; ``training.config_options`` reads the values when the config is known."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Add the pairs to those of earlier flags."""
        options = dict(getattr(namespace, self.dest) or {})
        for pair in values:
            key, equals, value = pair.partition('=')
            if not (equals and key):
                parser.error(f'{option_string}: {pair!r} is not KEY=VALUE')
            options[key] = value
        setattr(namespace, self.dest, options)


def add_config_flag(parser: argparse._ActionsContainer) -> None:
    """Add ``--cfg-options``, as MMSegmentation's tools have it."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        metavar='KEY=VALUE',
        help='change the config: train_cfg.max_iters=500 or key="[a,b]"',
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a GoodSAM config, and a checkpoint that may be left out."""
    parser.add_argument('config', help='a GoodSAM config')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        type=flag_values.given_text,
        help='checkpoint of its training run (default: the initial weights)',
    )


def add_weights_group(parser: argparse.ArgumentParser) -> None:
    """Add the flags of weights that are loaded, as a group of their own."""
    group = parser.add_argument_group('weights')
    add_trust_flag(group)
    add_weights_flag(group)


def use_refusal_flags(dataset: dict[str, Any], args: argparse.Namespace) -> None:
    """Let a data set follow links and skip what is refused, where the flags of ``add_refusal_flags`` say so."""
    for name in ('follow_links', 'skip_refused'):
        if getattr(args, name):
            dataset[name] = True


def add_panorama_flags(parser: argparse._ActionsContainer, count: int) -> None:
    """Add the flags by which panoramas with their masks are chosen to be looked at (``label_panels.choose``)."""
    parser.add_argument(
        '--split', choices=('train', 'val'), default='train', help="the config's images (default: train)"
    )
    parser.add_argument('--cache', metavar='DIR', help="masks of these images (default: the config's, for train)")
    parser.add_argument('--id', nargs='+', metavar='ID', help='panoramas by their path without extension')
    parser.add_argument(
        '--count', type=int, default=count, help='number of panoramas, from the first (default: %(default)s)'
    )
    add_refusal_flags(parser)


def add_launcher_flags(parser: argparse._ActionsContainer) -> None:
    """Add ``--launcher``, and the rank that some launchers pass."""
    parser.add_argument(
        '--launcher',
        choices=('none', *_LAUNCHERS),
        default='none',
        help='job launcher (default: pytorch under torchrun, else none)',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def launcher_of(given: str, environment: Mapping[str, str]) -> str:
    """The launcher to use: what was given, else ``pytorch`` under torchrun, so that its processes work together.

    Raises:
        LaunchError: If another program has started several processes, or the given launcher's has started none.
    """
    if given == 'none':
        launch = launch_of(environment)
        if launch.by in ('srun', 'mpirun'):
            raise LaunchError(
                f'{launch.by} has started {launch.processes} processes, and none knows of the others',
                f'add --launcher {"slurm" if launch.by == "srun" else "mpi"}, or start one',
            )
        return 'pytorch' if launch.by else 'none'
    program, variable = _LAUNCHERS[given]
    if not (by_torchrun(environment) if given == 'pytorch' else variable in environment):
        raise LaunchError(
            f'--launcher {given} is for processes that {program} has started, and this one was not',
            f'start the command with {program}, or leave --launcher out',
        )
    return given


def warn_of_slow_bfloat16() -> None:
    """Warn of ``--amp`` on a CPU where it takes longer than float32."""
    from stage2_distill.training.bfloat16 import bfloat16_is_fast  # needs PyTorch

    if not bfloat16_is_fast():
        cli.report('warning: this CPU has no instructions for bfloat16, which is far slower here; leave --amp out')
