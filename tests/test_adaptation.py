"""WeSAM's branches, windows and scores: gradients, targets, prompts, against literal formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import build_tiny_sam
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reference import wesam as literal
from segment_anything import SamPredictor

from stage1_sam_cache import DatasetError, MaskCacheError, list_dataset, list_folder, open_cache
from stage1_sam_cache.adaptation.adaptation import Adaptation
from stage1_sam_cache.adaptation.answers import answer, embed
from stage1_sam_cache.adaptation.lora import without_updates
from stage1_sam_cache.adaptation.losses.prototypes import patches_on_grid
from stage1_sam_cache.adaptation.prompted_quality import SUREST, prompted_quality
from stage1_sam_cache.adaptation.prompts import ask_for
from stage1_sam_cache.adaptation.settings import PROMPT_TYPES, AdaptSettings
from stage1_sam_cache.adaptation.window_dataset import (
    PromptedWindow,
    WindowDataset,
    collate_windows,
    evenly_by_area,
)
from stage1_sam_cache.cache.crop_masks import crops_of, masks_of_crop

SETTINGS = AdaptSettings(min_area=4)
SIDES = 128, 32  # of the tiny SAM's input and mask prompts


def windows(*extents, kinds=('point1', 'box'), seed=0):
    """Windows of random pixels with prompts for two overlapping masks by each kind."""
    rng = torch.Generator().manual_seed(seed)
    made = []
    for height, width in extents:
        weak, strong = torch.randint(0, 256, (2, 3, height, width), generator=rng, dtype=torch.uint8)
        masks = torch.zeros(2, height, width, dtype=torch.bool)
        masks[0, : height // 2, : width // 2] = True
        masks[1, height // 4 :, width // 4 : width - 8] = True
        made.append(PromptedWindow(weak, strong, [ask_for(masks, kind, *SIDES, generator=rng) for kind in kinds]))
    return made


def adapted(settings=SETTINGS, seed=0):
    """An adaptation whose updates are not 0."""
    adaptation = Adaptation(build_tiny_sam(), settings, seed)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in adaptation.updates.items():
            if name.endswith('.b'):
                value.copy_(torch.randn(value.shape, generator=rng) * 0.3)
    return adaptation


def total(losses):
    return sum(value for name, value in losses.items() if name.startswith('loss'))


def gradients(adaptation):
    found = [value.grad.clone() for value in adaptation.updates.values()]
    for value in adaptation.updates.values():
        value.grad = None
    return found


VARIANTS = {
    'default': {},
    'at the input': {'loss_at': 'input'},
    'patches': {'contrast_unit': 'patch'},
    'supervised': {'targets': 'prompts'},
    'as published': {'focal_alpha': 'count', 'contrast_background': False, 'contrast_skip_nested': False},
}


@pytest.mark.parametrize('change', VARIANTS.values(), ids=list(VARIANTS))
def test_two_backward_passes_have_the_gradient_of_one(change):
    adaptation, batch = adapted(replace(SETTINGS, **change)), windows((80, 128), (128, 64))
    losses, targets = adaptation.teacher_losses(batch)
    total(losses).backward()
    total(adaptation.student_losses(batch, targets)).backward()
    apart = gradients(adaptation)
    losses, targets = adaptation.teacher_losses(batch)
    (total(losses) + total(adaptation.student_losses(batch, targets))).backward()
    for one, other in zip(apart, gradients(adaptation), strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    assert all(value.grad is None for value in adaptation.sam.parameters() if not value.requires_grad)


def test_blocks_that_are_computed_twice_have_the_same_gradient():
    batch, found = windows((80, 128)), []
    for checkpointing in (False, True):
        adaptation = adapted(replace(SETTINGS, checkpointing=checkpointing))
        losses, targets = adaptation.teacher_losses(batch)
        (total(losses) + total(adaptation.student_losses(batch, targets))).backward()
        found.append(gradients(adaptation))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_the_losses_of_a_window_are_the_literal_ones():
    adaptation, (window,) = adapted(), windows((80, 128))
    sam = adaptation.sam
    with torch.no_grad():
        with without_updates(sam):
            plain = embed(build_tiny_sam(), [window.weak])
            assert torch.equal(embed(sam, [window.weak]), plain)
            fixed = answer(sam, plain[0], window.prompts, window.extent)
        weak, strong = embed(sam, [window.weak]), embed(sam, [window.strong])
        teacher, student = (answer(sam, z[0], window.prompts, window.extent) for z in (weak, strong))
    masks = [
        np.concatenate([each.masks.flatten(0, 1).numpy() for each in each_kind])
        for each_kind in (fixed, teacher, student)
    ]
    assert [len(each.masks[0]) for each in student] == [3, 1]  # a point has three answers, a box one
    assert masks[0].shape == (8, 20, 32)  # a low-resolution mask has a quarter of the input's side; padding is cut off
    expected_iou = np.concatenate([each.expected_iou.flatten().numpy() for each in student])
    held, taught = masks[0] > 0, masks[1] > 0
    losses, targets = adaptation.teacher_losses([window])
    losses |= adaptation.student_losses([window], targets)
    close = lambda value: pytest.approx(value, rel=1e-4)  # noqa: E731
    assert losses['loss_teacher_anchor'].item() == close(0.5 * literal.dice(masks[1], held))
    assert losses['loss_student_anchor'].item() == close(0.5 * literal.dice(masks[2], held))
    assert losses['loss_dice'].item() == close(literal.dice(masks[2], taught))
    assert losses['loss_focal'].item() == close(20 * literal.focal(masks[2], taught))
    assert losses['loss_iou'].item() == close(literal.iou_error(masks[2], expected_iou, taught))
    assert losses['loss_contrast'].item() > 0 and losses['contrast_idle'].item() == 0


def test_a_window_with_one_instance_and_no_background_is_idle():
    batch = windows((64, 128), kinds=('box',))
    one = batch[0].prompts[0]
    batch = [batch[0]._replace(prompts=[one._replace(masks=one.masks[:1], boxes=one.boxes[:1])])]
    losses, _ = adapted(replace(SETTINGS, contrast_background=False)).teacher_losses(batch)
    assert losses['contrast_idle'].item() == 1 and losses['loss_contrast'].item() == pytest.approx(0, abs=1e-6)


def test_losses_of_weight_0_are_not_computed():
    batch = windows((80, 128))
    losses, targets = adapted(replace(SETTINGS, anchor=0.0, contrast=0.0)).teacher_losses(batch)
    assert losses == {} and not targets[0].teacher.requires_grad
    adaptation = adapted(replace(SETTINGS, self_training=0.0))
    losses, targets = adaptation.teacher_losses(batch)
    assert set(losses) == {'loss_teacher_anchor', 'loss_contrast', 'contrast_idle'}
    assert set(adaptation.student_losses(batch, targets)) == {'loss_student_anchor'}
    doubled = adapted(replace(SETTINGS, anchor=2.0)).teacher_losses(batch)[0]
    once = adapted().teacher_losses(batch)[0]
    torch.testing.assert_close(doubled['loss_teacher_anchor'], 2 * once['loss_teacher_anchor'])


def test_supervision_teaches_the_nearest_of_three_answers():
    adaptation, (window,) = adapted(replace(SETTINGS, targets='prompts')), windows((80, 128))
    _, (target,) = adaptation.teacher_losses([window])
    with torch.no_grad():
        given = answer(adaptation.sam, embed(adaptation.sam, [window.weak])[0], window.prompts, window.extent)
    true = window.prompts[0].masks[:, 2::4, 2::4]  # these rectangles fill whole places
    best = [max(range(3), key=lambda k: literal.iou(given[0].masks[n, k] > 0, true[n])) for n in range(2)]
    assert target.taught.tolist() == [best[0], 3 + best[1], 6, 7]
    assert torch.equal(target.teacher[:2], true)


@pytest.mark.parametrize('grid', [(8, 8), (10, 17), (3, 20)])
def test_patches_tile_the_grid(grid):
    patches = patches_on_grid(grid)
    assert (patches.sum(0) == 1).all() and patches.flatten(1).any(1).all()
    assert len(patches) == -(-grid[0] // 8) * -(-grid[1] // 8)
    for patch in patches:
        rows, columns = np.nonzero(patch.numpy())
        assert len(set(rows // 8)) == len(set(columns // 8)) == 1


@pytest.fixture(scope='module')
def data(tiny_toypass, tiny_caches):
    samples = list_dataset('toypass', root=tiny_toypass[0]).samples
    return samples, open_cache(tiny_caches['train'])


def test_windows_are_what_stage_1_shows_with_prompts_for_their_masks(data):
    samples, cache = data
    settings = replace(SETTINGS, instances=6, prompt_types=PROMPT_TYPES, min_area=20, max_share=0.3)
    dataset = WindowDataset(samples, cache, settings, *SIDES, augmented=False)
    grid = cache[samples[0].id].grid
    assert len(dataset) + dataset.empty == len(samples) * len(grid.windows)  # this cache cuts overlaps from windows
    crop = dataset.crops[3]
    panorama = np.asarray(Image.open(samples[crop.panorama].image).convert('RGB'))
    expected = grid.crop(panorama.transpose(2, 0, 1), crop.box)
    window = dataset[3]
    assert torch.equal(window.weak, torch.from_numpy(expected)) and torch.equal(window.strong, window.weak)
    masks = cache[samples[crop.panorama].id].windows[crop.window]
    known = {mask.tobytes() for mask in masks.masks}
    assert [asked.kind for asked in window.prompts] == list(PROMPT_TYPES)
    for asked in window.prompts:
        assert 0 < len(asked.masks) <= 6
        for mask in asked.masks:
            assert mask.numpy().tobytes() in known and 20 <= mask.sum() <= 0.3 * mask.numel()
    augmented = WindowDataset(samples, cache, settings, *SIDES)
    one, again, other = augmented[(3, 5)], augmented[(3, 5)], augmented[(3, 6)]
    assert torch.equal(one.strong, again.strong) and not torch.equal(one.strong, other.strong)
    count = sum(len(asked.masks) for asked in one.prompts)
    assert count <= 6 and max(len(asked.masks) for asked in one.prompts) <= -(-count // len(one.prompts)) + 1
    flips = {torch.equal(augmented[(3, seed)].weak, window.weak) for seed in range(12)}
    assert flips == {True, False}
    assert collate_windows([one])['windows'][0] is one


def test_overlaps_have_the_masks_of_their_first_window(data):
    samples, cache = data
    panorama = cache[samples[0].id]
    grid = panorama.grid
    for number, overlap in enumerate(grid.overlaps):
        window = grid.windows[overlap.first]
        left = (overlap.box.left - window.left) % grid.width
        inside = panorama.windows[overlap.first].masks[:, :, left : left + overlap.box.width]
        found = masks_of_crop(panorama, *crops_of(grid)[len(grid.windows) + number]).masks
        np.testing.assert_array_equal(found, inside[inside.any((1, 2))])


def test_what_is_missing_changed_or_too_small_is_said(data, tmp_path, image_folder):
    samples, cache = data
    others = list_folder(image_folder('a', 'b')).samples
    dataset = WindowDataset([*others, *samples], cache, SETTINGS, *SIDES)
    assert dataset.not_cached == ['a', 'b'] and len(dataset.samples) == len(samples)
    with pytest.raises(DatasetError, match=r'no window of the 2 panoramas has a mask .* 2 are not cached'):
        WindowDataset(others, cache, SETTINGS, *SIDES)
    with pytest.raises(DatasetError, match='at least 9999999 pixels'):
        WindowDataset(samples, cache, replace(SETTINGS, min_area=9999999), *SIDES)
    changed = replace(samples[0], image=others[0].image)
    with pytest.raises(MaskCacheError, match='changed since its masks were cached; cache its masks again'):
        WindowDataset([changed], cache, SETTINGS, *SIDES)[0]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60), st.integers(1, 40), st.integers(0, 2**31))
@examples(60)
def test_masks_are_drawn_once_each(areas, count, seed):
    drawn = evenly_by_area(np.array(areas), count, torch.Generator().manual_seed(seed))
    assert len(set(drawn.tolist())) == len(drawn) == min(count, len(areas))


def test_large_masks_are_drawn_as_often_as_the_many_small_ones():
    areas = np.array([100] * 99 + [5000])
    rng = torch.Generator().manual_seed(0)
    large = sum(99 in evenly_by_area(areas, 1, rng) for _ in range(400))
    assert 150 < large < 250


def test_answers_are_those_of_sams_own_predictor_and_scored_in_the_window():
    sam = build_tiny_sam()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (100, 128, 3), dtype=np.uint8)
    masks = torch.zeros(3, 100, 128, dtype=torch.bool)
    for i, (top, left) in enumerate([(0, 0), (30, 50), (60, 20)]):
        masks[i, top : top + 40, left : left + 50] = True
    prompts = [ask_for(masks, kind, *SIDES, generator=torch.Generator().manual_seed(1)) for kind in PROMPT_TYPES]
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    found = prompted_quality(sam, [PromptedWindow(pixels, pixels, prompts)])
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    expected = {}
    for asked in prompts:
        ious = []
        for n in range(3):
            given, scores, _ = predictor.predict(
                None if asked.points is None else asked.points[n].numpy(),
                None if asked.labels is None else asked.labels[n].numpy(),
                None if asked.boxes is None else asked.boxes[n].numpy(),
                None if asked.mask_inputs is None else asked.mask_inputs[n].numpy(),
                multimask_output=asked.several_answers,
            )
            each = [literal.iou(torch.from_numpy(mask), masks[n]) for mask in given]
            ious.append((max(each), each[int(scores.argmax())]))
        expected[asked.kind] = np.mean([best for best, _ in ious])
        if asked.several_answers:
            expected[SUREST] = np.mean([surest for _, surest in ious])
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'steps': -1}, 'steps -1 is less than 0'),
        ({'lr': float('nan')}, 'lr nan is not a number of at least 0'),
        ({'max_share': 1.5}, r'max_share 1.5 is not in \(0, 1\]'),
        ({'self_training': 0.0, 'anchor': 0.0, 'contrast': 0.0}, 'all losses have weight 0'),
        ({'prompt_types': ()}, 'prompt_types is empty'),
        ({'prompt_types': ('box', 'circle')}, "prompt_types 'circle' is none of point1, box"),
        ({'loss_at': 'window'}, "loss_at 'window' is none of mask, input"),
        ({'focal_alpha': 2.0}, 'focal_alpha 2.0 is neither'),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AdaptSettings(**change)
