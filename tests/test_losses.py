"""The losses: by hand, against the literal sums, and their gradients against differences of the literal sums."""

from math import exp, log

import numpy as np
import pytest
import torch
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from reference import losses as literal

from stage2_distill.boundaries.label_boundary import hard_boundary, soft_boundary
from stage2_distill.fusion.pixelwise import first_argmax
from stage2_distill.losses.boundary import (
    boundary_cross_entropy,
    boundary_loss,
    boundary_weighted_loss,
    network_boundary,
)
from stage2_distill.losses.consistency import consistency_loss
from stage2_distill.losses.knowledge_adaptation import (
    ensemble_loss,
    soft_ensemble_loss,
    soft_whole_image_loss,
    whole_image_loss,
)

FLOATS = [torch.float32, torch.float16, torch.bfloat16]
SEEDS = st.integers(0, 2**32)
IGNORE = 255


def normal(*shape, seed=0, scale=1.0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape) * scale, dtype=torch.float32)


def log_p(logits):
    return logits.float().log_softmax(1)


def of_windows(logits, labels, weight=None, lam=0.0, soft=None, reduction='mean', class_weight=None):
    """Eq. 5 and 6, with labels or with distributions, from logits."""
    options = {'reduction': reduction, 'class_weight': class_weight}
    if soft is None:
        return ensemble_loss(log_p(logits), labels, weight, lam, **options)
    return soft_ensemble_loss(log_p(logits), soft, labels, weight, lam, **options)


def of_panorama(student, assistant, soft=False, reduction='mean', class_weight=None):
    """Eq. 4, with the assistant's labels or its distribution, from logits."""
    if soft:
        return soft_whole_image_loss(log_p(student), assistant, reduction, class_weight)
    return whole_image_loss(log_p(student), first_argmax(assistant), reduction, class_weight)


SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))  # (N, C, h, w)


@st.composite
def several_logits(draw, count):
    """Logits of one shape; often equal, at times huge, of any float type."""
    shape, rng = draw(SHAPES), np.random.default_rng(draw(SEEDS))
    scale, dtype = draw(st.sampled_from([0.0, 0.5, 1.0, 3.0, 1e4])), draw(st.sampled_from(FLOATS))
    return [torch.tensor(rng.integers(-2, 3, shape) * scale).to(dtype) for _ in range(count)]


def random_labels(rng, shape, ignored=0.2):
    """Labels of logits of this shape, some of them ignored."""
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    return torch.tensor(np.where(rng.random(labels.shape) < ignored, IGNORE, labels))


def same(loss, expected):
    assert loss.dtype == torch.float32
    assert loss.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def exact(values):
    """For the references, which compute in float64."""
    return None if values is None else values.detach().double().numpy()


def slope(function, at, step=1e-4):
    """Central differences of a function of one float64 array."""
    gradient = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[place] += step
        behind[place] -= step
        gradient[place] = (function(ahead) - function(behind)) / (2 * step)
    return torch.tensor(gradient, dtype=torch.float32)


def gradient_of(loss, leaf):
    return torch.autograd.grad(loss.sum(), leaf, retain_graph=True)[0]


def assert_slope(loss, leaf, function):
    """The gradient of a loss is the slope of its reference, which is not 0."""
    expected = slope(function, exact(leaf))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(gradient_of(loss, leaf), expected, rtol=1e-3, atol=1e-4)


# --- consistency ---


def test_consistency_is_the_mean_square_of_the_difference_of_probabilities():
    left = torch.tensor([[0.75, 0.5], [0.25, 0.5]]).log()[:, None]  # two classes, one row of two pixels
    right = torch.tensor([[0.25, 0.5], [0.75, 0.5]]).log()[:, None] + 7  # a softmax does not see what is added to all
    same(consistency_loss(left, right), (0.5**2 + 0.5**2 + 0 + 0) / 4)


