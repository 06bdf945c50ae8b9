"""Training killed while it writes checkpoints, and at any other moment: resumed, it is the training that it was."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint

_LAUNCHER = ROOT / 'tests/faults/kill_at.py'
_ITERATIONS = 4
_OPTIONS = (
    f'train_cfg.max_iters={_ITERATIONS}',
    f'train_cfg.val_interval={_ITERATIONS}',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=1',
)


def losses(work: Path) -> dict[int, list[float]]:
    """Those of every iteration that was logged; the last word of several runs."""
    found = {}
    for file in sorted(work.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            row = json.loads(line) if line.endswith('}') else {}
            if 'loss' in row:
                found[row['iter']] = [value for name, value in row.items() if name.startswith('loss')]
    return found


@pytest.fixture(scope='module')
def run(run_tool, tiny_goodsam):
    """Trains in ``work``, killed at a step of writing; 0 doesn't kill."""

    def train(work: Path, at: int, *flags: str) -> subprocess.CompletedProcess[str]:
        tool = (ROOT / 'tools/train.py', tiny_goodsam, '--work-dir', work, *flags, '--cfg-options', *_OPTIONS)
        return run_tool(_LAUNCHER, work, at, *tool)

    return train


@pytest.fixture(scope='module')
def undisturbed(run, tmp_path_factory):
    work = tmp_path_factory.mktemp('undisturbed')
    finished = run(work, 0)
    assert finished.returncode == 0, finished.stderr[-3000:]
    steps = int(re.search(r'^steps (\d+)$', finished.stdout, re.M)[1])
    assert steps > 5 * _ITERATIONS
    assert [path.name for path in work.glob('iter_*.pth')] == [f'iter_{_ITERATIONS}.pth']
    assert not list(work.glob('.tmp-*'))
    weights = check_checkpoint(str(work / f'iter_{_ITERATIONS}.pth'))['state_dict']
    assert list(losses(work)) == [1, 2, 3, 4]
    return losses(work), weights, steps


@pytest.mark.long
def test_killed_while_it_writes_it_goes_on_from_the_last_whole_checkpoint(trials, run, undisturbed, tmp_path, part):
    expected, weights, steps = undisturbed
    for at in trials.rng.choice(steps, 6, replace=False) + 1:
        work = tmp_path / f'work{at}'
        work.mkdir()
        assert run(work, at).returncode == -signal.SIGKILL
        saved = sorted(work.glob('iter_*.pth'))
        last = max(losses(work), default=0)
        # From the first on one whole checkpoint is there: of the last iteration or of the one before.
        numbers = [int(path.stem.partition('_')[2]) for path in saved]
        assert all(number in (last - 1, last) for number in numbers)
        assert saved or last <= 1
        for path in saved:
            check_checkpoint(str(path))
        resumed = run(work, 0, '--resume-or-start')
        assert resumed.returncode == 0, resumed.stderr[-3000:]
        after = {step: values for step, values in losses(work).items() if step > max(numbers, default=0)}
        begun = max(numbers, default=0)
        same = after == {step: values for step, values in expected.items() if step > begun}
        ends = check_checkpoint(str(work / f'iter_{_ITERATIONS}.pth'))['state_dict']
        same &= all(torch.equal(value, ends[name]) for name, value in weights.items())
        assert not list(work.glob('.tmp-*'))
        trials.count('SIGKILL, stage 2, while writing a checkpoint', 1, not same)
        shutil.rmtree(work)


@pytest.mark.long
@pytest.mark.parametrize('error', ['ENOSPC', 'EIO'])
def test_a_disk_that_fails_under_a_checkpoint_ends_training_in_one_line(trials, run, undisturbed, tmp_path, error):
    _, weights, steps = undisturbed
    for at in trials.rng.choice(steps, 8, replace=False) + 1:
        work = tmp_path / f'work{at}'
        work.mkdir()
        failed = run(work, f'{at}:{error}')
        saved = {path.name: check_checkpoint(str(path)) for path in work.glob('iter_*.pth')}  # whole ones
        assert saved or max(losses(work), default=0) <= 1
        assert 'Traceback' not in failed.stderr
        lines = [line for line in failed.stderr.splitlines() if line.startswith('error: ')]
        # A temporary file that can't be removed is not worth a training run.
        assert (failed.returncode, len(lines)) in ((2, 1), (1, 1), (0, 0)), failed.stderr[-3000:]
        resumed = run(work, 0, '--resume-or-start')
        assert resumed.returncode == 0, resumed.stderr[-3000:]
        ends = check_checkpoint(str(work / f'iter_{_ITERATIONS}.pth'))['state_dict']
        same = all(torch.equal(value, ends[name]) for name, value in weights.items())
        trials.count('I/O error, checkpoint', 1, not same)
        shutil.rmtree(work)


