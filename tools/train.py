#!/usr/bin/env python3
"""Trains by a config: here SegFormers on a labelled pinhole source, the initial weights of assistant and student.

    tools/train.py mmseg_configs/source/segformer_b0_toypass.py --amp
    torchrun --nproc-per-node 8 tools/train.py mmseg_configs/source/segformer_b5_cityscapes.py --launcher pytorch
    tools/train.py mmseg_configs/source/segformer_b0_toypass.py --amp --resume      # goes on where it was

The flags are those of MMSegmentation's own trainer.
"""

from __future__ import annotations

import argparse
import os
import sys

try:
    import torch
    from mmengine.config import Config, DictAction

    from stage1_sam_cache import command_line as cli
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')
from stage2_distill.errors import CheckpointError, ConfigError
from stage2_distill.experiment import build_runner, choose_work_dir, read_config
from stage2_distill.safe_checkpoints import check_checkpoint, load_weights_only


def build_parser() -> argparse.ArgumentParser:
    """All flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config>)')
    parser.add_argument('--resume', action='store_true', help='go on from the latest checkpoint in the work dir')
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision: float16 with loss scaling on a GPU, bfloat16 on a CPU'
    )
    parser.add_argument('--seed', type=int, help='of weights, order and augmentation')
    parser.add_argument('--deterministic', action='store_true', help='only deterministic kernels; slower')
    parser.add_argument('--load-from', metavar='FILE', help='start from the weights of a checkpoint')
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='let checkpoints run code; only for files that you made'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change the config: train_cfg.max_iters=500 or key="[a,b]"',
    )
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def main() -> int:
    """Builds the runner and trains."""
    args = build_parser().parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = read_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    choose_work_dir(config, args.config, args.work_dir)
    if args.amp:
        enable_amp(config)
    if args.seed is not None or args.deterministic:
        config.randomness = {'seed': args.seed, 'deterministic': args.deterministic}
    if args.load_from:
        config.load_from = args.load_from
    config.resume = args.resume
    if args.resume:
        check_latest(config.work_dir, args.trust_checkpoint)
    build_runner(config, args.trust_checkpoint).train()
    return 0


def enable_amp(config: Config) -> None:
    """Turns the optimizer wrapper into one of mixed precision.

    Raises:
        ConfigError: If the config has an optimizer wrapper of another kind.
    """
    wrapper = config.get('optim_wrapper')
    if wrapper is None:
        raise ConfigError('--amp needs a config with an optim_wrapper')
    if wrapper.type not in ('OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper'):
        raise ConfigError(f'--amp goes with OptimWrapper; the config has {wrapper.type}')
    if not torch.cuda.is_available():
        wrapper.type = 'BFloat16OptimWrapper'
    elif wrapper.type == 'OptimWrapper':
        wrapper.type, wrapper.loss_scale = 'AmpOptimWrapper', 'dynamic'


def check_latest(work_dir: str, trusted: bool) -> None:
    """Looks at the checkpoint that --resume will take, if there is one.

    Raises:
        CheckpointError: If it can't be used.
    """
    from mmengine.runner import find_latest_checkpoint

    load_weights_only(trusted)
    latest = find_latest_checkpoint(work_dir)
    if latest is not None and 'optimizer' not in check_checkpoint(latest, trusted):
        raise CheckpointError(f'checkpoint {latest} holds no optimizer, so training cannot go on from it')


if __name__ == '__main__':
    cli.run_command(main)
