"""OmniSAM's source training from the command lines: killed, resumed, in two processes, scored, labelling images."""

import json
import os
import shutil
import signal
import socket
import time

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from test_source_training import complaint

from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint
from stage2_distill.commands import predict

pytest.importorskip('sam2')


@pytest.fixture(scope='module')
def config(tiny_toypass, tmp_path_factory):
    """The toy SAM 2 with random weights and patches of 64 pixels, three windows over pinhole images."""
    file = tmp_path_factory.mktemp('omnisam') / 'tiny.py'
    file.write_text(
        f"""
_base_ = '{ROOT}/mmseg_configs/omnisam/source_toypass.py'
grid = [dict(window=(128, 128), stride=64), dict(window=(100, 128), stride=128)]
model = dict(weights=None, patch_size=64, grid=grid)
local = dict(num_workers=0, persistent_workers=False, dataset=dict(root='{tiny_toypass[0]}'))
train_dataloader = dict(batch_size=1, **local)
val_dataloader = local
test_dataloader = local
train_cfg = dict(max_iters=3, val_interval=3)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, max_keep_ckpts=-1))
"""
    )
    return file


@pytest.fixture(scope='module')
def start(config, start_tool):
    """Start a training run of the tiny config; returns its process."""

    def run(work, *flags, environment=None):
        given = {**os.environ, 'OMP_NUM_THREADS': '1', **(environment or {})}
        return start_tool('train.py', config, '--work-dir', work, '--seed', '3', *flags, env=given)

    return run


def finish(*processes):
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err[-3000:]


