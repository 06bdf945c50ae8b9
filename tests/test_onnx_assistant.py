"""A network from an ONNX file as teacher assistant: what it sees, what its outputs mean, how it fails."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from test_configs import panorama
from test_goodsam import batch, build, optimizers
from torch import nn

from stage2_distill.errors import ConfigError
from stage2_distill.models.onnx_assistant import OnnxAssistant
from stage2_distill.training.experiment import build_runner, read_config

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


class Points(nn.Module):
    """Logits of ``outputs`` classes, each a weighted sum of a pixel's channels; ``last`` has the channels last."""

    def __init__(self, outputs, last=False, probabilities=False):
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.last, self.probabilities = nn.Conv2d(3, outputs, 1), last, probabilities

    def forward(self, images):
        logits = self.mix(images.permute(0, 3, 1, 2) if self.last else images)
        logits = logits.softmax(1) if self.probabilities else logits
        return logits.permute(0, 2, 3, 1) if self.last else logits


def export(path, network, size=(32, 32), count=None):
    """Write a network as ONNX; ``count`` fixes the batch size, ``size=None`` leaves the size of images free."""
    height, width = size or (8, 8)
    example = torch.rand(count or 2, *((height, width, 3) if getattr(network, 'last', False) else (3, height, width)))
    free = {} if count else {0: 'batch'}
    if size is None:
        free |= {2: 'height', 3: 'width'}
    torch.onnx.export(
        network, (example,), str(path), input_names=['image'], output_names=['logits'],
        dynamic_axes={'image': free, 'logits': free}, dynamo=False,
    )  # fmt: skip
    return str(path)


@pytest.fixture
def five(tmp_path):
    """A network of five classes, in the file and in PyTorch."""
    network = Points(5).eval()
    return export(tmp_path / 'five.onnx', network), network


def pixels(count=2, size=(32, 32)):
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(1)).float()


