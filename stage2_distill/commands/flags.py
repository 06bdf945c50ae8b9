"""Flags that several command lines of stage 2 have, with one name, meaning and help each."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

from stage1_sam_cache.commands.cli import add_trust_flag as add_trust_flag


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, as MMSegmentation's tools have it."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change the config: train_cfg.max_iters=500 or key="[a,b]"',
    )


def add_launcher_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``, and the rank that some launchers pass."""
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