def test_consistency_of_logits_does_see_it():
    left = torch.zeros(1, 2, 1, 2)
    same(consistency_loss(left, left + 3, space='logits'), 9.0)
    same(consistency_loss(left, left + 3), 0.0)


@given(several_logits(2), st.sampled_from(['softmax', 'logits']))
def test_consistency_is_the_literal_mean(logits, space):
    left, right = logits
    same(consistency_loss(left, right, space), literal.consistency(exact(left), exact(right), space))


@pytest.mark.parametrize('space', ['softmax', 'logits'])
def test_both_windows_receive_the_gradient_of_consistency(space):
    left, right = normal(2, 3, 2, 2, seed=1).requires_grad_(), normal(2, 3, 2, 2, seed=2).requires_grad_()
    loss = consistency_loss(left, right, space)
    of_left = slope(lambda a: literal.consistency(a, exact(right), space), exact(left))
    of_right = slope(lambda a: literal.consistency(exact(left), a, space), exact(right))
    for found, expected in zip(torch.autograd.grad(loss, [left, right]), [of_left, of_right], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
        assert found.abs().max() > 1e-3


@pytest.mark.parametrize('shape', [(0, 3, 4, 2), (2, 3, 4, 0)])
def test_without_overlaps_consistency_is_0_and_can_be_trained_on(shape):
    left, right = (torch.zeros(shape, requires_grad=True) for _ in range(2))
    loss = consistency_loss(left, right)
    assert loss.item() == 0 and loss.dtype == torch.float32
    loss.backward()
    assert left.grad.shape == right.grad.shape == shape


def test_overlaps_of_different_shapes_and_unknown_spaces_are_refused():
    with pytest.raises(ValueError, match='shapes differ'):
        consistency_loss(torch.zeros(1, 3, 4, 2), torch.zeros(1, 3, 4, 1))
    with pytest.raises(ValueError, match='space'):
        consistency_loss(torch.zeros(1, 3, 4, 2), torch.zeros(1, 3, 4, 2), space='sigmoid')


# --- the boundary map of a network ---


@given(several_logits(1), st.sampled_from(['hard', 'soft', 'ste']), st.sampled_from([0.5, 1.0, 2.0]))
@examples(150)
def test_network_boundaries_are_the_literal_ones(logits, mode, tau):
    (batch,) = logits
    for radius, thickness in [(1, 2), (1, 1), (2, 2)]:
        found = network_boundary(batch, mode, tau, radius, thickness)
        assert found.dtype == torch.float32 and found.shape == (len(batch), *batch.shape[2:])
        for one, values in zip(found, batch.double(), strict=True):
            expected = literal.network_boundary(values.tolist(), mode, tau, radius, thickness)
            np.testing.assert_allclose(one, np.array(expected, np.float64), atol=1e-5)


@pytest.mark.parametrize('seed', range(20))
def test_ste_has_exactly_the_value_of_the_hard_map(seed):
    logits = normal(2, 5, 9, 8, seed=seed).requires_grad_()
    assert torch.equal(network_boundary(logits, 'ste'), hard_boundary(logits.argmax(1)).float())


@pytest.mark.parametrize(('tau', 'radius'), [(1.0, 1), (0.5, 2)])
def test_ste_has_the_gradient_of_the_soft_map(tau, radius):
    logits, wanted = normal(3, 4, 5).requires_grad_(), normal(4, 5, seed=1)
    ste, soft = (network_boundary(logits, mode, tau, radius) for mode in ('ste', 'soft'))
    assert torch.equal(gradient_of(ste * wanted, logits), gradient_of(soft * wanted, logits))
    assert_slope(
        ste * wanted,
        logits,
        lambda s: (literal.network_boundary(s.tolist(), 'soft', tau, radius) * exact(wanted)).sum(),
    )


def test_the_hard_map_has_no_gradient():
    assert not network_boundary(normal(3, 4, 5).requires_grad_(), 'hard').requires_grad


@pytest.mark.parametrize('mode', ['bce', 'weighted_ce', 'head', 'sharp'])
def test_modes_that_make_no_map_are_refused(mode):
    with pytest.raises(ValueError, match=mode):
        network_boundary(normal(3, 4, 5), mode)


# --- boundary losses ---


def drawn(*pictures):
    """Maps from pictures in which ``#`` is a boundary pixel."""
    return torch.tensor([[[pixel == '#' for pixel in row.strip()] for row in p.split('/')] for p in pictures])


def test_the_boundary_loss_is_the_number_of_wrong_pixels_over_the_refined_ones():
    refined = drawn('##.. / ..#.', '#... / ....', '.... / ....')
    network = drawn('.#.# / ..#.', '#... / ....', '#### / ####').float()
    same(boundary_loss(refined, network), [2 / 3, 0, 0])


def test_one_half_of_a_boundary_pixel_is_half_wrong():
    same(boundary_loss(drawn('##..'), torch.tensor([[[0.5, 1.0, 0.25, 0.0]]])), [0.75 / 2])


@st.composite
def boundary_maps(draw):
    """Refined maps, empty and full ones among them, and a network's with values from 0 to 1 in eighths."""
    shape, rng = (3, draw(st.integers(1, 4)), draw(st.integers(1, 4))), np.random.default_rng(draw(SEEDS))
    refined = rng.random(shape) < np.array([[[draw(st.sampled_from([0, 0.3, 1]))]] for _ in range(3)])
    return torch.tensor(refined), torch.tensor(rng.integers(0, 9, shape) / 8).to(draw(st.sampled_from(FLOATS)))


@given(boundary_maps())
def test_boundary_losses_are_the_literal_sums(maps):
    refined, network = maps
    pairs = list(zip(refined.tolist(), network.double().tolist(), strict=True))
    same(boundary_loss(refined, network), [literal.boundary(*pair) for pair in pairs])
    # float32 holds 1 - 0.000001 to a tenth of a millionth, so its logarithm is right to 1 in 100.
    expected = [literal.boundary_cross_entropy(*pair) for pair in pairs]
    assert boundary_cross_entropy(refined, network).tolist() == pytest.approx(expected, rel=0.01, abs=1e-5)


@pytest.mark.parametrize('loss', [boundary_loss, boundary_cross_entropy])
def test_overlaps_without_refined_boundary_have_no_loss_and_no_gradient(loss):
    network = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    values = loss(torch.zeros(2, 3, 4, dtype=torch.bool), network)
    assert values.tolist() == [0, 0] and not gradient_of(values, network).any()


def test_boundary_losses_keep_the_leading_dimensions():
    refined, network = torch.rand(2, 3, 4, 5) < 0.5, torch.rand(2, 3, 4, 5)
    for loss in (boundary_loss, boundary_cross_entropy):
        values = loss(refined, network)
        assert values.shape == (2, 3)
        torch.testing.assert_close(values[1, 2], loss(refined[1, 2], network[1, 2]))


def test_with_ste_only_wrong_pixels_have_a_gradient_and_exactly_none_the_others():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 5, 6, 7, generator=generator).requires_grad_()
    refined = torch.rand(4, 6, 7, generator=generator) < 0.6
    network = network_boundary(logits, 'ste')
    wrong = refined.float() != network
    found = gradient_of(boundary_loss(refined, network), network)
    assert torch.equal(found != 0, wrong) and wrong.any() and not wrong.all()
    assert torch.equal(found.sign()[wrong], torch.where(refined, -1.0, 1.0)[wrong])