def normalised(images):
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def test_the_file_sees_the_pixels_that_were_normalised(five):
    file, network = five
    assistant = OnnxAssistant(file, num_classes=5)
    images = pixels()
    assert torch.allclose(assistant(images), network(images), atol=1e-2, rtol=1e-4)
    assistant.undo_normalisation(MEAN, STD, rgb=True)
    assert torch.allclose(assistant(normalised(images), mode='tensor'), network(images), atol=1e-2, rtol=1e-4)
    assistant.undo_normalisation(MEAN, STD, rgb=False)  # the preprocessor left the images as BGR
    assert torch.allclose(assistant(normalised(images.flip(1))), network(images), atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize(
    ('settings', 'literal'),
    [
        ({'input_range': (0, 1)}, lambda x: x / 255),
        ({'input_range': (-1, 1)}, lambda x: x / 127.5 - 1),
        ({'mean': MEAN, 'std': STD}, normalised),
        ({'mean': MEAN, 'std': STD, 'channel_order': 'bgr'}, lambda x: normalised(x.flip(1))),
        ({'input_range': (0, 1), 'mean': 0.5, 'std': 0.25}, lambda x: (x / 255 - 0.5) / 0.25),
    ],
)
def test_the_files_own_normalisation(five, settings, literal):
    file, network = five
    images = pixels()
    given = OnnxAssistant(file, num_classes=5, **settings)(images)
    assert torch.allclose(given, network(literal(images)), atol=1e-3, rtol=1e-4)


def test_tensorflows_order_of_dimensions(tmp_path):
    network = Points(5, last=True).eval()
    file = export(tmp_path / 'last.onnx', network)
    images = pixels()
    given = OnnxAssistant(file, num_classes=5, channels_last=True)(images)
    assert torch.allclose(given, network(images.movedim(1, -1)).movedim(-1, 1), atol=1e-2, rtol=1e-4)
    with pytest.raises(ConfigError, match='channels_last=False'):
        OnnxAssistant(file, num_classes=5)


@pytest.mark.parametrize('count', [1, 3])
def test_windows_are_resized_to_the_files_size_and_run_in_its_batches(tmp_path, count):
    network = Points(5).eval()
    file = export(tmp_path / 'fixed.onnx', network, (20, 24), count)
    images = pixels(5, (10, 12))
    given = OnnxAssistant(file, num_classes=5)(images)
    seen = nn.functional.interpolate(images, (20, 24), mode='bilinear')
    assert torch.allclose(given, network(seen), atol=1e-2, rtol=1e-4)
    with pytest.raises(ConfigError, match='takes images of 20x24'):
        OnnxAssistant(file, num_classes=5, window=(40, 48))


def test_a_file_that_takes_any_size_gets_windows_as_they_are_or_the_size_that_is_asked_for(tmp_path):
    file = export(tmp_path / 'any.onnx', Points(5).eval(), size=None)
    assert OnnxAssistant(file, num_classes=5)(pixels(1, (10, 14))).shape[-2:] == (10, 14)
    assert OnnxAssistant(file, num_classes=5, window=(20, 28))(pixels(1, (10, 14))).shape[-2:] == (20, 28)


@pytest.mark.parametrize('probabilities', [False, True])
def test_outputs_of_one_class_add_up_and_outputs_of_none_are_dropped(tmp_path, probabilities):
    # Six outputs: a background that is no class, two that are class 2, one each of 0, 1 and 4; none is class 3.
    network = Points(6, probabilities=probabilities).eval()
    file = export(tmp_path / 'six.onnx', network)
    images = pixels()
    assistant = OnnxAssistant(file, 5, [255, 2, 2, 0, 1, 4], input_range=(0, 1), probabilities=probabilities)
    given = assistant(images).softmax(1)
    p = network(images / 255) if probabilities else network(images / 255).softmax(1)
    kept = 1 - p[:, 0]
    literal = [p[:, 3] / kept, p[:, 4] / kept, (p[:, 1] + p[:, 2]) / kept, torch.zeros_like(kept), p[:, 5] / kept]
    assert torch.allclose(given, torch.stack(literal, 1), atol=1e-5)


def test_goodsam_learns_from_a_file_and_keeps_nothing_of_it(five):
    file, network = five
    assistant = {'type': 'OnnxAssistant', 'file': file, 'num_classes': 5, 'input_range': (0, 1)}
    model = build(teacher_assistant=assistant, update_ta=False)
    model.init_weights()
    data = batch(1)
    model.eval()
    with torch.no_grad():
        inputs = model.data_preprocessor(copy.deepcopy(data), False)['inputs']
        whole = model._assist(inputs[..., :32])
    assert torch.allclose(whole, network(data['inputs'][0][None, ..., :32].flip(1).float() / 255), atol=1e-4)
    log = model.train().train_step(data, optimizers(model))
    assert all(torch.isfinite(value) for value in log.values())
    saved = model.state_dict()
    assert not any(name.startswith('teacher_assistant') for name in saved)
    assert model.load_state_dict(saved).missing_keys == []
    again = pickle.loads(pickle.dumps(copy.deepcopy(model.teacher_assistant)))
    assert torch.equal(again(inputs[..., :32]), model.teacher_assistant(inputs[..., :32]))


def test_a_file_cannot_be_trained(five):
    with pytest.raises(ValueError, match='update_ta=False'):
        build(teacher_assistant={'type': 'OnnxAssistant', 'file': five[0], 'num_classes': 5})


def test_the_config_for_own_panoramas_takes_a_step_with_a_file(tmp_path):
    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / 'mmseg_configs' / 'goodsam_b0_onnx.py')
    config.model.teacher_assistant.file = export(tmp_path / 'city.onnx', Points(19), (100, 128))
    config.model.student.backbone.num_layers = [1, 1, 1, 1]
    config.model.student.init_cfg = None
    config.model.grid.update(window=(50, 64), stride=32)
    model = MODELS.build(config.model)
    sample = panorama(model.windows.over(50, 256))
    sample.left_out = torch.zeros(50, 256, dtype=torch.bool)
    sample.left_out[45:] = True
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    wrapper.initialize_count_status(model, 0, 10)
    data = {'inputs': [torch.randint(0, 256, (3, 50, 256), dtype=torch.uint8)], 'data_samples': [sample]}
    log = model.train().train_step(data, wrapper)
    assert all(torch.isfinite(value) for value in log.values())


