"""SAM 2: its sizes, its networks, and its masks in the cache."""

import hashlib
import sys
from dataclasses import asdict, replace
from inspect import signature

import numpy as np
import pytest
import torch
from conftest import TINY_WINDOWS

from stage1_sam_cache import WeightsError, open_cache
from stage1_sam_cache.commands import cache_sam, inspect_cache
from stage1_sam_cache.errors import GoodSAMError, InputSizeError
from stage1_sam_cache.sam.sam2_networks import build_sam2
from stage1_sam_cache.sam.sam2_sizes import SIZES, Sam2Size, check_patch, feature_sizes
from stage1_sam_cache.sam.settings import Sam2Settings
from stage1_sam_cache.sam.weights import ARCHITECTURES

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


# weights


@pytest.fixture
def small_weights(tmp_path, monkeypatch):
    """A smaller toy size, and a file of random weights as the publishers' are: below ``model``."""
    pytest.importorskip('sam2')
    monkeypatch.setitem(SIZES, 'toy', SMALL)
    torch.manual_seed(0)
    path = tmp_path / 'small.pt'
    torch.save({'model': build_sam2('toy').state_dict()}, path)
    return path


def test_fetched_weights_are_the_same_ever_after(small_weights, tmp_path, monkeypatch):
    from stage1_sam_cache.sam import sam2_weights
    from stage1_sam_cache.sam.network_weights import PublishedWeights
    from stage1_sam_cache.sam.sam2_weights import PUBLISHED, find_sam2_weights, load_sam2

    assert PUBLISHED['sam2_b'].url == (
        'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_base_plus.pt'
    )
    with pytest.raises(WeightsError, match='sam2_toy has no published weights; give a file with --checkpoint'):
        find_sam2_weights('sam2_toy')
    monkeypatch.setitem(sam2_weights.PUBLISHED, 'sam2_toy', PublishedWeights('s.pt', small_weights.as_uri(), None))
    path = find_sam2_weights('sam2_toy', tmp_path / 'kept')
    digest = hashlib.sha256(small_weights.read_bytes()).hexdigest()
    assert (tmp_path / 'kept/s.pt.sha256').read_text() == f'{digest}  s.pt\n'
    assert load_sam2('sam2_toy', path)[1] == digest
    content = torch.load(path, weights_only=True)
    content['model']['no_mem_embed'] += 1
    torch.save(content, path)
    assert find_sam2_weights('sam2_toy', tmp_path / 'kept') == path
    with pytest.raises(WeightsError, match=rf'SHA-256 is .*, s.pt.sha256 says {digest}: .*delete it and s.pt.sha256'):
        load_sam2('sam2_toy', path)
    (tmp_path / 'kept/s.pt.sha256').unlink()  # as of a file that the user put there
    assert load_sam2('sam2_toy', path)[1] != digest
    whole = small_weights.read_bytes()
    small_weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r'half/s.pt were damaged when they arrived.*run the command again'):
        find_sam2_weights('sam2_toy', tmp_path / 'half')
    assert list((tmp_path / 'half').iterdir()) == []
    with pytest.raises(WeightsError, match=r'lost/s.pt are missing and cannot be fetched.*put it there'):
        small_weights.unlink()
        find_sam2_weights('sam2_toy', tmp_path / 'lost')


def test_weights_of_another_size_are_named(small_weights, tmp_path):
    from stage1_sam_cache.sam.sam2_weights import load_sam2

    with pytest.raises(WeightsError, match=r'of another model.*these are the weights of --sam sam2_toy'):
        load_sam2('sam2_t', small_weights, official=False)
    torch.save(ARCHITECTURES['toy']().state_dict(), tmp_path / 'sam.pth')
    with pytest.raises(WeightsError, match=r'of another model.*these are the weights of --sam toy'):
        load_sam2('sam2_toy', tmp_path / 'sam.pth', official=False)


# masks

KEEP_ALL = Sam2Settings(points_per_side=3, pred_iou_thresh=-100.0, stability_score_thresh=0.0)
KEEP_ALL_FLAGS = ['--points-per-side', '3', '--pred-iou-thresh', '-100', '--stability-score-thresh', '0']