def test_with_ste_a_network_that_is_right_is_left_alone():
    logits = normal(2, 5, 6, 7).requires_grad_()
    refined = hard_boundary(logits.argmax(1))
    loss = boundary_loss(refined, network_boundary(logits, 'ste'))
    assert loss.tolist() == [0, 0] and torch.equal(gradient_of(loss, logits), torch.zeros_like(logits))
    soft = boundary_loss(refined, network_boundary(logits, 'soft'))
    assert gradient_of(soft, logits).any()  # the soft mode goes on pulling at it


@pytest.mark.parametrize('tau', [1.0, 0.5])
def test_the_gradient_of_the_soft_boundary_loss_is_its_slope(tau):
    logits, refined = normal(3, 3, 4, seed=5).requires_grad_(), drawn('.##. / .... / #...')[0]
    assert_slope(
        boundary_loss(refined, network_boundary(logits, 'soft', tau)),
        logits,
        lambda s: literal.boundary(refined.tolist(), literal.network_boundary(s.tolist(), 'soft', tau)),
    )
    assert_slope(
        boundary_cross_entropy(refined, network_boundary(logits, 'soft', tau)),
        logits,
        lambda s: literal.boundary_cross_entropy(refined.tolist(), literal.network_boundary(s.tolist(), 'soft', tau)),
    )


