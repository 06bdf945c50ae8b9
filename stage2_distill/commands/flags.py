"""Flags that several command lines of stage 2 have, with one name, meaning and help each."""

from __future__ import annotations

import argparse
from typing import Any

from stage1_sam_cache.commands.cli import add_trust_flag as add_trust_flag


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


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, as MMSegmentation's tools have it."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        metavar='KEY=VALUE',
        help='change the config: train_cfg.max_iters=500 or key="[a,b]"',
    )


def use_refusal_flags(dataset: dict[str, Any], args: argparse.Namespace) -> None:
    """Let a data set's config follow links and skip what is refused, where ``cli.add_refusal_flags``' flags say so."""
    for name in ('follow_links', 'skip_refused'):
        if getattr(args, name):
            dataset[name] = True


def add_launcher_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``, and the rank that some launchers pass."""
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