def test_masks_are_those_of_the_packages_generator(picture, monkeypatch):
    generation = pytest.importorskip('sam2.automatic_mask_generator')
    from stage1_sam_cache.sam.sam2_generator import Sam2MaskGenerator

    theirs = {name: p.default for name, p in signature(generation.SAM2AutomaticMaskGenerator).parameters.items()}
    for fixed in ('model', 'point_grids', 'output_mode', 'mask_threshold', 'kwargs'):
        del theirs[fixed]
    assert {**theirs, 'stable_masks': False} == asdict(Sam2Settings())

    sam2 = build_sam2(SMALL).eval()
    stock = generation.SAM2AutomaticMaskGenerator(sam2, 3, pred_iou_thresh=-100.0, stability_score_thresh=0.0)
    stock.predictor._bb_feat_sizes = feature_sizes(64)
    image = picture(40, 64)
    records = [record for record in stock.generate(image) if record['area']]
    ours = Sam2MaskGenerator(sam2, 'sam2_toy', '0' * 64, KEEP_ALL).generate(image)
    assert len(ours) == len(records) > 0
    for i, record in enumerate(records):
        np.testing.assert_array_equal(ours.masks[i], record['segmentation'])
        assert ours.predicted_iou[i] == pytest.approx(record['predicted_iou'])
        assert ours.stability[i] == pytest.approx(record['stability_score'])
    for settings in (
        replace(KEEP_ALL, pred_iou_thresh=100.0, crop_n_layers=1),
        replace(KEEP_ALL, pred_iou_thresh=100.0, use_m2m=True, multimask_output=False),
    ):
        assert len(Sam2MaskGenerator(sam2, 'sam2_t', '0' * 64, settings).generate(picture(33, 7))) == 0
    with pytest.raises(GoodSAMError, match=r'removes small regions by a CUDA operator, which does not run on cpu'):
        Sam2MaskGenerator(sam2, 'sam2_t', '0' * 64, replace(KEEP_ALL, min_mask_region_area=9))


def test_masks_are_cached_resumed_verified_and_scored(small_weights, tiny_toypass, tmp_path, monkeypatch, capsys):
    from commands import score_masks
    from stage1_sam_cache.sam.sam2_generator import Sam2MaskGenerator

    data, cache = tiny_toypass[0], tmp_path / 'cache'
    command = ['--dataset', 'toypass', '--split', 'val', '--data-root', str(data), '--limit', '2', *TINY_WINDOWS]
    command += ['--overlap-source', 'window', '--sam', 'sam2_toy', '--checkpoint', str(small_weights)]
    command += ['--device', 'cpu', '--out', str(cache), *KEEP_ALL_FLAGS]
    original, calls = Sam2MaskGenerator.generate, []

    def interrupted(self, image):
        calls.append(image.shape)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return original(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(Sam2MaskGenerator, 'generate', interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache_sam.main(command)
    assert 'masks by toy_sam2 sam2_toy (not SAM) on cpu' in capsys.readouterr().out
    assert cache_sam.main(command) == 0
    assert '1 done, 1 already there' in capsys.readouterr().out
    assert inspect_cache.main(['verify', str(cache), '--full']) == 0
    opened = open_cache(cache, expect={'generator': {'name': 'toy_sam2', 'model': 'sam2_toy', 'level': 'stock'}})
    identity = opened.fingerprint.settings['generator']
    assert identity['weights_sha256'] == hashlib.sha256(small_weights.read_bytes()).hexdigest()
    assert {'sam2', 'use_m2m', 'multimask_output', 'stable_masks', 'region_operator'} <= identity.keys()
    assert score_masks.main([str(cache), '--data', str(data)]) == 0
    assert 'toy_sam2' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('flags', 'complaint'),
    [
        (['--sam', 'sam2_t', '--level', 'exact'], '--sam sam2_t has --level stock alone, not exact'),
        (['--sam', 'sam2_t', '--adapter', 'a'], '--adapter is for SAM, not for --sam sam2_t'),
        (['--sam', 'sam2_t', '--encoder-batch', '2'], '--encoder-batch is for SAM'),
        (['--sam', 'toy', '--use-m2m'], '--use-m2m is for SAM 2: --sam sam2_t, '),
        (['--generator', 'felzenszwalb', '--no-multimask-output'], '--multimask-output is for --generator sam'),
    ],
)
def test_flags_of_sam_and_of_sam_2_are_kept_apart(image_folder, capsys, flags, complaint):
    with pytest.raises(SystemExit, match='2'):
        cache_sam.main(['--images', str(image_folder('a')), *flags])
    assert complaint in capsys.readouterr().err


def test_without_the_package_sam_2_is_asked_for_in_vain(image_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sam2', None)
    with pytest.raises(GoodSAMError, match='needs the package sam2'):
        cache_sam.main(['--images', str(image_folder('a')), '--sam', 'sam2_t', '--out', 'nowhere'])
