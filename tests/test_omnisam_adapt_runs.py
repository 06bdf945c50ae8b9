"""OmniSAM's adaptation from the command lines: rounds, killed and resumed, in two processes, scored, labelling."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from safetensors.torch import load_file
from test_omnisam_runs import finish, meeting_of_two, weights
from test_source_training import complaint

from stage1_sam_cache.cache.reader import open_cache
from stage1_sam_cache.data.label_spaces import REMAPS

pytest.importorskip('sam2')

TINY = """
_base_ = '{root}/mmseg_configs/omnisam/{base}_toypass.py'
grid = [dict(window=(128, 128), stride=64), dict(window=(100, 256), stride=128)]
local = dict(num_workers=0, persistent_workers=False, dataset=dict(root='{data}'))
val_dataloader = local
test_dataloader = local
hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, max_keep_ckpts=-1))
"""
SOURCE = """
model = dict(weights=None, patch_size=64, grid=grid)
train_dataloader = dict(batch_size=1, **local)
train_cfg = dict(max_iters=1, val_interval=9)
default_hooks = hooks
"""
# Rounds of three and of two of the four panoramas; a low threshold, so that labels of random weights are left.
ADAPTED = """
model = dict(patch_size=64, grid=grid, prototypes=dict(positions=3))
data = dict(root='{data}')
train_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(source=data, target=data))
train_cfg = dict(max_iters=4, val_interval=4)
labelling = dict(threshold=0.07)
rounds = dict(first=3, later=3, first_iters=2, iters_per_round=2, labelling=labelling, guard=dict(panoramas=1))
default_hooks = dict(**hooks, rounds=rounds)
"""

# Labels by instances, with the windows of the tiny caches.
BY_INSTANCES = """
_base_ = ['{root}/mmseg_configs/omnisam/adapt_toypass_ctcf.py']
grid = [dict(window=(128, 128), stride=64), dict(window=(100, 128), stride=64, wrap=True)]
model = dict(patch_size=64, grid=grid, prototypes=dict(index='class'))
data = dict(root='{data}')
target = dict(root='{data}', cache='{cache}')
train_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(source=data, target=target))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=data)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=1, val_interval=9)
rounds = dict(first=2, first_iters=1, labelling=dict(rule='ssa'), guard=dict(panoramas=1))
default_hooks = dict(rounds=rounds)
"""


@pytest.fixture(scope='module')
def configs(tiny_toypass, tmp_path_factory):
    """Configs of source and adaptation, with patches of 64 pixels and three windows over both."""
    folder = tmp_path_factory.mktemp('configs')
    data = tiny_toypass[0]
    for base, text in (('source', SOURCE), ('adapt', ADAPTED)):
        content = TINY.format(root=ROOT, base=base, data=data) + text.replace('{data}', str(data))
        (folder / f'{base}.py').write_text(content)
    return folder


@pytest.fixture(scope='module')
def source(configs, start_tool, tmp_path_factory):
    """A source model after one iteration."""
    work = tmp_path_factory.mktemp('source') / 'work'
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    finish(start_tool('train.py', configs / 'source.py', '--work-dir', work, '--seed', '3', env=environment))
    return work / 'iter_1.pth'


@pytest.fixture(scope='module')
def start(configs, source, start_tool):
    """Start an adaptation; returns its process."""

    def run(work, *flags, environment=None):
        given = {**os.environ, 'OMP_NUM_THREADS': '1', **(environment or {})}
        begun = () if '--resume' in flags else ('--load-from', source)
        return start_tool(
            'train.py', configs / 'adapt.py', '--work-dir', work, '--seed', '3', *begun, *flags, env=given
        )

    return run


@pytest.fixture(scope='module')
def adapted(start, tmp_path_factory):
    """The work dir of a whole run."""
    work = tmp_path_factory.mktemp('adapted') / 'work'
    finish(start(work))
    return work


def labels_of(work):
    """All files of pseudo-labels, by name."""
    folder = work / 'pseudo_labels'
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def losses_of(work):
    """All losses by iteration and name, of the last run that had them."""
    lines = [line for path in sorted(work.glob('*/vis_data/2*.json')) for line in path.read_text().splitlines()]
    rows = [row for row in map(json.loads, lines) if 'loss' in row]
    return {row['step']: {name: value for name, value in row.items() if 'loss' in name} for row in rows}


def equal_weights(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_every_round_labels_its_images_with_the_model_of_then(adapted, source, configs, tiny_toypass):
    manifests = [json.loads((adapted / f'pseudo_labels/round_{k}/manifest.json').read_text()) for k in (0, 1)]
    assert all(len(each['images']) == len(set(each['images'])) == 3 for each in manifests)
    assert manifests[0]['model'] != manifests[1]['model']
    for number, each in enumerate(manifests):
        files = [adapted / f'pseudo_labels/round_{number}/{name}.png' for name in each['images']]
        maps = np.stack([np.asarray(Image.open(file)) for file in files])
        assert maps.shape == (3, 100, 512) and set(np.unique(maps)) <= {*range(13), 255}
        assert each['coverage'] == pytest.approx((maps < 255).mean()) and each['coverage'] > 0
        by_class = [(maps == c).sum() / max((maps < 255).sum(), 1) for c in range(13)]
        assert list(each['class_shares'].values()) == pytest.approx(by_class)
    begun, ended = weights(source), weights(adapted / 'iter_4.pth')
    assert set(ended) - set(begun) == {'prototypes.means', 'prototypes.counts'}
    anchor = load_file(adapted / 'anchor.safetensors')
    assert 'head.norm.running_mean' in anchor and not any('memory_encoder' in name for name in anchor)
    assert all(torch.equal(value, begun[name]) for name, value in anchor.items())
    assert not torch.equal(ended['head.fuse.weight'], begun['head.fuse.weight'])
    assert ended['prototypes.counts'].max() > 1
    assert set(losses_of(adapted)[4]) == {'loss', 'loss_source', 'loss_target', 'loss_fpa'}


def test_labels_by_instances_follow_cached_masks(source, tiny_toypass, tiny_caches, run_tool, monkeypatch, tmp_path):
    config, work = tmp_path / 'by_instances.py', tmp_path / 'work'
    text = BY_INSTANCES.replace('{root}', str(ROOT)).replace('{data}', str(tiny_toypass[0]))
    config.write_text(text.replace('{cache}', str(tiny_caches['train'])))
    flags = ('--work-dir', work, '--load-from', source, '--cfg-options', 'val_cfg=None', 'val_dataloader=None')
    ran = run_tool('train.py', config, *flags, 'val_evaluator=None')
    assert ran.returncode == 0, ran.stderr[-2000:]
    manifest = json.loads((work / 'pseudo_labels/round_0/manifest.json').read_text())
    cache = open_cache(tiny_caches['train'])
    assert (manifest['labelling']['rule'], manifest['masks']) == ('ssa', cache.fingerprint.key)
    assert manifest['coverage'] == 1  # Felzenszwalb's masks cover every pixel
    name = manifest['images'][0]
    labels = np.asarray(Image.open(work / f'pseudo_labels/round_0/{name}.png'))
    # Most pixels of a mask of the first window have one label: windows beside it may overrule it in a few.
    shares = [
        np.bincount(labels[: mask.shape[0], : mask.shape[1]][mask]).max() / mask.sum()
        for mask in cache[name].windows[0].masks
    ]
    assert np.median(shares) > 0.9
    without = config.with_name('without.py')
    without.write_text(text.replace(", cache='{cache}'", ', cache=None'))
    told = complaint('train', monkeypatch, without, '--work-dir', tmp_path / 'other', '--load-from', source)
    assert 'labels by ctcf and ssa need cached masks, and train_dataloader.dataset.target has no cache' in told


def test_the_labels_of_rounds_are_scored_against_the_truth(adapted, tiny_toypass, run_tool, tmp_path):
    flags = ('--data', tiny_toypass[0], '--json', tmp_path / 'labels.json')
    scored = run_tool('score_labels.py', adapted, *flags)
    assert scored.returncode == 0, scored.stderr[-2000:]
    first, second = json.loads((tmp_path / 'labels.json').read_text())
    assert (first['round'], second['round'], first['rule'], first['images']) == (0, 1, 'unanimous', 3)
    manifest = json.loads((adapted / 'pseudo_labels/round_0/manifest.json').read_text())
    to_13 = REMAPS['cityscapes19', 'cityscapes13']
    labels, truth = [], []
    for name in manifest['images']:
        labels.append(np.asarray(Image.open(adapted / f'pseudo_labels/round_0/{name}.png')))
        truth.append(to_13[np.asarray(Image.open(tiny_toypass[0] / f'truth/target/train/{name}_labelTrainIds.png'))])
    labels, truth = np.stack(labels), np.stack(truth)
    scored_pixels = (labels < 255) & (truth < 255)
    assert first['accuracy'] == pytest.approx((labels == truth)[scored_pixels].mean())
    labels, truth = labels[scored_pixels], truth[scored_pixels]
    ious = [((labels == c) & (truth == c)).sum() / n for c in range(13) if (n := ((labels == c) | (truth == c)).sum())]
    assert first['mIoU'] == pytest.approx(np.mean(ious)) and first['coverage'] == manifest['coverage']
    assert f'| {adapted} | 1 | unanimous | 3 | ' in scored.stdout
    empty = run_tool('score_labels.py', tmp_path, *flags)
    assert empty.returncode == 2 and 'has no labels of rounds; give the work dir of a run' in empty.stderr


def test_killed_while_it_labels_a_run_resumes_to_equal_files_and_losses(start, adapted, tmp_path):
    work = tmp_path / 'work'
    process = start(work)
    second = work / 'pseudo_labels/round_1'
    while not list(second.rglob('*.png')):
        assert process.poll() is None
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = {path: path.stat().st_ino for path in second.rglob('*.png')}
    assert 0 < len(there) < 3 and (work / 'iter_2.pth').exists() and not (work / 'iter_3.pth').exists()
    finish(start(work, '--resume'))
    assert {path: path.stat().st_ino for path in there} == there  # kept, not made again
    assert labels_of(work) == labels_of(adapted)
    assert losses_of(work) == losses_of(adapted) and len(losses_of(adapted)) == 4
    assert equal_weights(work / 'iter_4.pth', adapted / 'iter_4.pth')


def test_in_the_middle_of_a_round_it_resumes_with_its_labels(start, adapted, tmp_path):
    work = tmp_path / 'work'
    shutil.copytree(adapted, work)
    (work / 'iter_4.pth').unlink()
    finish(start(work, '--resume'))
    assert labels_of(work) == labels_of(adapted)
    assert equal_weights(work / 'iter_4.pth', adapted / 'iter_4.pth')


def test_without_a_source_model_it_is_one_line(configs, tmp_path, monkeypatch):
    assert complaint('train', monkeypatch, configs / 'adapt.py', '--work-dir', tmp_path) == (
        'the adaptation starts from a source model, and none is given; train one with a config source_*.py of '
        'mmseg_configs/omnisam (source_toypass.py for adapt_toypass.py) and give its checkpoint, for training by '
        '--load-from FILE'
    )


def test_two_processes_have_the_labels_and_prototypes_of_one(start, tmp_path):
    options = ['train_cfg.max_iters=1', 'train_cfg.val_interval=9', 'model.step=patch']
    options += ['default_hooks.rounds.first=2']
    meeting = meeting_of_two()
    flags = ['--launcher', 'pytorch', '--cfg-options', *options]
    both = [start(tmp_path / 'two', *flags, environment=rank) for rank in meeting]
    finish(*both)
    finish(start(tmp_path / 'one', '--cfg-options', *options, 'train_dataloader.batch_size=2'))
    assert labels_of(tmp_path / 'two') == labels_of(tmp_path / 'one')
    two, one = (weights(tmp_path / name / 'iter_1.pth') for name in ('two', 'one'))
    assert torch.equal(two['prototypes.counts'], one['prototypes.counts']) and one['prototypes.counts'].any()
    torch.testing.assert_close(two['prototypes.means'], one['prototypes.means'])


def test_an_adapted_model_is_scored_and_labels_images(configs, adapted, run_tool, tiny_toypass, tmp_path):
    scored = run_tool('test.py', configs / 'adapt.py', adapted / 'iter_4.pth', '--work-dir', tmp_path, '--limit', 1)
    assert scored.returncode == 0, scored.stderr[-2000:]
    assert '| sequence |' in scored.stdout
    images = tmp_path / 'images'
    images.mkdir()
    shutil.copy(tiny_toypass[0] / 'target/leftImg8bit/val/cs/1.png', images)
    flags = ('--images', images, '--out', tmp_path / 'out')
    made = run_tool('predict.py', configs / 'adapt.py', adapted / 'iter_4.pth', *flags)
    assert made.returncode == 0, made.stderr[-2000:]
    assert np.asarray(Image.open(tmp_path / 'out/labels/1.png')).shape == (100, 512)
    assert Path(tmp_path / 'out/predictions.json').exists()
