"""Compiled networks against those that are not: the same masks, and how often they are compiled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import build_tiny_sam
from segment_anything.modeling.image_encoder import Attention, Block, ImageEncoderViT

from stage1_sam_cache.sam.exact_generation import unpack
from stage1_sam_cache.sam.fast_decoder import SharedMaskDecoder
from stage1_sam_cache.sam.fast_encoder import FewCopiesBlock, FusedImageAttention
from stage1_sam_cache.sam.fast_generation import FastMaskGenerator
from stage1_sam_cache.sam.fast_networks import accelerate
from stage1_sam_cache.sam.weights import find_weights, load_sam


class Backend:
    """A compiler that compiles nothing, and counts what it is given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def nothing_is_compiled_yet():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def generator(sam, **options):
    return FastMaskGenerator(sam, points_per_side=5, stability_score_thresh=0.0, box_nms_thresh=1.0, **options)


def test_it_is_compiled_once_for_windows_of_all_sizes(picture):
    """A graph for the answers and one for the masks: nothing breaks them, and no size has its own."""
    options = {'pred_iou_thresh': -1.0, 'points_per_batch': 9}
    plain, compiled = (generator(build_tiny_sam(), **options) for _ in range(2))
    backend = Backend()
    compiled.predictor.model.mask_decoder.compile(backend=backend)
    masks = []
    for seed, shape in enumerate(((100, 128), (128, 50), (33, 128))):
        image = picture(*shape, seed=seed)
        for threshold in (-1.0, 100.0):  # masks of all points, and none
            plain.pred_iou_thresh = compiled.pred_iou_thresh = threshold
            bits, width, iou, _ = plain.generate_packed(image)
            found, _, found_iou, _ = compiled.generate_packed(image)
            np.testing.assert_array_equal(unpack(found, width), unpack(bits, width))
            assert found_iou == pytest.approx(iou, rel=1e-5)
            masks.append(len(bits))
    assert masks == [75, 0] * 3
    assert backend.graphs == 2


def fast_encoder(size: int, window: int) -> tuple[ImageEncoderViT, torch.Tensor, torch.Tensor]:
    """An encoder that ``fast_networks`` has replaced, what it is given, and what segment_anything's gives."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        size, 16, embed_dim=32, depth=2, num_heads=2, out_chans=8, use_rel_pos=True, window_size=window,
        global_attn_indexes=(1,),
    ).eval()  # fmt: skip
    for name, parameter in encoder.named_parameters():
        if 'rel_pos' in name:
            torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(2, 3, size, size)
    expected = encoder(images).detach()
    for module in encoder.modules():
        module.__class__ = {Block: FewCopiesBlock, Attention: FusedImageAttention}.get(type(module), type(module))
    return encoder, images, expected


@pytest.mark.parametrize(('size', 'window'), [(128, 4), (256, 14), (512, 14)])
def test_what_the_encoder_does_in_place_of_views_where_it_is_compiled(size, window, monkeypatch):
    encoder, images, expected = fast_encoder(size, window)
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_the_encoder_is_one_graph():
    encoder, images, expected = fast_encoder(256, 14)
    backend = Backend()
    encoder.compile(backend=backend)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)
    assert backend.graphs == 1


def scene_of(sam, points):
    """What a decoder takes: the embedding of an image, and prompts."""
    torch.manual_seed(0)
    prompts = sam.prompt_encoder
    side, width = prompts.image_embedding_size[0], prompts.embed_dim
    image, position = torch.randn(2, 1, width, side, side)
    shared = sam.mask_decoder.share(image, position, torch.randn(width))
    return shared, torch.randn(points, 2, width), (side, side)


def check(plain: SharedMaskDecoder, compiled: SharedMaskDecoder, scene, points, inside, keep, fill):
    """Both give the same masks up to rounding; returns how many."""
    shared, prompts, size = scene
    expected = plain.decode(shared, prompts[:points], size, inside, keep)
    masks, iou, index = compiled.decode(shared, prompts[:points], size, inside, keep, fill)
    assert index.tolist() == expected[2].tolist() and masks.shape == expected[0].shape
    if len(masks):
        assert (masks - expected[0]).abs().max() < 1e-5 * expected[0].abs().max()
        torch.testing.assert_close(iou, expected[1], rtol=1e-5, atol=1e-6)
    return len(masks)


def best(number):
    """Keep the points' masks of the highest predicted IoU."""
    return lambda iou: iou >= iou.flatten().topk(number).values[-1]


@pytest.mark.long
def test_compiled_kernels_of_the_toy_sam_give_the_same_masks():
    """For a CPU; with sub-crops of fewer points the answers are compiled a second time, for any number of points."""
    plain, compiled = (accelerate(load_sam('toy', find_weights('toy'))[0]) for _ in range(2))
    scene = scene_of(plain, 16)
    backend = Backend()
    compiled.mask_decoder.compile()
    counted = accelerate(load_sam('toy', find_weights('toy'))[0])
    for decoder in (compiled.mask_decoder, counted.mask_decoder):
        if decoder is counted.mask_decoder:
            torch.compiler.reset()
            decoder.compile(backend=backend)
        both = plain.mask_decoder, decoder, scene
        assert check(*both, 16, (25, 32), best(20), 16) == 20
        assert check(*both, 16, (32, 21), best(48), 16) == 48
        assert check(*both, 13, (25, 32), best(1), 16) == 1
        assert check(*both, 16, (25, 32), lambda iou: iou > 1e9, 16) == 0
        assert check(*both, 9, (25, 32), best(5), 9) == 5
        assert check(*both, 4, (32, 32), best(5), 4) == 5
    assert backend.graphs == 3


@pytest.mark.long
def test_kernels_of_the_compiled_decoder_are_counted():
    from benchmarks import compiled_counts

    rows = compiled_counts.measure(2)
    assert [row.what.split(' of ')[0] for row in rows] == ['answers', 'answers', 'masks', 'masks']
    assert all(0 < row.fast < row.plain for row in rows[::2])  # kernels
    assert all(row.fast > 0 for row in rows)