def test_the_gradient_of_the_ste_loss_pushes_the_soft_map_where_the_hard_one_is_wrong():
    logits, refined = normal(3, 3, 4, seed=6).requires_grad_(), drawn('.##. / .... / #...')[0]
    push = (network_boundary(logits, 'hard') - refined.float()) / 3  # 3 refined pixels
    expected = gradient_of(push * soft_boundary(logits.softmax(0)), logits)
    assert expected.any()
    torch.testing.assert_close(gradient_of(boundary_loss(refined, network_boundary(logits)), logits), expected)


def test_boundary_and_other_pixels_count_half_each_in_the_cross_entropy():
    network = torch.tensor([[[0.5, 0.25, 0.5, 0.5, 0.5]]])
    same(boundary_cross_entropy(drawn('##...'), network), [((log(2) + log(4)) / 2 + log(2)) / 2])
    same(boundary_cross_entropy(drawn('#####'), network), [(4 * log(2) + log(4)) / 5 / 2])


def test_the_cross_entropy_of_a_map_that_is_sure_and_wrong_is_finite():
    network = drawn('.#').float().requires_grad_()
    loss = boundary_cross_entropy(drawn('#.'), network)
    assert 13 < loss.item() < 14.5 and gradient_of(loss, network).isfinite().all()


def test_pixels_around_a_refined_boundary_count_a_fifth_more():
    # Two equal classes: log 2 for each pixel. The band is 3 x 3 in a crop of 5 x 5, one of its pixels is ignored.
    refined = drawn('..... / ..... / ..#.. / ..... / .....')
    labels = torch.zeros(1, 5, 5, dtype=torch.int64)
    same(boundary_weighted_loss(refined, torch.zeros(1, 2, 5, 5), labels), [log(2) * (1 + 0.2 * 9 / 25)])
    labels[0, 1, 1] = IGNORE
    same(boundary_weighted_loss(refined, torch.zeros(1, 2, 5, 5), labels), [log(2) * (1 + 0.2 * 8 / 24)])
    labels[labels == IGNORE] = 7
    same(boundary_weighted_loss(refined, torch.zeros(1, 2, 5, 5), labels, ignore=7), [log(2) * (1 + 0.2 * 8 / 24)])


@given(several_logits(1), SEEDS, st.sampled_from([0.1, 0.5]))
def test_the_weighted_cross_entropy_is_the_literal_mean(logits, seed, density):
    (batch,), rng = logits, np.random.default_rng(seed)
    labels = random_labels(rng, batch.shape)
    refined = torch.tensor(rng.random(labels.shape) < density)
    expected = [literal.boundary_weighted(*each) for each in zip(refined, exact(batch), labels.tolist(), strict=True)]
    same(boundary_weighted_loss(refined, batch, labels), expected)


def test_the_gradient_of_the_weighted_cross_entropy_is_its_slope():
    logits, refined = normal(3, 3, 4, seed=7).requires_grad_(), drawn('.... / .... / #...')[0]
    labels = random_labels(np.random.default_rng(7), (1, 3, 3, 4))[0]
    loss = boundary_weighted_loss(refined, logits, labels)
    assert_slope(loss, logits, lambda s: literal.boundary_weighted(refined.tolist(), s, labels.tolist()))


