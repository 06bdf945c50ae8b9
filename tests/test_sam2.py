"""SAM 2: its sizes, its networks, and its masks in the cache."""

import sys
from dataclasses import replace

import pytest
import torch

from stage1_sam_cache.errors import GoodSAMError, InputSizeError
from stage1_sam_cache.sam.sam2_networks import build_sam2
from stage1_sam_cache.sam.sam2_sizes import SIZES, Sam2Size, check_patch, feature_sizes

SMALL = Sam2Size(16, 1, (1, 1, 2, 1), (3,), (8, 4, 4, 2), dim=64, memory_dim=16, memory_layers=1, image_size=64)


def count(*modules):
    return sum(value.numel() for module in modules for value in module.parameters())


def build_on_meta(size):
    with torch.device('meta'):
        return build_sam2(size)


def low_rank_parameters(size, rank, literal):
    """Updates of queries and values of every block; the literal ones update ``dim`` rows where ``dim_out`` are."""
    total, dim = 0, size.width
    for block in range(sum(size.stages)):
        wider = dim * 2 if block in size.widening else dim
        total += 2 * rank * (dim + (dim if literal else wider))
        dim = wider
    return total


@pytest.mark.parametrize(
    ('name', 'trunk', 'neck', 'literal', 'full', 'whole'),
    [
        ('t', 26_849_472, 369_664, 64_512, 69_888, 38_962_498),
        ('s', 33_947_328, 369_664, 89_088, 94_464, 46_060_354),
        ('b', 68_675_712, 431_104, 159_488, 165_760, 80_850_178),
        ('l', 212_149_296, 553_984, 421_632, 429_696, 224_446_642),
    ],
)
def test_networks_have_the_official_numbers_of_parameters(name, trunk, neck, literal, full, whole):
    pytest.importorskip('sam2')
    sam2 = build_on_meta(name)
    assert count(sam2.image_encoder.trunk) == trunk
    assert count(sam2.image_encoder.neck) == neck
    assert count(sam2.memory_attention) == 5_922_304
    assert count(sam2.memory_encoder) == 1_384_608
    assert count(sam2.sam_mask_decoder.conv_s0, sam2.sam_mask_decoder.conv_s1) == 24_672
    assert count(sam2) == whole
    assert low_rank_parameters(SIZES[name], 4, literal=True) == literal
    assert low_rank_parameters(SIZES[name], 4, literal=False) == full
    # OmniSAM: without the memory encoder, with a semantic head for 13 classes. The paper counts in units of 2^20.
    omnisam = trunk + neck + 5_922_304 + 24_672 + 291_341 + literal
    paper = {'b': 72.0, 'l': 209.2}
    if name in paper:
        assert round(omnisam / 2**20, 1) == paper[name]
    assert omnisam == {'t': 33_521_965, 's': 40_644_397, 'b': 75_504_621, 'l': 219_363_229}[name]


def test_networks_built_without_memory_take_weights_and_compute_the_same():
    pytest.importorskip('sam2')
    built = build_sam2(SMALL).eval()
    empty = build_on_meta(SMALL).eval()
    empty.load_state_dict(built.state_dict(), assign=True)
    current, memory = torch.randn(16, 1, 64), torch.randn(32, 1, 16)  # tokens first, 4x4 and two of them
    results = [
        (
            net.forward_image(torch.ones(1, 3, 64, 64))['vision_features'],
            net.memory_attention(current, memory, 0 * current, 0 * memory),
        )
        for net in (built, empty)
    ]
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert all(layer.self_attn.freqs_cis.device.type == 'cpu' for layer in built.memory_attention.layers)


def test_the_encoder_gives_the_levels_that_are_announced():
    pytest.importorskip('sam2')
    sam2 = build_sam2(SMALL)
    for side in (32, 96):
        with torch.no_grad():
            levels = sam2.forward_image(torch.zeros(1, 3, side, side))['backbone_fpn']
        assert [tuple(level.shape[2:]) for level in levels] == feature_sizes(side)
        assert [level.shape[1] for level in levels] == [8, 16, 64]


def test_images_that_would_be_taken_wrongly_are_refused():
    with pytest.raises(InputSizeError, match='square images, not 192x256'):
        check_patch(192, 256)
    with pytest.raises(InputSizeError, match='multiple of 32, not 100x100; take 96 or 128'):
        feature_sizes(100)
    with pytest.raises(InputSizeError, match='take 32 or 64'):
        check_patch(16, 16)
    with pytest.raises(ValueError, match='open a stage'):
        replace(SMALL, global_blocks=(2,))
    with pytest.raises(ValueError, match='known: t, s, b, l, toy'):
        build_sam2('huge')


def test_without_the_package_one_line_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sam2', None)
    with pytest.raises(GoodSAMError, match=r'needs the package sam2.*make sam2') as caught:
        build_sam2('t')
    assert '\n' not in str(caught.value)
