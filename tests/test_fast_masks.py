"""The levels of mask generation against segment_anything's own generator, on trained toy weights and random ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from conftest import build_tiny_sam
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from segment_anything.modeling import Sam
from segment_anything.modeling.image_encoder import Attention, Block, ImageEncoderViT

from stage1_sam_cache.sam import exact_generation
from stage1_sam_cache.sam.exact_generation import ExactMaskGenerator, unpack
from stage1_sam_cache.sam.fast_encoder import FewCopiesBlock, FusedImageAttention
from stage1_sam_cache.sam.fast_generation import FastMaskGenerator, points_that_fit
from stage1_sam_cache.sam.fast_networks import accelerate
from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
from stage1_sam_cache.sam.settings import LEVELS, SamSettings
from stage1_sam_cache.sam.shared_attention import attend, conclude, share
from stage1_sam_cache.sam.weights import find_weights, load_sam

SHAPES = [(200, 256), (256, 200), (128, 256), (97, 61), (256, 256)]
OPTIONS = [
    {'points_per_side': 8, 'pred_iou_thresh': 0.3, 'stability_score_thresh': 0.5},
    {'points_per_side': 6, 'pred_iou_thresh': 0.0, 'stability_score_thresh': 0.0, 'points_per_batch': 7},
    {'points_per_side': 4, 'pred_iou_thresh': 0.2, 'stability_score_thresh': 0.3, 'crop_n_layers': 1},
    {'points_per_side': 6, 'pred_iou_thresh': 0.2, 'stability_score_thresh': 0.3, 'min_mask_region_area': 30},
]
LONG = pytest.mark.long
# The short form has two shapes with the first options, and each of the other options once.
CASES: list[Any] = [(shape, OPTIONS[0]) for shape in SHAPES[::3]]
CASES += [pytest.param(shape, OPTIONS[0], marks=LONG) for shape in SHAPES if shape not in SHAPES[::3]]
for options in OPTIONS[1:]:
    CASES += [pytest.param((200, 256), options, marks=LONG), ((97, 61), options)]


def toy() -> Sam:
    return load_sam('toy', find_weights('toy'))[0]


@pytest.fixture(scope='module')
def street(tiny_toypass):
    """Crops of a panorama of ToyPASS, enlarged to a size of choice."""
    from PIL import Image

    file = next((tiny_toypass[0] / 'target/leftImg8bit/val').rglob('*.png'))
    panorama = Image.open(file).convert('RGB')

    def crop(height: int, width: int) -> np.ndarray:
        return np.asarray(panorama.crop((100, 0, 228, 100)).resize((width, height)))

    return crop


def masks_of(generator: ExactMaskGenerator, image: np.ndarray) -> np.ndarray:
    return unpack(*generator.generate_packed(image)[:2])


def same_records(records: list, expected: list) -> None:
    assert len(records) == len(expected)
    for a, b in zip(records, expected, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_array_equal(a['segmentation'], b['segmentation'])
        assert {name: a[name] for name in a if name != 'segmentation'} == {
            name: b[name] for name in b if name != 'segmentation'
        }


OVERRIDDEN = ['_generate_masks', '_process_batch', '_process_crop']


def test_the_overridden_private_methods_of_segment_anything_are_these():
    theirs = vars(SamAutomaticMaskGenerator)
    ours = set(vars(ExactMaskGenerator)) | set(vars(FastMaskGenerator))
    assert sorted(name for name in ours & set(theirs) if name[0] == '_' and name[1] != '_') == OVERRIDDEN
    documented = (exact_generation.__doc__ or '').split('``')
    assert [name for name in OVERRIDDEN if name not in documented] == []
    predictor = type(FastMaskGenerator(build_tiny_sam()).predictor)
    ours = set(vars(predictor)) & set(vars(SamPredictor)) - {'__doc__', '__module__'}
    assert ours == {'__init__', 'set_image', 'set_torch_image'}


@pytest.mark.parametrize('name', OVERRIDDEN)
def test_segment_anything_still_calls_what_is_overridden_with_the_same_arguments(name, monkeypatch):
    theirs = getattr(SamAutomaticMaskGenerator, name)
    assert list(signature(getattr(ExactMaskGenerator, name)).parameters) == list(signature(theirs).parameters)
    calls = []
    monkeypatch.setattr(SamAutomaticMaskGenerator, name, lambda *args: calls.append(args) or theirs(*args))
    SamAutomaticMaskGenerator(build_tiny_sam(), points_per_side=2).generate(np.zeros((40, 64, 3), np.uint8))
    assert calls and all(len(args) == len(signature(theirs).parameters) for args in calls)


def test_segment_anything_still_sets_images_through_the_method_that_is_overridden(monkeypatch):
    theirs = SamPredictor.set_torch_image
    ours = type(FastMaskGenerator(build_tiny_sam()).predictor).set_torch_image
    assert list(signature(ours).parameters) == list(signature(theirs).parameters)
    calls = []
    monkeypatch.setattr(SamPredictor, 'set_torch_image', lambda *args: calls.append(args) or theirs(*args))
    SamPredictor(build_tiny_sam()).set_image(np.zeros((40, 64, 3), np.uint8))
    assert len(calls) == 1


@pytest.mark.parametrize(('shape', 'options'), CASES)
def test_exact_gives_the_stock_records_bit_for_bit_and_in_order(street, shape, options):
    image = street(*shape)
    expected = SamAutomaticMaskGenerator(toy(), **options).generate(image)
    generator = ExactMaskGenerator(toy(), **options)
    same_records(generator.generate(image), expected)
    bits, width, iou, stability = generator.generate_packed(image)
    masks = unpack(bits, width)
    assert len(masks) == len(expected)
    for i, record in enumerate(expected):
        np.testing.assert_array_equal(masks[i], record['segmentation'])
        assert (iou[i], stability[i]) == (record['predicted_iou'], record['stability_score'])


def test_the_comparison_is_of_many_masks(street):
    assert len(SamAutomaticMaskGenerator(toy(), **OPTIONS[1]).generate(street(200, 256))) > 10


@pytest.mark.parametrize(('shape', 'options'), CASES)
def test_fast_gives_the_same_masks_but_for_rounding(street, shape, options):
    image = street(*shape)
    expected = masks_of(ExactMaskGenerator(toy(), **options), image)
    found = masks_of(FastMaskGenerator(toy(), **options), image)
    assert len(found) == len(expected)
    assert (found != expected).mean() < 1e-4


@pytest.mark.parametrize('build', [toy, build_tiny_sam, lambda: sam_model_registry['vit_b']().eval()])
def test_the_fast_networks_are_the_stock_ones_to_a_millionth(build):
    torch.manual_seed(0)
    stock, fast = build(), build()
    fast.load_state_dict(stock.state_dict())
    accelerate(fast)
    side = stock.image_encoder.img_size
    with torch.no_grad():
        if side < 1024:  # ViT-B's encoder takes a while
            image = torch.randn(1, 3, side, side)
            embedding = stock.image_encoder(image)
            torch.testing.assert_close(fast.image_encoder(image), embedding, rtol=1e-4, atol=1e-5)
        else:
            embedding = torch.randn(1, 256, 64, 64)
        points = torch.rand(5, 1, 2) * side
        sparse, dense = stock.prompt_encoder((points, torch.ones(5, 1)), None, None)
        position = stock.prompt_encoder.get_dense_pe()
        masks, iou = stock.mask_decoder(embedding, position, sparse, dense, True)
        no_mask = fast.prompt_encoder.no_mask_embed.weight[0]
        shared, size = fast.mask_decoder.share(embedding, position, no_mask), embedding.shape[2:]
        found, sure, number = fast.mask_decoder.decode(shared, sparse, size)
        scale = masks.abs().max()
        assert ((found - masks.flatten(0, 1)).abs().max() / scale) < 2e-6
        torch.testing.assert_close(sure, iou.flatten(), rtol=1e-5, atol=1e-6)
        assert number.tolist() == list(range(15))
        rows, columns = embedding.shape[2] // 2 + 1, embedding.shape[3] // 3
        few = fast.mask_decoder.decode(shared, sparse, size, (rows, columns), lambda found: found >= found.median())
        kept = (iou >= iou.median()).flatten()
        assert few[2].tolist() == kept.nonzero()[:, 0].tolist()
        expected = masks.flatten(0, 1)[kept][:, : 4 * rows, : 4 * columns]
        assert ((few[0] - expected).abs().max() / scale) < 2e-6
        # As it is, the decoder still answers like SAM's.
        torch.testing.assert_close(fast.mask_decoder(embedding, position, sparse, dense, True)[0], masks)


@pytest.mark.parametrize('relative', [True, False])
@pytest.mark.parametrize(('size', 'window'), [(128, 4), (160, 7), (256, 14), (512, 14)])  # the last one in every way
def test_the_encoder_is_the_stock_one_whatever_its_windows(size, window, relative):
    """Windows that fit and that do not, few and many tokens, interpolated relative positions."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        size, 16, embed_dim=32, depth=3, num_heads=2, out_chans=8, use_rel_pos=relative, window_size=window,
        global_attn_indexes=(1,),
    ).eval()  # fmt: skip
    for name, parameter in encoder.named_parameters():
        if 'rel_pos' in name:
            torch.nn.init.normal_(parameter, std=0.3)
    image = torch.randn(2, 3, size, size)
    if relative:
        attention = encoder.blocks[1].attn
        attention.rel_pos_h = torch.nn.Parameter(torch.randn(9, attention.rel_pos_h.shape[1]))
    expected = encoder(image).detach()
    faster = {Block: FewCopiesBlock, Attention: FusedImageAttention}
    for module in encoder.modules():
        module.__class__ = faster.get(type(module), type(module))
    with torch.no_grad():
        torch.testing.assert_close(encoder(image), expected, rtol=1e-4, atol=1e-5)
    found = encoder(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.sum().backward()  # with gradients nothing is overwritten that they need
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10_000))
@examples(25)
def test_attention_for_many_points_is_that_of_each(points, tokens, seed):
    torch.manual_seed(seed)
    sam = build_tiny_sam()
    transformer, width = sam.mask_decoder.transformer, sam.mask_decoder.transformer_dim
    image, position = torch.randn(1, width, 3, 4), torch.randn(1, width, 3, 4)
    prompts = torch.randn(points, tokens, width)
    with torch.no_grad():
        expected = transformer(image.expand(points, -1, -1, -1), position.expand(points, -1, -1, -1), prompts)
        shared = share(transformer, image, position)
        attended = attend(transformer, shared, prompts)
        for which in ([slice(0, 1)], [slice(0, 1), slice(2, None)]):
            found = conclude(transformer, shared, attended, which)
            some = torch.cat([expected[0][:, part] for part in which], 1)
            torch.testing.assert_close(found, some, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(attended.places, expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('half', [torch.bfloat16, pytest.param(torch.float16, marks=LONG)])
def test_networks_in_16_bits_find_nearly_the_same(street, half):
    image, options = street(200, 256), OPTIONS[0]
    expected = masks_of(ExactMaskGenerator(toy(), **options), image)
    found = masks_of(FastMaskGenerator(toy(), half, **options), image)
    a, b = (m.reshape(len(m), -1).astype(float) for m in (expected, found))
    overlap = (a @ b.T) / (a.sum(1)[:, None] + b.sum(1) - a @ b.T)
    assert (overlap.max(1) > 0.9).mean() > 0.8


@pytest.mark.parametrize('batch', [pytest.param(1, marks=LONG), 3, pytest.param(8, marks=LONG)])
def test_windows_through_the_encoder_together_are_what_they_are_alone(street, batch):
    settings = SamSettings(**OPTIONS[0])
    images = [street(200, 256), street(128, 256), street(200, 128), street(200, 256)]
    one = SamMaskGenerator(toy(), 'toy', '0' * 64, settings, level='fp32-fast')
    many = SamMaskGenerator(toy(), 'toy', '0' * 64, settings, level='fp32-fast', encoder_batch=batch)
    expected = [one.generate(image) for image in images]
    with ThreadPoolExecutor(2) as callers:  # as two batches on their way
        twice = list(callers.map(many.generate_many, [images, images[::-1]]))
    for found in (twice[0], twice[1][::-1]):
        for alone, together in zip(expected, found, strict=True):
            assert len(alone) == len(together)
            assert (alone.masks != together.masks).sum() <= 1e-4 * alone.masks.size


@pytest.mark.parametrize('level', LEVELS)
def test_a_crop_without_masks_is_empty_at_every_level(level):
    settings = SamSettings(points_per_side=2, pred_iou_thresh=100.0)
    found = SamMaskGenerator(build_tiny_sam(), 'tiny', '0' * 64, settings, level=level).generate(
        np.zeros((40, 64, 3), np.uint8)
    )
    assert len(found) == 0 and found.shape == (40, 64)


@pytest.mark.parametrize('level', LEVELS[1:])
def test_sub_crops_without_masks_do_not_stop_it(level):
    """The stock generator fails there."""
    settings = SamSettings(points_per_side=2, pred_iou_thresh=100.0, crop_n_layers=1)
    generator = SamMaskGenerator(build_tiny_sam(), 'tiny', '0' * 64, settings, level=level)
    assert len(generator.generate(np.zeros((40, 64, 3), np.uint8))) == 0


def test_the_level_is_part_of_the_identity():
    identities = [SamMaskGenerator(build_tiny_sam(), 'tiny', '0' * 64, level=level).identity for level in LEVELS]
    assert [identity['level'] for identity in identities] == list(LEVELS)
    with pytest.raises(ValueError, match="level 'quick' is none of stock, exact, fp32-fast, bf16, fp16"):
        SamMaskGenerator(build_tiny_sam(), 'tiny', '0' * 64, level='quick')


def test_a_decoder_of_another_make_is_refused():
    sam = build_tiny_sam()
    accelerate(sam)
    with pytest.raises(TypeError, match='SharedMaskDecoder is not the mask decoder of segment_anything'):
        accelerate(sam)


def test_points_that_fit_on_a_cpu_are_few():
    assert points_that_fit(torch.device('cpu'), 'fp32-fast') == 64