@pytest.mark.parametrize('refined', [drawn('..', '..'), drawn('#.', '##')])
def test_overlaps_without_refined_boundary_or_without_labels_have_no_weighted_cross_entropy(refined):
    logits, labels = normal(2, 3, 1, 2).requires_grad_(), torch.full((2, 1, 2), 1 if not refined.any() else IGNORE)
    loss = boundary_weighted_loss(refined, logits, labels)
    assert loss.tolist() == [0, 0] and not gradient_of(loss, logits).any()


@pytest.mark.parametrize('loss', [boundary_loss, boundary_cross_entropy])
def test_maps_of_different_shapes_are_refused(loss):
    with pytest.raises(ValueError, match='refined map'):
        loss(torch.zeros(2, 3, 4, dtype=torch.bool), torch.zeros(2, 3, 5))


# --- knowledge adaptation ---


def test_cross_entropy_by_hand():
    student = torch.tensor([[0.5, 0.25, 0.5], [0.5, 0.75, 0.5]]).log()[None, :, None]
    same(of_windows(student, torch.tensor([[[0, 1, IGNORE]]])), (log(2) + log(4 / 3)) / 2)
    same(of_windows(student, torch.tensor([[[0, 1, 0]]]), reduction='sum'), 2 * log(2) + log(4 / 3))


def test_reliable_pixels_count_one_and_lambda_times_and_are_not_divided_out():
    logits, labels = torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 1, 0, IGNORE]]])
    weight = torch.tensor([[[1.0, 0.0, 1.0, 1.0]]])
    same(of_windows(logits, labels, weight, 0.2), log(2) * (1.2 + 1 + 1.2) / 3)
    same(of_windows(logits, labels, weight, 0.2, reduction='sum'), log(2) * 3.4)
    same(of_windows(logits, labels, weight), log(2))
    same(of_windows(logits, labels, lam=0.2), log(2))


@given(several_logits(2), SEEDS, st.sampled_from([0, 0.2, 1]), st.sampled_from(['mean', 'sum']), st.booleans())
@examples(150)
def test_weighted_cross_entropy_is_the_literal_pair_of_sums(logits, seed, lam, reduction, softly):
    (student, assistant), rng = logits, np.random.default_rng(seed)
    labels = random_labels(rng, student.shape)
    weight = torch.tensor(rng.random(labels.shape) < 0.5).float()
    soft = assistant.double().softmax(1) if softly else None
    expected = literal.window(exact(student), labels.tolist(), exact(weight), lam, exact(soft), reduction)
    same(of_windows(student, labels, weight, lam, soft, reduction), expected)


@given(several_logits(2), SEEDS, st.sampled_from(['mean', 'sum']), st.booleans())
@examples(100)
def test_classes_count_by_their_weights(logits, seed, reduction, softly):
    (student, assistant), rng = logits, np.random.default_rng(seed)
    labels = random_labels(rng, student.shape)
    reliable = torch.tensor(rng.random(labels.shape) < 0.5).float()
    by_class = torch.tensor(rng.uniform(0, 4, student.shape[1]), dtype=torch.float32)
    soft = assistant.double().softmax(1) if softly else None
    expected = literal.window(
        exact(student), labels.tolist(), exact(reliable), 0.2, exact(soft), reduction, by_class.tolist()
    )
    same(of_windows(student, labels, reliable, 0.2, soft, reduction, by_class), expected)
    expected = literal.whole_image(exact(student), exact(assistant), softly, reduction, by_class.tolist())
    same(of_panorama(student, assistant, softly, reduction, by_class), expected)


