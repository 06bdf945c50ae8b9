"""What the project needs of MMEngine and mmseg beyond their documentation; an upgrade that changes it fails here."""

import inspect
import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub
from mmengine.model import BaseDataPreprocessor
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmseg.models.segmentors.base import BaseSegmentor

from stage2_distill.data.sampler import DrawSampler
from stage2_distill.data.transforms import PanoramaPreProcessor
from stage2_distill.errors import ConfigError
from stage2_distill.models.goodsam import GoodSAM
from stage2_distill.omnisam.omnisam import OmniSAM
from stage2_distill.training.checked_runner import CheckedRunner
from stage2_distill.training.checkpoint_hook import AtomicCheckpointHook

PRIVATE = [
    # class of ours, its base, method, the method of the base that calls it
    (GoodSAM, BaseSegmentor, '_forward', BaseSegmentor.forward),
    (OmniSAM, BaseSegmentor, '_forward', BaseSegmentor.forward),
]


@pytest.mark.parametrize(('ours', 'base', 'name', 'caller'), PRIVATE)
def test_private_methods_that_are_overridden_are_there_and_called(ours, base, name, caller):
    assert name in vars(ours)
    theirs = inspect.signature(getattr(base, name)).parameters
    assert list(inspect.signature(getattr(ours, name)).parameters) == list(theirs)
    assert f'self.{name}(' in inspect.getsource(caller)


def test_nothing_else_that_is_private_is_overridden():
    import stage2_distill.components  # noqa: F401

    known = {(ours, name) for ours, _, name, _ in PRIVATE}
    modules = [module for name, module in sys.modules.items() if name.startswith('stage2_distill.')]
    for ours in {each for module in modules for each in vars(module).values() if inspect.isclass(each)}:
        if not ours.__module__.startswith('stage2_distill'):
            continue
        bases = [base for base in ours.__mro__ if base.__module__.split('.')[0] in ('mmengine', 'mmseg', 'mmcv')]
        for name in vars(ours):
            if name.startswith('_') and not name.startswith(('__', '_abc_')) and (ours, name) not in known:
                assert not any(callable(vars(base).get(name)) for base in bases), (ours, name)


def test_the_preprocessor_copies_without_blocking(monkeypatch):
    """mmseg's preprocessor takes no such argument, MMEngine's keeps it in a private attribute."""
    assert BaseDataPreprocessor(non_blocking=True)._non_blocking is True
    copied = []
    monkeypatch.setattr(torch.Tensor, 'to', lambda tensor, *_, **options: copied.append(options) or tensor)
    PanoramaPreProcessor().cast_data([torch.zeros(1)])
    assert copied == [{'non_blocking': True}]


def test_loops_ask_the_runner_for_loaders():
    assert 'runner.build_dataloader(' in inspect.getsource(BaseLoop.__init__)
    theirs, ours = (inspect.signature(each.build_dataloader).parameters for each in (Runner, CheckedRunner))
    assert list(ours) == ['self', *theirs]


def test_a_draw_is_the_same_in_any_process_and_after_a_skip(monkeypatch):
    def draws(rank, world, skipped=0):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world))
        sampler = DrawSampler(range(5), seed=3)
        if skipped:
            sampler.skip(skipped)
        return list(itertools.islice(iter(sampler), 12 // world - skipped))

    whole = draws(0, 1)
    assert len({draw.seed for draw in whole}) == 12
    plain = InfiniteSampler(range(5), seed=3)
    assert [draw.image for draw in whole] == list(itertools.islice(iter(plain), 12))
    assert draws(0, 2) == whole[::2]
    assert draws(1, 2) == whole[1::2]
    assert draws(0, 1, skipped=7) == whole[7:]
    assert draws(1, 2, skipped=2) == whole[5::2]


def test_a_checkpoint_goes_when_the_next_one_is_there(tmp_path):
    hook = AtomicCheckpointHook(by_epoch=False, interval=1, max_keep_ckpts=1, save_best='mIoU', rule='greater')
    seen = []

    def save_checkpoint(out_dir, filename, *_, **options):
        seen.append(sorted(path.name for path in tmp_path.glob('*.pth')))
        hook.file_backend.put(b'weights', Path(out_dir, filename))

    logger = SimpleNamespace(info=lambda *_: None)
    runner = SimpleNamespace(
        iter=0, epoch=0, max_iters=9, work_dir=str(tmp_path), logger=logger, save_checkpoint=save_checkpoint,
        message_hub=MessageHub('test_a_checkpoint_goes'),
    )  # fmt: skip
    hook.before_train(runner)
    for iteration in range(3):
        runner.iter = iteration
        hook.after_train_iter(runner, 0)
        assert [path.name for path in tmp_path.glob('iter_*.pth')] == [f'iter_{iteration + 1}.pth']
        assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / f'iter_{iteration + 1}.pth')
    assert seen == [[], ['iter_1.pth'], ['iter_2.pth']]
    for score in (1.0, 2.0):
        runner.iter += 1
        hook.after_val_epoch(runner, {'mIoU': score})
        assert [path.name for path in tmp_path.glob('best_*.pth')] == [f'best_mIoU_iter_{runner.iter}.pth']
    assert any('best_mIoU_iter_3.pth' in names for names in seen[5:])
    with pytest.raises(ConfigError, match='save_best=mIoU is no score; scores: aAcc, miou'):
        hook.after_val_epoch(runner, {'aAcc': 1.0, 'miou': 1.0})


def test_the_checkpoint_hook_removes_by_its_backend():
    source = inspect.getsource(CheckpointHook)
    assert 'self.file_backend.remove(' in source
    assert 'os.remove' not in source


UNTOUCHED = """
from mmengine.runner.checkpoint import CheckpointLoader
import os
before = {scheme: CheckpointLoader._schemes[scheme] for scheme in ('', 'http://', 'https://')}
import stage2_distill.components
import stage2_distill.deployment.export
assert {scheme: CheckpointLoader._schemes[scheme] for scheme in before} == before
assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ
from stage2_distill.checkpoints.safe_checkpoints import use_safe_loaders
use_safe_loaders()
assert not {CheckpointLoader._schemes[scheme] for scheme in before} & set(before.values())
print('as it was')
"""


def test_importing_the_components_leaves_mmengines_loaders_as_they_are():
    env = {name: value for name, value in os.environ.items() if name != 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'}
    done = subprocess.run([sys.executable, '-c', UNTOUCHED], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.endswith('as it was\n'), done.stderr[-3000:]
