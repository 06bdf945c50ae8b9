"""The run of an adaptation: optimizer, schedule, order of the windows, hooks."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.runner import Runner

from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.data import sampler  # noqa: F401  registers
from stage2_distill.errors import CheckpointError
from stage2_distill.training import bfloat16, checkpoint_hook, hooks, schedule_hook  # noqa: F401  registers
from stage2_distill.wesam.adapter_hook import AdapterHook
from stage2_distill.wesam.model import SamAdaptation

if TYPE_CHECKING:
    from stage1_sam_cache.adaptation.adaptation import Adaptation
    from stage1_sam_cache.adaptation.window_dataset import WindowDataset
    from stage1_sam_cache.sam.adapter import AdapterNotes

RECORD = 'adaptation.json'  # in the work dir: what a resumed run has to agree with


def make_runner(
    adaptation: Adaptation,
    dataset: WindowDataset,
    notes: AdapterNotes,
    work_dir: Path,
    *,
    kept: Collection[int] = (),
    amp: bool = False,
    workers: int = 0,
    checkpoint_interval: int = 100,
    resume: bool = False,
) -> Runner:
    """Build the runner.

    Args:
        adaptation: What is trained, on the device that it is trained on.
        dataset: Its windows.
        notes: What the adapters say of themselves, but for their steps; seed and settings of the run are theirs.
        work_dir: Gets logs, checkpoints and adapters.
        kept: After which steps an adapter is written, besides the last.
        amp: bfloat16 for the networks.
        workers: Processes that load windows.
        checkpoint_interval: In steps.
        resume: From the latest checkpoint in ``work_dir``.
    """
    from stage1_sam_cache.adaptation.window_dataset import collate_windows

    settings = adaptation.settings
    # WeSAM's Adam adds the weight decay to the gradient (L2).
    optimizer = {'type': 'Adam', 'lr': settings.lr, 'weight_decay': settings.weight_decay}
    rate = {'type': 'LinearLR', 'start_factor': 1 / max(settings.warmup, 1), 'by_epoch': False, 'end': settings.warmup}
    loader = {
        'batch_size': settings.batch,
        'dataset': dataset,
        'sampler': {'type': 'DrawSampler', 'seed': notes.seed},
        'collate_fn': {'type': collate_windows},
        'num_workers': workers,
        'persistent_workers': workers > 0,
    }
    checkpoints = {'type': 'AtomicCheckpointHook', 'by_epoch': False, 'max_keep_ckpts': 2}
    runner = Runner(
        model=SamAdaptation(adaptation),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg={'type': 'IterBasedTrainLoop', 'max_iters': settings.steps},
        optim_wrapper={'type': 'BFloat16OptimWrapper' if amp else 'OptimWrapper', 'optimizer': optimizer},
        param_scheduler=[rate] if settings.warmup else None,
        default_hooks={
            'logger': {'type': 'LoggerHook', 'interval': max(1, min(10, settings.steps // 10))},
            'checkpoint': {**checkpoints, 'interval': checkpoint_interval},
        },
        custom_hooks=[{'type': name} for name in ('IterationSeedHook', 'StopOnBadLossHook', 'ScheduleHook')],
        log_processor={'by_epoch': False},
        resume=resume,
        randomness={'seed': notes.seed},
        default_scope='mmengine',
    )
    runner.register_hook(AdapterHook(notes, kept))
    return runner


def keep_record(work_dir: Path, record: Mapping[str, Any], resume: bool) -> None:
    """Write down what a run is made of, or compare it with what the resumed run was made of.

    Args:
        work_dir: Of the run.
        record: JSON values by name.
        resume: Whether the run is resumed.

    Raises:
        CheckpointError: If the resumed run had other settings, weights or prompts.
    """
    file = work_dir / RECORD
    mine = json.dumps(record, indent=1, sort_keys=True)
    if resume and file.is_file():
        then = json.loads(file.read_text(encoding='utf-8'))
        now = json.loads(mine)
        names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
        apart = [f'{name} was {then.get(name)}, is {now.get(name)}' for name in names]
        if apart:
            raise CheckpointError(
                f'{work_dir}: the run that is resumed was another one: {"; ".join(apart)}',
                'give the flags that it was started with, or another --work-dir',
            )
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    commit(file, mine.encode(), replace=True)