def test_soft_labels_that_are_one_hot_give_what_labels_give():
    logits, labels = normal(2, 4, 3, 5), random_labels(np.random.default_rng(0), (2, 4, 3, 5))
    one_hot = torch.nn.functional.one_hot(labels % IGNORE, 4).movedim(-1, 1)
    hard, soft = (of_windows(logits, labels, soft=soft) for soft in (None, one_hot))
    torch.testing.assert_close(soft, hard)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize('softly', [False, True])
def test_if_no_pixel_counts_cross_entropy_is_0_and_can_be_trained_on(reduction, softly):
    logits = normal(1, 3, 2, 2).requires_grad_()
    soft = logits.detach().softmax(1) if softly else None
    labels = torch.full((1, 2, 2), IGNORE)
    loss = of_windows(logits, labels, torch.ones(1, 2, 2), 0.2, soft, reduction)
    assert loss.item() == 0 and not gradient_of(loss, logits).any()


def test_with_one_class_cross_entropy_is_0():
    same(of_windows(normal(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)), 0)
    same(of_panorama(normal(1, 1, 2, 2), normal(1, 1, 2, 2, seed=1)), 0)


def test_the_whole_image_loss_takes_the_assistants_labels_and_of_equal_logits_the_first():
    student = torch.tensor([[0.5, 0.25, 0.75], [0.5, 0.75, 0.25]]).log()[None, :, None]
    assistant = torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 3.0]])[None, :, None]
    same(of_panorama(student, assistant), (log(2) + log(4 / 3) + log(4 / 3)) / 3)


def test_the_soft_whole_image_loss_by_hand():
    student, assistant = torch.zeros(1, 2, 1, 1), torch.tensor([0.75, 0.25]).log().view(1, 2, 1, 1)
    same(of_panorama(student, assistant, soft=True), log(2))
    same(of_panorama(assistant, assistant, soft=True), -0.75 * log(0.75) - 0.25 * log(0.25))


@given(several_logits(2), st.booleans(), st.sampled_from(['mean', 'sum']))
def test_the_whole_image_loss_is_the_literal_sum(logits, soft, reduction):
    student, assistant = logits
    expected = literal.whole_image(exact(student), exact(assistant), soft, reduction)
    same(of_panorama(student, assistant, soft, reduction), expected)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize('softly', [False, True])
def test_gradients_of_knowledge_adaptation_are_its_slopes(reduction, softly):
    rng = np.random.default_rng(8)
    logits, assistant = normal(2, 3, 2, 2, seed=8).requires_grad_(), normal(2, 3, 2, 2, seed=9)
    labels = random_labels(rng, logits.shape)
    weight = torch.tensor(rng.random(labels.shape) < 0.5).float()
    soft = assistant.softmax(1) if softly else None
    assert_slope(
        of_windows(logits, labels, weight, 0.2, soft, reduction),
        logits,
        lambda s: literal.window(s, labels.tolist(), exact(weight), 0.2, exact(soft), reduction),
    )
    assert_slope(
        of_panorama(logits, assistant, softly, reduction),
        logits,
        lambda s: literal.whole_image(s, exact(assistant), softly, reduction),
    )


@pytest.mark.parametrize('softly', [False, True])
def test_nothing_flows_into_what_is_learnt_from(softly):
    student, assistant, weight = normal(1, 3, 2, 4), normal(1, 3, 2, 4, seed=1), torch.ones(1, 2, 4)
    for leaf in (student, assistant):
        leaf.requires_grad_()
    labels = assistant.argmax(1)
    of_panorama(student, assistant, soft=softly).backward()
    of_windows(student, labels, weight, 0.2, assistant.softmax(1) if softly else None).backward()
    assert assistant.grad is None and student.grad.any()


def test_images_of_different_shapes_and_unknown_reductions_are_refused():
    logits, labels = torch.zeros(1, 3, 2, 4), torch.zeros(1, 2, 4, dtype=torch.int64)
    for soft in (False, True):
        with pytest.raises(ValueError, match='do not fit labels'):
            of_panorama(logits, torch.zeros(1, 3, 2, 5), soft)
    for soft in (False, True):
        with pytest.raises(ValueError, match='reduction'):
            of_panorama(logits, logits, soft, reduction='none')
    with pytest.raises(ValueError, match='reduction'):
        of_windows(logits, labels, reduction='none')


