"""Teacher assistants that see the windows of a panorama in their order: GoodSAM's side, and OmniSAM as one."""

import json

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from test_goodsam import GRID, SIZE, batch, build, network, optimizers, weights
from torch.nn.parallel import DistributedDataParallel

from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint
from stage2_distill.errors import ConfigError
from stage2_distill.models.sequence_assistant import sequence_method
from stage2_distill.omnisam.merging import merge


class Remembering(torch.nn.Module):
    """Adds to a window's logits those of the window before it, which no network of single windows could."""

    num_classes, align_corners = 5, False

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.mix = torch.nn.Conv2d(3, 5, 1)
        self.grids = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise AssertionError('it sees sequences alone')

    def forward_sequence(self, windows, grid):
        assert windows.shape[1] == len(grid.windows)
        self.grids.append(grid)
        logits = self.mix(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        return logits + logits.roll(1, 1)


@pytest.fixture
def remembering(monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'Remembering', Remembering)
    return {'type': 'Remembering'}


def test_goodsam_gives_such_an_assistant_all_windows_at_once(remembering):
    model = build(teacher_assistant=remembering, update_ta=False)
    images = torch.randn(2, 3, *SIZE)
    logits = model.assistant_windows(images)
    assert logits.shape == (2, len(GRID.windows), 5, *GRID.window)
    assert model.teacher_assistant.grids == [GRID]
    alone = torch.stack([model.teacher_assistant.mix(GRID.crop(images, box)) for box in GRID.windows], 1)
    assert torch.allclose(logits, alone + alone.roll(1, 1), atol=1e-5)


@pytest.mark.parametrize('trained', [False, True])
def test_a_step_trains_what_it_should_with_such_an_assistant(remembering, trained):
    model = build(teacher_assistant=remembering, update_ta=trained)
    networks = (model.teacher_assistant, model.student)
    before = [weights(part) for part in networks]
    model.train_step(batch(), optimizers(model))
    kept = [torch.equal(old, weights(part)) for old, part in zip(before, networks, strict=True)]
    assert kept == [not trained, False]


def test_its_averaged_copy_labels_in_sequence_too(remembering):
    model = build(teacher_assistant=remembering, label_momentum=0.9)
    images = torch.randn(1, 3, *SIZE)
    assert torch.equal(model.assistant_windows(images), model.assistant_windows(images, model.label_assistant))
    assert len(model.label_assistant.module.grids) == 1


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        ({'ta_input_scale': 2.0}, 'ta_input_scale enlarges windows'),
        ({'test_cfg': {'predictors': ('student', 'ta_whole')}}, 'sees windows in their order and no whole panorama'),
    ],
)
def test_settings_of_assistants_that_see_one_image_are_refused(remembering, settings, said):
    with pytest.raises(ValueError, match=said):
        build(teacher_assistant=remembering, update_ta=False, **settings)


def test_several_processes_cannot_train_it():
    wrapped = DistributedDataParallel.__new__(DistributedDataParallel)
    torch.nn.Module.__init__(wrapped)
    wrapped.module = Remembering()
    with pytest.raises(ConfigError, match='several processes train a Remembering'):
        sequence_method(wrapped)
    wrapped.module = MODELS.build(network())
    assert sequence_method(wrapped) is None


# --- OmniSAM ---


def omnisam(laps):
    pytest.importorskip('sam2')
    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / 'mmseg_configs/omnisam/goodsam_b0_toypass.py').model.teacher_assistant
    torch.manual_seed(0)
    grid = {'window': GRID.window, 'stride': 16, 'wrap': True}
    changes = {'patch_size': 64, 'num_classes': 5, 'init_cfg': None, 'grid': grid, 'test_cfg': {'laps': laps}}
    return MODELS.build({**config, **changes}).eval()


def cut(images):
    return torch.stack([GRID.crop(images, box) for box in GRID.windows], 1)


@pytest.mark.parametrize('laps', ['forward', 'ring'])
def test_omnisams_windows_are_those_of_its_own_prediction(laps):
    model, images = omnisam(laps), torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = model.forward_sequence(cut(images), GRID)
        assert logits.shape == (2, len(GRID.windows), 5, *GRID.window)
        for sample, each in zip(model.predict(images), logits, strict=True):
            merged = merge(enumerate(each), GRID, 'mean')
            assert torch.allclose(sample.confidence.data[0], merged.confidence, atol=1e-5)
            assert (sample.pred_sem_seg.data[0] == merged.labels).double().mean() > 0.999


