"""Prompts and views of WeSAM: where they may lie, what they are for hard masks, and that they follow their seed."""

import numpy as np
import pytest
import torch
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from segment_anything import SamPredictor

from stage1_sam_cache.adaptation.prompts import (
    JITTER,
    LARGEST_JITTER,
    LEAST_TOLERANCE,
    MASK_LOGIT,
    box_prompts,
    coarse_masks,
    mask_prompts,
    point_prompts,
)
from stage1_sam_cache.adaptation.views import strong_view, weak_view

SEEDS = st.integers(0, 2**32)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@st.composite
def filled_masks(draw):
    """Masks of which none is empty: sparse or dense, of one pixel, or the whole window; also no mask at all."""
    n, h, w = draw(st.tuples(st.integers(0, 4), st.integers(1, 12), st.integers(1, 12)))
    rng = seeded(draw(SEEDS))
    masks = torch.rand(n, h, w, generator=rng) < draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))
    pixel = torch.randint(h * w, (n,), generator=rng)
    masks.flatten(1)[torch.arange(n), pixel] = True
    return masks


@given(filled_masks(), SEEDS)
@examples(30)
def test_prompts_of_any_masks(masks, seed):
    n, h, w = masks.shape
    tight, loose = box_prompts(masks), box_prompts(masks, JITTER, seeded(seed))
    for mask, box, moved in zip(masks, tight.tolist(), loose.tolist(), strict=True):
        rows, columns = np.nonzero(mask.numpy())
        assert box == [columns.min(), rows.min(), columns.max(), rows.max()]
        assert 0 <= moved[0] <= moved[2] <= w - 1 and 0 <= moved[1] <= moved[3] <= h - 1
    assert torch.equal(loose, box_prompts(masks, JITTER, seeded(seed)))

    points, labels = point_prompts(masks, 3, 2, seeded(seed))
    assert points.shape == (n, 5, 2) and labels.shape == (n, 5)
    for mask, places, kinds in zip(masks, points.long().tolist(), labels.tolist(), strict=True):
        full = bool(mask.all())
        assert kinds == [1, 1, 1, *([-1, -1] if full else [0, 0])]
        assert [bool(mask[y, x]) for x, y in places] == [True, True, True, full, full]
    again = point_prompts(masks, 3, 2, seeded(seed))
    assert torch.equal(points, again[0]) and torch.equal(labels, again[1])

    coarse = coarse_masks(masks)
    assert coarse.shape == masks.shape and coarse.flatten(1).any(1).all()
    around = box_prompts(coarse)
    assert bool((around[:, :2] >= tight[:, :2]).all() and (around[:, 2:] <= tight[:, 2:]).all())


def test_the_noise_of_boxes_is_that_of_sams_training():
    masks = torch.zeros(2000, 60, 300, dtype=torch.bool)
    masks[:, 20:41, 20:281] = True
    moves = box_prompts(masks, JITTER, seeded(0)) - torch.tensor([20.0, 20.0, 280.0, 40.0])
    assert moves[:, [0, 2]].abs().max() == LARGEST_JITTER  # a tenth of 260 is more
    assert moves[:, [1, 3]].std().item() == pytest.approx(2, rel=0.05)


def test_points_are_drawn_evenly():
    mask = torch.zeros(1, 3, 3, dtype=torch.bool)
    mask[0, 1] = True
    points, _ = point_prompts(mask, 3000, 6000, seeded(0))
    counts = torch.bincount((points[0, :, 1] * 3 + points[0, :, 0]).long(), minlength=9)
    assert (counts - 1000).abs().max() < 150


def test_a_coarse_mask_is_a_polygon_of_the_largest_part():
    rows, columns = np.mgrid[:80, :80]
    disc = (rows - 40) ** 2 + (columns - 30) ** 2 < 25**2
    masks = torch.from_numpy(np.stack([disc | (columns > 75), disc]))
    coarse, plain = coarse_masks(masks).numpy()
    assert np.array_equal(coarse, plain)  # the smaller part is gone
    both = (plain & disc).sum()
    # Of a circle this tolerance leaves a square inside of it, 2 / pi of the area.
    assert both / disc.sum() == pytest.approx(2 / np.pi, abs=0.05) and both == plain.sum()
    far = np.hypot(rows - 40, columns - 30)[disc & ~plain]
    assert far.min() > 25 - max(0.05 * 2 * np.pi * 25, LEAST_TOLERANCE) - 1


def test_a_mask_prompt_lies_where_sam_expects_it(tiny_sam):
    side = tiny_sam.prompt_encoder.mask_input_size[0]  # 32, of an input of 128
    window = torch.zeros(1, 40, 64, dtype=torch.bool)
    window[0, 20:, :32] = True
    prompt = mask_prompts(window, side)
    assert prompt.shape == (1, 1, 32, 32)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[10:20, :16] = True  # 64 pixels become 32, below row 20 is padding
    assert torch.equal(prompt[0, 0], torch.where(inside, MASK_LOGIT, -MASK_LOGIT))
    predictor = SamPredictor(tiny_sam)
    predictor.set_image(np.zeros((40, 64, 3), np.uint8))
    point = np.array([[10, 30]])
    with_mask = predictor.predict(point, np.array([1]), mask_input=prompt[0].numpy(), return_logits=True)[0]
    assert not np.array_equal(with_mask, predictor.predict(point, np.array([1]), return_logits=True)[0])


def test_what_asks_for_nothing_is_refused():
    empty = torch.zeros(1, 4, 4, dtype=torch.bool)
    for ask in (box_prompts, point_prompts, coarse_masks):
        with pytest.raises(ValueError, match='a mask is empty'):
            ask(empty)
        with pytest.raises(ValueError, match=r'bool \(N, h, w\) is needed'):
            ask(empty.int())
    with pytest.raises(ValueError, match='at least one is needed'):
        point_prompts(~empty, 0, 0)


def test_weak_views_mirror_image_and_masks_together(picture):
    image = torch.from_numpy(picture(20, 30)).permute(2, 0, 1)
    masks = image[:2] > 128
    before = torch.random.get_rng_state()
    seen = set()
    for seed in range(12):
        moved, moved_masks = weak_view(image, masks, seed)
        mirrored = torch.equal(moved, image.flip(2))
        assert mirrored or torch.equal(moved, image)
        assert type(moved) is torch.Tensor and moved_masks.dtype == torch.bool
        assert torch.equal(moved_masks, masks.flip(2) if mirrored else masks)
        seen.add(mirrored)
    assert seen == {True, False}
    assert torch.equal(before, torch.random.get_rng_state())


def test_strong_views_change_colours_by_their_seed(picture):
    image = torch.from_numpy(picture(40, 64)).permute(2, 0, 1)
    before = torch.random.get_rng_state()
    views = [strong_view(image, seed) for seed in range(30)]
    assert all(view.shape == image.shape and view.dtype == torch.uint8 for view in views)
    assert torch.equal(views[3], strong_view(image, 3))
    assert torch.equal(before, torch.random.get_rng_state())
    assert len({view.numpy().tobytes() for view in views}) > 20
    # A shadow alone: the upper half is as it was, a part of the lower one is half as bright.
    shaded = [view for view in views if torch.equal(view[:, :20], image[:, :20]) and not torch.equal(view, image)]
    changed = [(view != image).any(0) for view in shaded]
    assert shaded and all(0 < area.sum() < area.numel() / 2 for area in changed)
    assert all(torch.equal(view[:, area], image[:, area] // 2) for view, area in zip(shaded, changed, strict=True))
