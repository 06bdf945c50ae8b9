"""The flag by which a command does one part of its work by hand."""

from __future__ import annotations

import argparse

from stage1_sam_cache.build.shards import Shard, parse_shard


def add_shard_flag(parser: argparse._ActionsContainer) -> None:
    """Add ``--shard``."""
    parser.add_argument(
        '--shard', type=_shard, metavar='i/n', help='only part i of n, from 0 (default: from torchrun, SLURM)'
    )


def _shard(text: str) -> Shard:
    """Return the shard that ``i/n`` names, as argparse's ``type``."""
    try:
        return parse_shard(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem
