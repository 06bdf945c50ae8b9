"""Trains by a config: GoodSAM against a mask cache, or the SegFormers on pinhole images that it starts from.

    tools/train.py mmseg_configs/goodsam_b0.py
    tools/train.py mmseg_configs/goodsam_b0.py --resume                      # continues from the latest checkpoint
    tools/dist_train.sh mmseg_configs/goodsam_b0.py 4 --cfg-options train_dataloader.batch_size=1
    tools/train.py mmseg_configs/source/segformer_b0_toypass.py --amp

The flags are those of MMSegmentation's own trainer.
"""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system import folder_lock
from stage1_sam_cache.system.launched import launch_of
from stage1_sam_cache.system.memory import keep_freed_memory
from stage2_distill.commands.flags import (
    add_config_flag,
    add_launcher_flags,
    add_trust_flag,
    add_weights_flag,
    launcher_of,
    warn_of_slow_bfloat16,
)
from stage2_distill.errors import ConfigError
from stage2_distill.libraries import import_libraries

if TYPE_CHECKING:
    from mmengine.config import Config

# What needs PyTorch, which takes seconds to import, is imported where it is used: --help and wrong flags are answered
# at once.


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one of the project')
    start = parser.add_argument_group('what the run starts from')
    resume = start.add_mutually_exclusive_group()
    resume.add_argument('--resume', action='store_true', help='continue from the latest checkpoint in the work dir')
    resume.add_argument(
        '--resume-or-start',
        action='store_true',
        help='the same, but begin where there is no checkpoint yet; for jobs that a scheduler starts again',
    )
    start.add_argument(
        '--load-from', type=flag_values.given_text, metavar='FILE', help='start from the weights of a checkpoint'
    )
    add_trust_flag(start)
    add_weights_flag(start)
    run = parser.add_argument_group('run')
    run.add_argument(
        '--work-dir', type=flag_values.given_text, help='where logs and checkpoints go (default: work_dirs/<config>)'
    )
    run.add_argument(
        '--amp', action='store_true', help='mixed precision: float16 with loss scaling on a GPU, bfloat16 on a CPU'
    )
    run.add_argument('--seed', type=flag_values.seed, help='seed of weights, order and augmentation')
    run.add_argument('--deterministic', action='store_true', help='only deterministic kernels; slower')
    add_config_flag(run)
    add_launcher_flags(run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Build the runner, train, and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    import_libraries()
    import torch

    from stage2_distill.training.experiment import build_runner, plain_errors

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = changed_config(args)
    if not torch.cuda.is_available():
        keep_freed_memory()
    # Several processes of one run write to its folder; the first of them holds it for all.
    first = launch_of(os.environ).rank == 0
    choose_start(config, args)
    with plain_errors(), folder_lock.hold(config.work_dir) if first else nullcontext():
        prepare_resume(config, args)
        build_runner(config, args.trust_checkpoint).train()
    return 0


def changed_config(args: argparse.Namespace) -> Config:
    """Return the config with the changes that the flags ask for."""
    from stage2_distill.training.experiment import choose_work_dir, read_config
    from stage2_distill.training.runner import optimizer_configs

    config = read_config(args.config, args.cfg_options)
    config.launcher = launcher_of(args.launcher, os.environ)
    choose_work_dir(config, args.config, args.work_dir)
    if args.amp:
        for wrapper in optimizer_configs(config):
            enable_amp(wrapper)
        warn_of_slow_bfloat16()
    if args.seed is not None or args.deterministic:
        given = {} if args.seed is None else {'seed': args.seed}
        config.randomness = {**config.get('randomness', {}), **given, 'deterministic': args.deterministic}
    if args.load_from:
        config.load_from = args.load_from
    return config


def choose_start(config: Config, args: argparse.Namespace) -> None:
    """Set ``resume``: whether the run is to continue one, as flags or config say; nothing is written yet.

    Raises:
        ConfigError: If it is also to begin from other weights.
        CheckpointError: If its work dir does not exist.
    """
    from stage2_distill.training.resuming import nothing_to_resume

    must = args.resume or (config.get('resume', False) and not args.resume_or_start)
    weights = args.load_from or (args.cfg_options or {}).get('load_from')
    if must and weights:
        raise ConfigError(
            f'a resumed run continues with its own weights, and {weights} was given to begin from',
            'leave one of the two out, or give --resume-or-start, which begins from them only once',
        )
    config.resume = must or args.resume_or_start
    if must and not Path(config.work_dir).is_dir():
        raise nothing_to_resume(config.work_dir)


def prepare_resume(config: Config, args: argparse.Namespace) -> None:
    """Find and check the checkpoint that the run continues from; set ``resume`` to whether there is one.

    Raises:
        CheckpointError: If there is none and there has to be, or if it can't be used.
    """
    from stage2_distill.training.resuming import find_latest, folder_of, has_resumable, nothing_to_resume

    folder = folder_of(config)
    if not config.resume:
        if (old := find_latest(config.work_dir, folder)) is not None:
            cli.report(f'warning: {old} is of an earlier run, and this one begins anew; --resume would continue it')
        return
    config.resume = has_resumable(config.work_dir, args.trust_checkpoint, folder)
    if config.resume:
        config.load_from = None  # MMEngine would start from those weights instead
    elif not args.resume_or_start:
        raise nothing_to_resume(config.work_dir, folder)


def enable_amp(wrapper: Any) -> None:
    """Change the config of an optimizer wrapper to mixed precision.

    Raises:
        ConfigError: If the wrapper is of another kind.
    """
    if wrapper.type not in ('OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper'):
        raise ConfigError(f'--amp goes with OptimWrapper; the config has {wrapper.type}')
    import torch

    if not torch.cuda.is_available():
        wrapper.type = 'BFloat16OptimWrapper'
    elif wrapper.type == 'OptimWrapper':
        wrapper.type, wrapper.loss_scale = 'AmpOptimWrapper', 'dynamic'