def test_a_run_is_not_resumed_with_another_file(tmp_path, tiny_goodsam):
    """Checkpoints hold no weight of the file, so that nothing else would tell."""

    def run(name, **more):
        assistant = {'_delete_': True, 'type': 'OnnxAssistant', 'file': str(tmp_path / name)}
        changes = {'model': {'update_ta': False, 'teacher_assistant': assistant}, 'work_dir': str(tmp_path / 'work')}
        changes |= {f'val_{part}': None for part in ('dataloader', 'cfg', 'evaluator')}
        changes |= {'default_hooks.checkpoint.save_best': None, 'visualizer.vis_backends': [], 'store_lessons': False}
        runner = build_runner(read_config(str(tiny_goodsam), changes | more))
        runner.train()
        return runner

    for name in ('a.onnx', 'same.onnx', 'other.onnx'):
        torch.manual_seed(0)
        network = Points(19)
        if name.startswith('other'):
            torch.nn.init.ones_(network.mix.bias)
        export(tmp_path / name, network, (100, 128))
    run('a.onnx', **{'train_cfg.max_iters': 1})
    resumed = {'train_cfg.max_iters': 2, 'resume': True}
    with pytest.raises(ConfigError, match='was trained with a teacher assistant that is a file with SHA-256') as told:
        run('other.onnx', **resumed)
    assert '--load-from' in str(told.value)
    assert run('same.onnx', **resumed).iter == 2


def test_files_that_cannot_be_used_are_one_line(tmp_path, five):
    file = five[0]
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(Path(file).read_bytes()[:100])
    flat = export(tmp_path / 'flat.onnx', nn.Sequential(nn.Conv2d(3, 5, 1), nn.Flatten()), (8, 8), 1)
    for settings, problem in [
        ({'file': str(tmp_path / 'none.onnx')}, 'there is no ONNX file'),
        ({'file': str(broken)}, 'cannot be read as ONNX'),
        ({'file': file}, 'logits of 19 classes are needed'),
        ({'file': file, 'num_classes': 5, 'output': 'labels'}, "no output 'labels', but logits"),
        ({'file': flat, 'num_classes': 5}, 'logits of 5 classes are needed'),
    ]:
        with pytest.raises(ConfigError, match=problem) as caught:
            OnnxAssistant(**settings)
        assert '\n' not in str(caught.value)
    for settings in ({'std': 0}, {'channel_order': 'hsv'}, {'class_ids': [0, 1, 2, 3, 9]}, {'class_ids': [255] * 5}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            OnnxAssistant(file, num_classes=5, **settings)


def test_a_missing_onnxruntime_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__('sys').modules, 'onnxruntime', None)
    with pytest.raises(ConfigError, match='needs onnxruntime') as caught:
        OnnxAssistant(str(tmp_path / 'some.onnx'))
    assert 'pip install onnxruntime' in str(caught.value)


def test_what_the_file_gives_is_compared_with_what_it_promised(tmp_path, five, monkeypatch):
    assistant = OnnxAssistant(five[0], num_classes=5)
    assistant.outputs = 7
    with pytest.raises(ConfigError, match='logits of 7 classes'):
        assistant(pixels())
    assistant.window = (16, 16)
    with pytest.raises(ConfigError, match='cannot run') as caught:
        assistant(pixels())
    assert '\n' not in str(caught.value)
    assert np.isfinite(assistant.gain.numpy()).all()