def test_both_laps_are_averaged():
    images = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    one, both = omnisam('forward'), omnisam('both')
    with torch.no_grad():
        there = one.forward_sequence(cut(images), GRID)
        back = one.forward_sequence(cut(images).flip(1), GRID).flip(1)
        assert not torch.allclose(there, back, atol=1e-2)  # the memory matters
        assert torch.allclose(both.forward_sequence(cut(images), GRID), (there + back) / 2, atol=1e-5)


def test_a_trained_omnisam_learns_and_its_memory_carries_no_gradient():
    model = omnisam('forward').train()
    images = torch.randn(1, 3, *SIZE)
    logits = model.forward_sequence(cut(images).requires_grad_(), GRID)
    windows = cut(images).requires_grad_()
    model.forward_sequence(windows, GRID)[:, -1].sum().backward()
    reached = windows.grad.flatten(2).abs().sum(2)[0] > 0
    assert logits.requires_grad and reached.tolist() == [False] * (len(GRID.windows) - 1) + [True]


def test_the_memory_of_another_image_is_no_setting_of_an_assistant():
    model = omnisam('both')
    model.settings = type(model.settings)(memory='other')
    with pytest.raises(ConfigError, match='control of whole predictions'):
        model.forward_sequence(torch.zeros(1, len(GRID.windows), 3, *GRID.window), GRID)


@pytest.fixture(scope='module')
def config(tiny_toypass, tiny_caches, tiny_goodsam, tmp_path_factory):
    """GoodSAM on tiny panoramas with OmniSAM as assistant, which starts from a checkpoint of its own training."""
    pytest.importorskip('sam2')
    folder = tmp_path_factory.mktemp('assistant')
    init_default_scope('mmseg')
    file = folder / 'tiny.py'
    file.write_text(
        f"""
_base_ = '{tiny_goodsam}'
custom_imports = dict(imports=['stage2_distill.components', 'stage2_distill.omnisam.registered'])
model = dict(
    update_ta=False,
    teacher_assistant=dict(
        _delete_=True, type='OmniSAM', size='toy', num_classes=19, patch_size=64, grid={{{{_base_.model.grid}}}},
        init_cfg=dict(type='Pretrained', checkpoint='{folder}/omnisam.pth'),
    ),
)
"""
    )
    settings = Config.fromfile(file).model.teacher_assistant
    torch.manual_seed(5)
    torch.save({'state_dict': MODELS.build(settings).state_dict(), 'meta': {}}, folder / 'omnisam.pth')
    return file


def test_a_student_is_trained_resumed_and_scored_with_omnisam(config, tiny_caches, run_tool, tmp_path):
    work = tmp_path / 'work'
    flags = ('--work-dir', work, '--cfg-options', 'val_cfg=None', 'val_dataloader=None', 'val_evaluator=None')
    ran = run_tool('train.py', config, *flags, 'train_cfg.max_iters=2')
    assert ran.returncode == 0, ran.stderr[-2000:]
    kept = check_checkpoint(str(work / 'iter_2.pth'))['state_dict']
    given = torch.load(config.parent / 'omnisam.pth', weights_only=True)['state_dict']
    assert all(torch.equal(value, kept[f'teacher_assistant.{name}']) for name, value in given.items())
    ran = run_tool('train.py', config, '--resume', *flags)
    assert ran.returncode == 0, ran.stderr[-2000:]
    out = tmp_path / 'scores.json'
    chosen = ('--predictor', 'student', 'ta_tile', 'ensemble', '--work-dir', work, '--out', out)
    ran = run_tool('test.py', config, work / 'iter_4.pth', '--cache', tiny_caches['val'], '--limit', '1', *chosen)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert [score['mode'] for score in json.loads(out.read_text())['scores']] == ['student', 'ta_tile', 'ensemble']


def test_a_checkpoint_of_another_network_is_refused(config, run_tool, tmp_path):
    other = 'model.teacher_assistant.init_cfg.checkpoint=goodsam://segformer_b0.safetensors'
    ran = run_tool('train.py', config, '--work-dir', tmp_path, '--cfg-options', other)
    assert ran.returncode == 2 and len(ran.stderr.strip().splitlines()[-1]) < 400
    assert 'segformer_b0.safetensors' in ran.stderr.strip().splitlines()[-1]
