"""Weights as 8-bit integers: the format against a literal reading, damaged files, and the file that is shipped."""

from __future__ import annotations

import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.registry import MODELS
from reference.int8_weights import dequantize_row, quantize_row
from safetensors.torch import load_file, save_file

from stage2_distill.checkpoints.fit import check_fit
from stage2_distill.checkpoints.int8_weights import dequantize, quantize
from stage2_distill.checkpoints.safetensors_files import load_safetensors
from stage2_distill.checkpoints.shipped_weights import FOLDER
from stage2_distill.errors import CheckpointError
from stage2_distill.training.config_files import CONFIGS

SHIPPED = 'goodsam://segformer_b2_int8.safetensors'


def quantized(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [quantize_row(row) for row in weight.flatten(1).tolist()]
    numbers = torch.tensor([numbers for numbers, _ in rows], dtype=torch.int8).view(weight.shape)
    return numbers, torch.tensor([scale for _, scale in rows]).half()


@pytest.mark.parametrize('shape', [(3, 5), (4, 3, 2, 2), (1, 1)])
def test_values_are_whole_numbers_times_the_scale_of_their_row(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape) * torch.logspace(-2, 1, shape[0]).view(-1, *[1] * (len(shape) - 1))
    numbers, scale = quantized(weight)
    found = dequantize({'w': numbers, 'w.scale': scale, 'bias': torch.ones(2)})
    assert list(found) == ['w', 'bias']
    rows = zip(numbers.flatten(1).tolist(), scale.tolist(), strict=True)
    expected = torch.tensor([dequantize_row(*row) for row in rows]).view(shape)
    assert found['w'].dtype == torch.float32
    torch.testing.assert_close(found['w'], expected)
    # Half a step of the row, and the rounding of its scale.
    step = scale.float().view(-1, *[1] * (len(shape) - 1))
    assert ((found['w'] - weight).abs() <= 0.5 * step + 127 * step * 2**-11).all()


@pytest.mark.parametrize('shape', [(3, 5), (4, 3, 2, 2)])
def test_rounded_weights_are_the_nearest_multiples_of_their_scale(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape) * torch.logspace(-3, 1, shape[0]).view(-1, *[1] * (len(shape) - 1))
    weight[1] = 0
    found = quantize({'w': weight})
    numbers, scale = quantized(weight)
    assert found['w'].dtype == torch.int8 and found['w.scale'].dtype == torch.float16
    assert torch.equal(found['w.scale'][[0, 2]], scale[[0, 2]]) and not found['w'][1].any()
    assert (found['w'].int() - numbers.int()).abs().max() <= 1  # the scale is rounded before it divides
    step = found['w.scale'].float().view(-1, *[1] * (len(shape) - 1))
    limit = 0.5 * step + 127 * step * 2**-11  # where the rounded scale is too small for the largest
    assert ((dequantize(found)['w'] - weight).abs() <= limit + 1e-9).all()


def test_what_has_one_row_or_one_axis_or_is_whole_numbers_is_not_rounded():
    weights = {'code': torch.randn(1, 3, 2), 'bias': torch.randn(4), 'steps': torch.ones(2, 2, dtype=torch.int64)}
    found = quantize(weights)
    assert list(found) == list(weights) and all(found[name] is weights[name] for name in weights)


def test_weights_without_integers_are_as_they_are_whatever_their_names():
    weights = {'a': torch.ones(2, 2), 'a.scale': torch.ones(2), 'steps': torch.tensor(3)}
    found = dequantize(weights)
    assert list(found) == list(weights)
    assert all(found[name] is weights[name] for name in weights)


def test_a_row_of_zeros_stays_zero():
    numbers, scale = quantized(torch.zeros(2, 3))
    assert not dequantize({'w': numbers, 'w.scale': scale})['w'].any()


EIGHT = torch.ones(2, 3, dtype=torch.int8)


@pytest.mark.parametrize(
    ('weights', 'reason'),
    [
        ({'w': EIGHT}, r'w is int8 and has no w\.scale'),
        ({'w': EIGHT, 'w.scale': torch.ones(3).half()}, r'w\.scale is not one finite value for each row of \(2, 3\)'),
        ({'w': EIGHT, 'w.scale': torch.ones(2, 1).half()}, r'w\.scale is not one finite value for each row'),
        ({'w': EIGHT, 'w.scale': torch.tensor([1, torch.inf]).half()}, r'w\.scale is not one finite value'),
        ({'w': EIGHT, 'w.scale': torch.tensor([torch.nan, 1]).half()}, r'w\.scale is not one finite value'),
        ({'w': EIGHT[0, 0], 'w.scale': torch.tensor(1.0).half()}, r'w\.scale is not one finite value for each row'),
    ],
    ids=['no scale', 'scale of another length', 'scale of two axes', 'infinite', 'NaN', 'one number'],
)
def test_scales_that_do_not_fit_are_one_line(weights, reason, tmp_path):
    file = tmp_path / 'weights.safetensors'
    save_file(weights, file)
    with pytest.raises(CheckpointError, match=reason) as refused:
        load_safetensors(str(file))
    assert str(refused.value).startswith(f'{file}: damaged or no safetensors file (')
    assert '\n' not in str(refused.value)


def test_the_shipped_file_is_compared_with_its_digest(tmp_path):
    for name in ('segformer_b2_int8.safetensors', 'segformer_b2_int8.sha256'):
        shutil.copy(FOLDER / name, tmp_path / name)
    file = tmp_path / 'segformer_b2_int8.safetensors'
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=rf'SHA-256 is not the one in {tmp_path}/segformer_b2_int8\.sha256'):
        load_safetensors(str(file))


def test_the_shipped_assistant_fits_a_segformer_b2_with_finite_float32_weights():
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(CONFIGS / 'source/segformer_b2_toypass.py').model)
    check_fit(model, SHIPPED)
    weights = CheckpointLoader.load_checkpoint(SHIPPED, 'cpu')['state_dict']
    model.load_state_dict(weights)
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    stored = load_file(FOLDER / 'segformer_b2_int8.safetensors')
    eight = {name for name, weight in stored.items() if weight.dtype == torch.int8}
    assert eight == {name for name, weight in weights.items() if weight.ndim > 1}
    assert {weights[name].dtype for name in eight} == {torch.float32}
