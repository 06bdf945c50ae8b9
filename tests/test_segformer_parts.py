"""SegFormer's parts that are computed in another way than mmseg's: the same weights, logits and gradients."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch.utils.flop_counter import FlopCounterMode

from stage2_distill import components  # noqa: F401
from stage2_distill.models.segformer import as_mmsegs_own, segformer_config

LEVELS = (1, 2, 4, 8)


def pair(seed=0, **head):
    """A SegFormer of the project and mmseg's own with the same weights; norms as after some training."""
    init_default_scope('mmseg')
    torch.manual_seed(seed)
    backbone = {'embed_dims': 8, 'num_layers': [1, 2, 1, 1], 'drop_path_rate': 0.0}
    config = segformer_config('b0', 'mmseg', 5, backbone, {'channels': 16, 'dropout_ratio': 0.0, **head})
    ours = MODELS.build(config)
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
    plain_config, weights = as_mmsegs_own(config, ours.state_dict())
    assert (plain_config['backbone']['type'], plain_config['decode_head']['type']) == (
        'MixVisionTransformer',
        'SegformerHead',
    )
    plain = MODELS.build(plain_config)
    plain.load_state_dict(weights)  # every name fits
    return ours, plain


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('head', [{}, {'norm_cfg': None}, {'align_corners': True}, {'interpolate_mode': 'bicubic'}])
def test_logits_and_gradients_are_those_of_mmsegs_segformer(training, head):
    ours, plain = (network.train(training).double() for network in pair(**head))
    images = torch.randn(2, 3, 70, 101, dtype=torch.float64)  # sides that no level divides
    logits, expected = (network._forward(images) for network in (ours, plain))
    torch.testing.assert_close(logits, expected)
    direction = torch.randn_like(expected)
    for found in (logits, expected):
        (found * direction).sum().backward()
    gradients = dict(plain.named_parameters())
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name].grad, rtol=1e-7, atol=1e-9, msg=name)
    if training:
        torch.testing.assert_close(dict(ours.named_buffers()), dict(plain.named_buffers()))


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_head_takes_levels_of_any_sizes(height, width, seed):
    ours, plain = pair()
    torch.manual_seed(seed)
    levels = [
        torch.randn(1, 8 * heads, -(-height // factor), -(-width // factor))
        for heads, factor in zip((1, 2, 5, 8), LEVELS, strict=True)
    ]
    with torch.no_grad():
        found, expected = (network.eval().decode_head(levels) for network in (ours, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_head_multiplies_less_and_no_matrix_of_attention_is_kept():
    ours, plain = (network.eval() for network in pair())
    levels = [torch.randn(1, 8 * heads, 64 // k, 64 // k) for heads, k in zip((1, 2, 5, 8), LEVELS, strict=True)]
    asked = []
    for network in (ours, plain):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.decode_head(levels)
        asked.append(counter.get_total_flops())
    positions = [(64 // k) ** 2 for k in LEVELS]
    assert asked[1] - asked[0] == 2 * 16 * 16 * (4 * positions[0] - sum(positions))  # 16 channels a level
    assert (_matrices_kept(ours), _matrices_kept(plain)) == (0, 2)


def _matrices_kept(network):
    """How many tensors of 256 positions by 4 reduced ones a backward pass of the backbone has in store."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value) or value, lambda value: value):
        network.backbone(torch.randn(1, 3, 64, 64))
    return sum(256 in value.shape and 4 in value.shape for value in kept)


def test_a_copy_is_independent():
    ours, _ = pair()
    copied = copy.deepcopy(ours)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.zero_()
    images = torch.randn(1, 3, 64, 64)
    assert ours._forward(images).abs().max() > 0
    assert copied._forward(images).abs().max() == 0