def meeting_of_two():
    """The variables that torchrun gives each of two processes."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        meeting = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free.getsockname()[1]), 'WORLD_SIZE': '2'}
    torchrun = {**meeting, 'TORCHELASTIC_RUN_ID': 'none', 'LOCAL_WORLD_SIZE': '2'}
    return [{**torchrun, 'RANK': str(rank), 'LOCAL_RANK': str(rank)} for rank in (0, 1)]


def weights(file):
    return check_checkpoint(str(file))['state_dict']


@pytest.fixture(scope='module')
def trained(start, tmp_path_factory):
    work = tmp_path_factory.mktemp('omnisam') / 'work'
    finish(start(work))
    return work


def test_a_killed_run_resumes_to_equal_weights(start, trained, tmp_path):
    work = tmp_path / 'work'
    process = start(work)
    while not (work / 'last_checkpoint').exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (work / 'iter_3.pth').exists()
    finish(start(work, '--resume'))
    whole, resumed = weights(trained / 'iter_3.pth'), weights(work / 'iter_3.pth')
    assert whole.keys() == resumed.keys() and all(torch.equal(value, resumed[name]) for name, value in whole.items())
    moved = [name for name, value in weights(trained / 'iter_1.pth').items() if not torch.equal(value, whole[name])]
    assert any('memory_attention' in name for name in moved) and any('.qkv.q.b' in name for name in moved)
    assert (trained / 'best_mIoU_iter_3.pth').exists()


@pytest.mark.parametrize('step', ['sequence', pytest.param('patch', marks=pytest.mark.long)])
def test_two_processes_train_together(start, tmp_path, step):
    options = ['--launcher', 'pytorch', '--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=9']
    options += [f'model.step={step}', 'model.train_memory_share=0.5']
    finish(*[start(tmp_path, *options, environment=rank) for rank in meeting_of_two()])
    names = weights(tmp_path / 'iter_2.pth')
    assert not any(name.startswith('module.') for name in names)
    finish(start(tmp_path, '--resume', '--cfg-options', 'train_cfg.max_iters=3', f'model.step={step}'))


def test_scores_are_of_sequences_and_the_table_has_them(config, trained, run_tool, tmp_path, monkeypatch, capsys):
    checkpoint = trained / 'iter_3.pth'
    flags = ['--work-dir', tmp_path, '--limit', '2', '--regions']
    scored = run_tool('test.py', config, checkpoint, *flags)
    assert scored.returncode == 0, scored.stderr[-2000:]
    assert '| sequence | 1 |' in scored.stdout and '2 of 4 images scored' in scored.stdout
    found = json.loads((tmp_path / 'scores.json').read_text())
    assert [(row['mode'], row['input_scale']) for row in found['scores']] == [('sequence', 1.0)]
    assert {'IoU.car', 'seam_mIoU'} <= found['scores'][0].keys() and 'IoU.bus' not in found['scores'][0]
    for wrong, message in (
        (['--mode', 'slide'], 'OmniSAM sees sequences of its own windows: leave out --mode and --input-scale'),
        (['--input-scale', '2'], 'leave out --mode and --input-scale'),
        (['--stride', '100x64'], '--stride goes with --window'),
    ):
        assert complaint('test', monkeypatch, config, checkpoint, *flags, *wrong) == '2'
        assert message in capsys.readouterr().err
    ring = ['--window', '100x128', '--cfg-options', 'model.test_cfg.laps=ring']
    assert "laps='ring' goes around closed" in complaint('test', monkeypatch, config, checkpoint, *flags, *ring)


def test_images_are_labelled_in_sequences(config, trained, tiny_toypass, tmp_path, monkeypatch, capsys):
    images = tmp_path / 'images'
    images.mkdir()
    shutil.copy(tiny_toypass[0] / 'target/leftImg8bit/val/cs/1.png', images)
    Image.fromarray(np.zeros((50, 256, 3), np.uint8)).save(images / 'small.png')
    command = [str(part) for part in (config, trained / 'iter_3.pth', '--images', images, '--out', tmp_path / 'out')]
    for there in ('1 failed', '1 already there, 1 failed'):
        assert predict.main([*command, '--wrap', '--confidence']) == 1
        told = capsys.readouterr()
        assert 'small.png: model.grid has windows for images of 128 or 100 rows, not of 50' in told.err
        assert f'1 of 2 images ({there})' in told.out
    assert np.asarray(Image.open(tmp_path / 'out/confidence/1.png')).shape == (100, 512)
    labels = np.asarray(Image.open(tmp_path / 'out/labels/1.png'))
    assert labels.shape == (100, 512) and labels.max() < 13
    given = [*command[:-1], str(tmp_path / 'given'), '--window', '50x64', '--stride', '50x64']
    assert predict.main(given) == 0 and '2 of 2 images' in capsys.readouterr().out
    assert 'leave out --mode and --scale' in complaint('predict', monkeypatch, *command, '--mode', 'slide')
    exported = [*command[:2], '--out', tmp_path / 'x.safetensors']
    assert 'its OmniSAM is no student' in complaint('export_student', monkeypatch, *exported)


def test_the_toy_sam2_is_made_in_two_parts_and_can_be_trained_from(start, run_tool, tiny_toypass, tmp_path):
    small = ['model.patch_size=64', 'model.grid.0.window=(128,128)', 'model.grid.0.stride=128', 'model.reverse=1']
    loaders = [f'{name}_dataloader.persistent_workers=False' for name in ('train', 'val')]
    options = ['--cfg-options', *small, *loaders, 'train_dataloader.batch_size=1']
    command = ['--data', str(tiny_toypass[0]), '--work-dir', str(tmp_path), '--workers', '0', '--iterations', '1', '1']
    made = run_tool('train_toy_sam2.py', *command, *options)
    assert made.returncode == 0, made.stderr[-3000:]
    file = tmp_path / 'toy_sam2.safetensors'
    assert file.stat().st_size < 5e6
    made, last = weights(file), weights(tmp_path / 'sequences/iter_1.pth')
    name = 'memory_attention.norm.weight'
    assert (
        torch.equal(made[name], last[f'memory.{name}'].half()) and 'image_encoder.trunk.patch_embed.proj.bias' in made
    )
    flags = ['train_cfg.max_iters=1', 'train_cfg.val_interval=9', f'model.weights={file}']
    finish(start(tmp_path / 'source', '--cfg-options', *flags))
    begun = weights(tmp_path / 'source/iter_1.pth')['memory.memory_encoder.out_proj.weight']  # frozen
    assert torch.equal(begun, made['memory_encoder.out_proj.weight'])
