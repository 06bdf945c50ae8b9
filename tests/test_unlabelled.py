"""What is counted on panoramas without labels, worked out by hand or compared with slow loops."""

import math

import numpy as np
import pytest

from stage2_distill.evaluation.unlabelled import (
    agreement,
    chance_on_edges,
    image_edges,
    label_boundaries,
    on_edges,
    seam_agreement,
)


def random_labels(seed, height=12, width=32):
    small = np.random.default_rng(seed).integers(0, 4, (height // 4, width // 4), np.uint8)
    return small.repeat(4, 0).repeat(4, 1)


def literal_boundary(labels):
    height, width = labels.shape
    return [
        (y, x)
        for y in range(height)
        for x in range(width)
        if labels[y, x] != labels[y, (x + 1) % width] or (y + 1 < height and labels[y, x] != labels[y + 1, x])
    ]


def literal_on_edges(labels, edges, scored, distance, shift):
    height, width = labels.shape
    boundary = [(y, (x + shift) % width) for y, x in literal_boundary(labels) if scored[y, x]]
    reach = range(-distance, distance + 1)
    met = [
        (y, x)
        for y, x in boundary
        if any(0 <= y + dy < height and edges[y + dy, (x + dx) % width] for dy in reach for dx in reach)
    ]
    return len(boundary), len(met)


def test_agreement_is_the_share_of_equal_scored_pixels():
    a, b = np.array([[1, 2, 3, 4]], np.uint8), np.array([[1, 2, 0, 0]], np.uint8)
    assert agreement(a, b, np.array([[True, True, True, False]])) == pytest.approx(2 / 3)
    assert math.isnan(agreement(a, b, np.zeros((1, 4), bool)))


def test_a_network_that_ignores_the_border_keeps_its_labels_and_one_that_does_not_loses_them_there():
    labels, scored = random_labels(0), np.ones((12, 32), bool)
    rolled = np.roll(labels, -16, axis=1)
    assert seam_agreement(labels, rolled, 16, scored) == 1
    spoiled = labels.copy()
    spoiled[:, [0, 31]] = 9  # wrong beside the border: 15 degrees are the columns whose centre is less than 1.33 away
    assert seam_agreement(spoiled, rolled, 16, scored) == 0
    spoiled = labels.copy()
    spoiled[:, 8] = 9  # far from the seam
    assert seam_agreement(spoiled, rolled, 16, scored) == 1


@pytest.mark.parametrize('shift', [0, 5])
@pytest.mark.parametrize('distance', [0, 2])
def test_boundaries_on_edges_are_the_literal_count(distance, shift):
    rng = np.random.default_rng(1)
    labels, edges, scored = random_labels(2), rng.random((12, 32)) < 0.05, rng.random((12, 32)) < 0.8
    assert sorted(zip(*map(list, np.nonzero(label_boundaries(labels))), strict=True)) == literal_boundary(labels)
    found = on_edges(labels, edges, scored, distance, shift)
    assert found == literal_on_edges(labels, edges, scored, distance, shift)
    assert 0 < found[1] < found[0]


def test_chance_is_the_same_boundaries_elsewhere():
    labels, scored = random_labels(3), np.ones((12, 32), bool)
    edges = label_boundaries(labels)
    assert on_edges(labels, edges, scored, 0)[0] == on_edges(labels, edges, scored, 0)[1]
    literal = [literal_on_edges(labels, edges, scored, 0, 32 * k // 4) for k in (1, 2, 3)]
    assert chance_on_edges(labels, edges, scored, 0, 3) == tuple(map(sum, zip(*literal, strict=True)))


def test_edges_of_an_image_do_not_see_its_border():
    pixels = np.zeros((40, 64, 3), np.uint8)
    pixels[:, 20:40] = 255
    columns = set(np.nonzero(image_edges(pixels)[10:30])[1])
    assert columns <= {19, 20, 39, 40}
    assert {min(columns) < 21, max(columns) > 38} == {True}
    rolled = image_edges(np.roll(pixels, 30, axis=1))
    assert np.array_equal(np.roll(rolled, -30, axis=1)[10:30], image_edges(pixels)[10:30])
