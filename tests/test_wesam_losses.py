"""The losses of WeSAM against their literal formulas, by hand, and where gradients go."""

from math import exp, log

import pytest
import torch
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from reference import wesam as literal

from stage1_sam_cache.adaptation.losses.anchor import anchor_loss, anchor_term
from stage1_sam_cache.adaptation.losses.dice import dice_loss
from stage1_sam_cache.adaptation.losses.prototypes import contrastive_loss, prototypes, regions_on_grid
from stage1_sam_cache.adaptation.losses.self_training import self_training_loss, thresholded_iou

FLOATS = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
REGIONS = ('random', 'empty', 'full', 'nested', 'equal')


def draw_regions(kind, shape, rng):
    """Instances bool ``(N, h, w)``: any, none filled, all filled, each in the one before, or all the same."""
    regions = torch.rand(shape, generator=rng) < 0.4
    if kind == 'nested':
        return regions.int().cumprod(0).bool()
    return {'empty': regions & False, 'full': regions | True, 'equal': regions[:1].expand(shape)}.get(kind, regions)


@st.composite
def instances(draw):
    """Logits of student and teacher, expected IoU, and targets: one instance, none inside, all sure and wrong."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5)))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    dtype, scale = draw(FLOATS), draw(st.sampled_from([0.1, 3.0, 60.0]))
    student, teacher = (torch.randn(2, *shape, generator=rng) * scale).to(dtype)
    return (
        student,
        teacher,
        torch.rand(shape[0], generator=rng),
        draw_regions(draw(st.sampled_from(REGIONS)), shape, rng),
    )


@given(instances())
@examples(40)
def test_losses_of_masks_are_those_of_the_formulas(drawn):
    student, teacher, expected, targets = drawn
    found = self_training_loss(student, expected, targets)
    assert all(term.dtype == torch.float32 for term in found)
    assert found.focal.item() == pytest.approx(20 * literal.focal(student, targets), rel=1e-4, abs=1e-6)
    assert found.dice.item() == pytest.approx(literal.dice(student, targets), rel=1e-4, abs=1e-5)
    assert found.iou.item() == pytest.approx(literal.iou_error(student, expected, targets), rel=1e-4, abs=1e-6)
    assert found.total.item() == pytest.approx(literal.self_training(student, expected, targets), rel=1e-4, abs=1e-5)
    n = len(student)
    code = self_training_loss(student, expected, targets, focal_alpha='count')
    assert code.total.item() == pytest.approx(
        literal.self_training(student, expected, targets, alpha=n, smooth=n), rel=1e-4, abs=1e-5
    )
    held = anchor_loss(student, teacher, targets)
    assert held.item() == pytest.approx(literal.anchor(student, teacher, targets), rel=1e-4, abs=1e-5)
    assert held == anchor_term(student, targets) + anchor_term(teacher, targets)


@st.composite
def embedded(draw):
    """Embeddings and regions of teacher and anchor."""
    n, h, w = draw(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4)))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    teacher, anchor = torch.randn(2, 5, h, w, generator=rng).to(draw(FLOATS))
    kind, other = draw(st.sampled_from(REGIONS)), draw(st.sampled_from(REGIONS))
    return teacher, anchor, draw_regions(kind, (n, h, w), rng), draw_regions(other, (n, h, w), rng)


@given(embedded(), st.sampled_from(['joint', 'rows']), st.booleans(), st.booleans())
@examples(60)
def test_the_contrast_of_instances_is_that_of_the_formula(drawn, form, background, skip_nested):
    options = {'form': form, 'background': background, 'skip_nested': skip_nested}
    teacher = drawn[0].clone().float().requires_grad_()
    found = contrastive_loss(teacher, *drawn[1:], **options)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(literal.contrast(*drawn, **options), rel=1e-4, abs=1e-5)
    found.backward()
    assert teacher.grad.isfinite().all()


def test_by_hand():
    # Two pixels of one instance, inside and outside, logit 0: p = q = 1/2, BCE = log 2.
    masks, targets = torch.zeros(1, 1, 2), torch.tensor([[[True, False]]])
    found = self_training_loss(masks, torch.tensor([0.25]), targets)
    assert found.focal.item() == pytest.approx(20 * 0.8 * 0.25 * log(2))
    assert found.dice.item() == pytest.approx(1 - (2 * 0.5 + 1) / (1 + 1 + 1))
    assert found.iou.item() == pytest.approx(0.25**2)  # nothing is above 0, so the IoU is 0
    both_empty = thresholded_iou(masks - 1, targets & False)
    assert both_empty.item() == 0
    # Two instances, orthogonal in both: S is 1 / tau on the diagonal and 0 elsewhere.
    embedding = torch.eye(2).reshape(2, 1, 2)
    regions = torch.eye(2).bool().reshape(2, 1, 2)
    pair = log(1 + exp(-1 / 0.3))
    for form in ('joint', 'rows'):
        assert contrastive_loss(embedding, embedding, regions, regions, form=form).item() == pytest.approx(
            pair, rel=1e-5
        )
    # The forms differ where one positive is easier: S = ((1, 0), (1, 0)) / tau.
    anchor, easy = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]]])
    joint = contrastive_loss(easy, anchor, regions, regions, background=False)
    rows = contrastive_loss(easy, anchor, regions, regions, background=False, form='rows')
    e = exp(1 / 0.3)
    assert joint.item() == pytest.approx(-log((e + 1) / (2 * e + 2)), rel=1e-5)
    assert rows.item() == pytest.approx((log(1 + 1 / e) + log(1 + e)) / 2, rel=1e-5)


def test_one_instance_has_no_contrast_until_the_background_is_one_too():
    rng = torch.Generator().manual_seed(0)
    teacher, anchor = torch.randn(2, 4, 2, 3, generator=rng)
    region = torch.zeros(1, 2, 3, dtype=torch.bool)
    region[0, 0, :2] = True
    teacher.requires_grad_()
    idle = contrastive_loss(teacher, anchor, region, region, background=False)
    idle.backward()
    assert idle.item() == 0 and not teacher.grad.any()
    contrastive_loss(teacher, anchor, region, region).backward()
    assert teacher.grad.any()
    full = contrastive_loss(teacher, anchor, region | True, region | True)  # no place is left for the background
    assert full.item() == 0


def test_a_part_is_no_negative_of_its_whole():
    rng = torch.Generator().manual_seed(0)
    teacher, anchor = torch.randn(2, 4, 1, 6, generator=rng)
    whole, part, other = (torch.zeros(1, 6, dtype=torch.bool) for _ in range(3))
    whole[0, :4], part[0, :2], other[0, 4:] = True, True, True
    nested = torch.stack([whole, part])
    options = {'background': False}
    assert contrastive_loss(teacher, anchor, nested, nested, **options).item() == 0  # no negative pair is left
    assert contrastive_loss(teacher, anchor, nested, nested, skip_nested=False, **options).item() > 0
    apart = torch.stack([part, other])
    assert torch.equal(
        contrastive_loss(teacher, anchor, apart, apart, **options),
        contrastive_loss(teacher, anchor, apart, apart, skip_nested=False, **options),
    )


def test_gradients_reach_what_learns_and_nothing_else():
    rng = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 4, generator=rng).requires_grad_() for _ in range(2))
    u, y = torch.rand(2, generator=rng).requires_grad_(), torch.rand(2, 3, 4, generator=rng) > 0.5
    (self_training_loss(student, u, y).total + anchor_loss(student, teacher, y)).backward()
    assert student.grad.any() and teacher.grad.any() and u.grad.any()
    embedding, anchor = (torch.randn(4, 3, 4, generator=rng).requires_grad_() for _ in range(2))
    contrastive_loss(embedding, anchor, y, y).backward()
    assert embedding.grad.any() and anchor.grad is None


def test_regions_follow_the_masks_to_the_grid():
    masks = torch.full((2, 8, 8), -2.0)
    masks[0, :4, :2] = 1.0
    regions = regions_on_grid(masks.half(), (4, 4))
    assert regions.shape == (2, 4, 4) and regions.dtype == torch.bool
    assert regions[0].nonzero().tolist() == [[0, 0], [1, 0]] and not regions[1].any()
    means = prototypes(torch.ones(4, 4, 4), regions)
    assert torch.allclose(means, torch.tensor([[0.5] * 4, [0.0] * 4]))  # unit length over 4 channels; empty: 0


def test_what_has_no_meaning_is_refused():
    none, one = torch.zeros(0, 2, 2), torch.zeros(1, 2, 2)
    for masks, targets in ((none, none), (one, torch.zeros(2, 2, 2)), (one[0], one[0])):
        with pytest.raises(ValueError, match=r'both have to be \(N, h, w\), N at least 1'):
            dice_loss(masks, targets)
    with pytest.raises(ValueError, match='for 1 masks'):
        self_training_loss(one, torch.zeros(1, 1), one)
    with pytest.raises(ValueError, match='N at least 1'):
        contrastive_loss(one, one, none.bool(), none.bool())
    with pytest.raises(ValueError, match='neither joint nor rows'):
        contrastive_loss(one, one, one.bool(), one.bool(), form='row')
