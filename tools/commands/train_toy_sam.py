"""Trains a toy SAM on the instances of ToyPASS's pinhole images, for `tools/cache_sam.py --sam toy`.

    tools/train_toy_sam.py --data data/ToyPASS --amp                 # at least 0.6 s per iteration on two CPU cores
    tools/train_toy_sam.py --data data/ToyPASS --amp --resume        # resumes from the last checkpoint
    tools/train_toy_sam.py --data data/ToyPASS --overfit 10 --iterations 300 --work-dir work_dirs/ten

A GPU is used if there is one. Weights for `cache_sam.py --sam toy --checkpoint FILE` are written at the end.
"""

from __future__ import annotations

import argparse
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system import folder_lock
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.flags import add_trust_flag
from stage2_distill.libraries import import_libraries

if TYPE_CHECKING:
    from mmengine.runner import Runner


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--data', type=flag_values.named_path, default=Path('data/ToyPASS'), help='default: %(default)s'
    )
    parser.add_argument(
        '--work-dir', type=flag_values.named_path, default=Path('work_dirs/toy_sam'), help='default: %(default)s'
    )
    parser.add_argument('--iterations', type=int, default=6000, help='default: %(default)s')
    parser.add_argument('--batch', type=int, default=2, help='images per iteration (default: %(default)s)')
    parser.add_argument('--lr', type=float, default=1e-3, help='default: %(default)s')
    parser.add_argument('--seed', type=flag_values.seed, default=0, help='default: %(default)s')
    parser.add_argument('--workers', type=int, default=0, help='processes that load images (default: %(default)s)')
    parser.add_argument('--amp', action='store_true', help='bfloat16')
    parser.add_argument('--compile', action='store_true', help='compile the networks: needs a C++ compiler')
    parser.add_argument('--resume', action='store_true', help='resume from the last checkpoint in --work-dir')
    parser.add_argument('--overfit', type=int, metavar='N', help='train and score on the first N images only')
    parser.add_argument('--checkpoint-interval', type=int, default=250, help='default: %(default)s')
    parser.add_argument('--val-interval', type=int, default=500, help='default: %(default)s')
    add_trust_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Train, score and write the weights."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/train_toy_sam.py', os.environ)
    counts = [args.batch, args.val_interval, args.checkpoint_interval, 1 if args.overfit is None else args.overfit]
    if args.iterations < 2 or min(counts) < 1 or not 0 < args.lr < math.inf:
        parser.error('--iterations needs at least 2, --batch, --overfit and intervals 1, --lr a positive number')
    if args.workers < 0:
        parser.error('--workers needs at least 0')
    import_libraries()
    import torch

    from stage2_distill.checkpoints.fit import check_fit
    from stage2_distill.checkpoints.safe_checkpoints import use_safe_loaders
    from stage2_distill.training.experiment import plain_errors
    from stage2_distill.training.resuming import find_latest, has_resumable, nothing_to_resume
    from toypass.training.segment_dataset import SegmentDataset

    use_safe_loaders(args.trust_checkpoint)
    for split in ('train', 'val'):
        SegmentDataset(str(args.data), split)  # reports missing data before anything is built
    if args.resume and not args.work_dir.is_dir():
        raise nothing_to_resume(args.work_dir)
    file = args.work_dir / 'toy_sam.pth'
    with plain_errors(), folder_lock.hold(args.work_dir):
        if args.resume and not has_resumable(args.work_dir, args.trust_checkpoint):
            raise nothing_to_resume(args.work_dir)
        runner = make_runner(args)
        if args.resume:
            check_fit(runner.model, str(find_latest(args.work_dir)), args.trust_checkpoint)
        runner.train()
        weights = {name: value.detach().cpu().half() for name, value in runner.model.sam.state_dict().items()}
        content = io.BytesIO()
        torch.save(weights, content)
        commit(file, content.getvalue(), replace=True)
    print(f'weights in {file}; use them with tools/cache_sam.py --sam toy --checkpoint {file}')
    return 0


def make_runner(args: argparse.Namespace) -> Runner:
    """Build MMEngine's runner from the flags."""
    from mmengine.runner import Runner

    from stage2_distill.data import sampler  # noqa: F401  registers
    from stage2_distill.training import bfloat16, checkpoint_hook, hooks, schedule_hook  # noqa: F401  registers
    from toypass.training import model  # noqa: F401  registers

    train, val = loaders(args)
    optimizer = {'type': 'AdamW', 'lr': args.lr, 'weight_decay': 0.05, 'betas': (0.9, 0.98)}
    wrapper = 'BFloat16OptimWrapper' if args.amp else 'OptimWrapper'
    checkpoints = {'type': 'AtomicCheckpointHook', 'by_epoch': False, 'max_keep_ckpts': 2}
    return Runner(
        model={'type': 'ToySamTraining', 'compiled': args.compile},
        work_dir=str(args.work_dir),
        train_dataloader=train,
        val_dataloader=val,
        train_cfg={'type': 'IterBasedTrainLoop', 'max_iters': args.iterations, 'val_interval': args.val_interval},
        val_cfg={},
        val_evaluator={'type': 'PointQuality'},
        optim_wrapper={'type': wrapper, 'optimizer': optimizer, 'clip_grad': {'max_norm': 1.0}},
        param_scheduler=schedule(args),
        default_hooks={
            'logger': {'type': 'LoggerHook', 'interval': 25},
            'checkpoint': {**checkpoints, 'interval': args.checkpoint_interval},
        },
        custom_hooks=[{'type': name} for name in ('IterationSeedHook', 'StopOnBadLossHook', 'ScheduleHook')],
        log_processor={'by_epoch': False},
        resume=args.resume,
        randomness={'seed': args.seed},
        default_scope='mmengine',
    )


def loaders(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the training and the validation loader."""
    from toypass.training.segment_dataset import collate_crops

    data = {'type': 'SegmentDataset', 'root': str(args.data), 'limit': args.overfit}
    both = {
        'batch_size': args.batch,
        'collate_fn': {'type': collate_crops},
        'num_workers': args.workers,
        'persistent_workers': args.workers > 0,
    }
    scored = {**data, 'split': 'train' if args.overfit else 'val', 'train': False}
    return (
        {**both, 'dataset': data, 'sampler': {'type': 'DrawSampler', 'seed': args.seed}},
        {**both, 'dataset': scored, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}},
    )


def schedule(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the learning-rate schedule: linear warm-up, then a cosine."""
    warm = max(1, min(250, args.iterations // 4))
    return [
        {'type': 'LinearLR', 'start_factor': 0.01, 'by_epoch': False, 'begin': 0, 'end': warm},
        {
            'type': 'CosineAnnealingLR',
            'eta_min': args.lr / 100,
            'by_epoch': False,
            'begin': warm,
            'end': args.iterations,
        },
    ]