# --- all of them ---

SHAPE = (2, 4, 5, 6)
REFINED = torch.tensor(np.random.default_rng(10).random((2, 5, 6)) < 0.3)
LABELS = random_labels(np.random.default_rng(11), SHAPE)
OTHER = normal(*SHAPE, seed=12)
LOSSES = {
    'consistency': lambda logits: consistency_loss(logits, OTHER.to(logits.dtype)),
    'boundary, ste': lambda logits: boundary_loss(REFINED, network_boundary(logits, 'ste')).mean(),
    'boundary, soft': lambda logits: boundary_loss(REFINED, network_boundary(logits, 'soft')).mean(),
    'boundary, bce': lambda logits: boundary_cross_entropy(REFINED, network_boundary(logits, 'soft')).mean(),
    'boundary, weighted_ce': lambda logits: boundary_weighted_loss(REFINED, logits, LABELS).mean(),
    'whole image': lambda logits: of_panorama(logits, OTHER.to(logits.dtype)),
    'whole image, soft': lambda logits: of_panorama(logits, OTHER.to(logits.dtype), True),
    'windows': lambda logits: of_windows(logits, LABELS, REFINED.float(), 0.2),
    'windows, soft': lambda logits: of_windows(logits, LABELS, REFINED.float(), 0.2, OTHER.softmax(1)),
}


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('dtype', FLOATS)
def test_losses_are_float32_and_the_same_under_autocast(name, dtype):
    logits = normal(*SHAPE, seed=13).to(dtype).requires_grad_()
    plain = LOSSES[name](logits)
    with torch.autocast('cpu', torch.bfloat16):
        cast = LOSSES[name](logits)
    assert plain.dtype == cast.dtype == torch.float32 and plain > 0
    torch.testing.assert_close(cast, plain)
    torch.testing.assert_close(gradient_of(cast, logits), gradient_of(plain, logits))


@pytest.mark.parametrize('name', LOSSES)
def test_huge_logits_give_finite_losses_and_gradients(name):
    logits = normal(*SHAPE, seed=14, scale=1e4).requires_grad_()
    loss = LOSSES[name](logits)
    assert loss.isfinite() and gradient_of(loss, logits).isfinite().all()


@pytest.mark.parametrize('name', LOSSES)
def test_equal_logits_give_finite_losses_and_gradients(name):
    logits = torch.zeros(SHAPE, requires_grad=True)
    loss = LOSSES[name](logits)
    assert loss.isfinite() and gradient_of(loss, logits).isfinite().all()


@pytest.mark.parametrize('name', sorted(set(LOSSES) - {'consistency', 'boundary, ste'}))
def test_a_step_against_the_gradient_lowers_the_loss(name):
    logits = normal(*SHAPE, seed=15).requires_grad_()
    before = LOSSES[name](logits)
    step = gradient_of(before, logits)
    assert LOSSES[name](logits - 1e-2 * step / step.norm()) < before


def test_consistency_is_least_where_windows_agree():
    logits = OTHER.clone().requires_grad_()
    loss = LOSSES['consistency'](logits)
    assert loss.item() == 0 and not gradient_of(loss, logits).any()


def test_the_total_of_a_perfect_student_is_nothing():
    labels = torch.tensor([[[0, 0, 1, 1]]])
    logits = 100 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    refined = hard_boundary(labels)
    assert of_panorama(logits, logits) < exp(-50)
    assert of_windows(logits, labels, torch.ones(1, 1, 4), 0.2) < exp(-50)
    for mode in ('ste', 'soft', 'hard'):
        assert boundary_loss(refined, network_boundary(logits, mode)).item() == 0