@pytest.mark.long
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_ended_at_any_moment_it_goes_on_as_if_it_had_not_been(
    trials, run, undisturbed, tiny_goodsam, tmp_path, number, part
):
    expected, weights, _ = undisturbed
    for turn in range(5):
        work = tmp_path / str(turn)
        command = [sys.executable, str(ROOT / 'tools/train.py'), str(tiny_goodsam), '--work-dir', str(work)]
        process = subprocess.Popen(
            [*command, '--cfg-options', *_OPTIONS], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and not list(work.glob('*/*.log')):
            time.sleep(0.01)
        time.sleep(trials.rng.uniform(0, 6))
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        if process.returncode == 0:
            continue  # it was quicker
        if number == signal.SIGTERM:
            assert process.returncode == 130, errors[-3000:]
            assert errors.endswith('interrupted\n') or errors.endswith('--resume goes on from there\n')
            assert 'Traceback' not in errors
        resumed = run(work, 0, '--resume-or-start')
        assert resumed.returncode == 0, resumed.stderr[-3000:]
        found = losses(work)
        same = all(found.get(step, values) == values for step, values in expected.items())
        ends = check_checkpoint(str(work / f'iter_{_ITERATIONS}.pth'))['state_dict']
        same &= all(torch.equal(value, ends[name]) for name, value in weights.items())
        trials.count(f'{number.name}, stage 2, at any moment', 1, not same)


SWALLOWS = """
import os, runpy, signal, sys
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Swallows(Hook):
    def __init__(self, how):
        self.how = how

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except:
            if self.how == 'makes an error':
                raise SyntaxError('something else')

sys.path[0] = os.path.dirname(sys.argv[1])
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize('how', ['makes an error', 'goes on'])
def test_a_signal_that_a_library_swallows_ends_the_training(trials, run_tool, tiny_goodsam, tmp_path, how):
    """As MMEngine does where it formats its config."""
    launcher, work = tmp_path / 'swallows.py', tmp_path / 'work'
    launcher.write_text(SWALLOWS)
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{tiny_goodsam}'\ncustom_hooks = [dict(type='Swallows', how='{how}')]\n")
    ended = run_tool(launcher, ROOT / 'tools/train.py', config, '--work-dir', work)
    assert ended.returncode == 130, ended.stderr[-3000:]
    assert re.search(r'interrupted: iteration \d+ is saved as .*--resume goes on from there\n$', ended.stderr)
    assert 'Traceback' not in ended.stderr
    trials.count('SIGTERM, stage 2, swallowed', 1, max(losses(work), default=0) > 1)


def test_a_pointer_that_leads_nowhere_is_mended(trials, tmp_path):
    """MMEngine's own hook empties it before it writes; folders are moved; disks fail."""
    from stage2_distill.training.resuming import find_latest

    for name in ('iter_2.pth', 'iter_10.pth', 'iter_x.pth', 'best_mIoU_iter_11.pth'):
        (tmp_path / name).write_bytes(b'')
    pointer = tmp_path / 'last_checkpoint'
    for content in (None, b'', b'\n', b'/nowhere/iter_3.pth', str(tmp_path / 'iter_1').encode(), b'\xff\xfe\x00'):
        pointer.unlink(missing_ok=True)
        if content is not None:
            pointer.write_bytes(content)
        right = find_latest(tmp_path) == tmp_path / 'iter_10.pth' == Path(pointer.read_text())
        trials.count('damaged pointer to a checkpoint', 1, not right)
    pointer.write_text(str(tmp_path / 'iter_2.pth'))
    assert find_latest(tmp_path) == tmp_path / 'iter_2.pth'
    for path in tmp_path.glob('iter*'):
        path.unlink()
    assert find_latest(tmp_path) is None
    assert not pointer.exists()
