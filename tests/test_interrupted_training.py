"""A signal in training: the running iteration ends and is saved, in all processes; a second signal ends at once."""

import multiprocessing
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from test_schedules import Line

from stage1_sam_cache.commands import cli
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint
from stage2_distill.training.checked_runner import CheckedRunner
from stage2_distill.training.checkpoint_hook import AtomicCheckpointHook  # noqa: F401 - registered


class Signals(Hook):
    """Sends the whole group SIGTERM in an iteration: at once, after that many seconds, ..."""

    def __init__(self, iteration, after):
        self.iteration, self.after = iteration, after

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            for seconds in self.after:
                time.sleep(seconds)
                # As a scheduler: by another process, to all of the group but that one.
                subprocess.run(['sh', '-c', f'trap "" TERM; kill -TERM -{os.getpgrp()}'], check=True)


def train(work, rank, processes, hooks, resume=False):
    """Ten iterations with a loader's worker, as a command."""
    os.setsid()
    sys.stderr = (work.parent / f'said_{rank}').open('w')
    wrapper = {'type': 'MMDistributedDataParallel', 'device_ids': None}
    options = {'cfg': {'model_wrapper_cfg': wrapper}, 'launcher': 'pytorch'}
    os.environ['LOCAL_RANK'] = str(rank)
    if processes > 1:
        meeting = f'file://{work.parent}/meeting'
        torch.distributed.init_process_group('gloo', init_method=meeting, rank=rank, world_size=processes)
    runner = CheckedRunner(
        Line(), str(work), resume=resume, default_scope='mmengine', custom_hooks=hooks,
        train_dataloader={
            'dataset': {}, 'batch_size': 1, 'num_workers': 1, 'collate_fn': {'type': 'default_collate'},
            'sampler': {'type': 'InfiniteSampler', 'shuffle': False},
        },
        train_cfg={'by_epoch': False, 'max_iters': 10},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}}, randomness={'seed': 0},
        default_hooks={'checkpoint': {'type': 'AtomicCheckpointHook', 'by_epoch': False, 'interval': 100}},
        visualizer={'type': 'Visualizer', 'vis_backends': []}, log_level='ERROR',
        experiment_name=f'{work.name}_{rank}_{resume}', **(options if processes > 1 else {}),
    )  # fmt: skip
    data = [[torch.full((1,), 0.1 * i)] for i in range(8)]
    runner.datasets = SimpleNamespace(of=lambda settings, training: data)
    cli.run_command(lambda: runner.train() and 0)


def run(work, hooks, resume=False):
    """Exit status, and what was said to the user, of each process; a list of hooks for each."""
    context = multiprocessing.get_context('fork')
    work.parent.mkdir(exist_ok=True)
    running = [
        context.Process(target=train, args=(work, rank, len(hooks), own, resume)) for rank, own in enumerate(hooks)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    return [process.exitcode for process in running], [
        (work.parent / f'said_{r}').read_text() for r in range(len(hooks))
    ]


def weights(work, iteration):
    return check_checkpoint(str(work / f'iter_{iteration}.pth'))['state_dict']


def test_after_a_signal_the_iteration_is_saved_and_resume_goes_on_as_if_nothing_had_been(tmp_path):
    assert run(tmp_path / 'a/whole', [[]])[0] == [0]
    work = tmp_path / 'b/work'
    # torchrun and timeout send what the group got once more to each process: that is one signal.
    statuses, (said,) = run(work, [[Signals(3, (0, 0.1))]])
    assert statuses == [130], said
    last = said.strip().splitlines()[-1]
    assert (
        last
        == f'interrupted: iteration 4 is saved as {work}/iter_4.pth; the same command with --resume goes on from there'
    )
    assert [path.name for path in work.glob('*.pth')] == ['iter_4.pth']
    assert run(work, [[]], resume=True)[0] == [0]
    whole, resumed = weights(tmp_path / 'a/whole', 10), weights(work, 10)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_second_signal_ends_at_once(tmp_path):
    statuses, (said,) = run(tmp_path / 'c/work', [[Signals(3, (0, 1.2))]])
    assert statuses == [130], said
    assert said.strip().splitlines()[-1] == 'interrupted'
    assert not list((tmp_path / 'c/work').glob('*.pth'))


STUCK = """
import os, signal, time
from stage1_sam_cache.system import interruption
interruption._CLEANUP = 0.2
interruption.listen()
interruption.defer()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(1.1)
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print('cleans up', flush=True)
    time.sleep(60)
"""


def test_a_second_signal_ends_a_clean_up_that_does_not_end():
    ended = subprocess.run([sys.executable, '-c', STUCK], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, 'cleans up\n', '')


@pytest.mark.parametrize('signalled', [0, 1])
def test_all_processes_end_after_the_same_iteration_whichever_got_the_signal(tmp_path, signalled):
    work = tmp_path / 'd/work'
    hooks = [[], []]
    hooks[signalled] = [Signals(3, (0,))]
    statuses, said = run(work, hooks)
    assert statuses == [130, 130], said
    (saved,) = work.glob('*.pth')
    assert saved.name in ('iter_4.pth', 'iter_5.pth')  # before or after the flag of that iteration
    assert f'interrupted: iteration {saved.stem[-1]} is saved as' in said[0]
    assert said[1].strip().splitlines()[-1] == 'interrupted'
