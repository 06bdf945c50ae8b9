"""Boundaries by hand, by a loop over pixels and neighbours, and by scikit-image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import painting
from skimage.segmentation import find_boundaries

from stage1_sam_cache.masks.boundary_map import boundary_map, contour_map
from stage1_sam_cache.masks.instance_masks import InstanceMasks

LABELS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int64]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements=st.integers(0, 3),
)
MASKS = hnp.arrays(bool, st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(1, 6)))


def drawn(picture):
    return np.array([[pixel == '#' for pixel in row.strip()] for row in picture.split('/')])


def masks(*pictures):
    return InstanceMasks.from_dense(np.array([drawn(picture) for picture in pictures]))


# --- boundaries of labels ---


def test_an_edge_is_two_pixels_thick_one_on_each_side():
    labels = np.array([[1, 1, 2, 2], [1, 1, 2, 2]])
    assert np.array_equal(boundary_map(labels), drawn('.##. / .##.'))


def test_thickness_1_keeps_the_left_or_upper_side():
    assert np.array_equal(boundary_map(np.array([[1, 1, 2, 2]]), thickness=1), drawn('.#..'))
    assert np.array_equal(boundary_map(np.array([[1], [1], [2], [2]]), thickness=1), drawn('. / # / . / .'))


def test_a_single_pixel_is_marked_with_its_four_neighbours_but_no_diagonal_one():
    labels = np.zeros((5, 5), np.uint16)
    labels[2, 2] = 9
    assert np.array_equal(boundary_map(labels), drawn('..... / ..#.. / .###. / ..#.. / .....'))
    assert np.array_equal(boundary_map(labels, thickness=1), drawn('..... / ..#.. / .##.. / ..... / .....'))


@pytest.mark.parametrize('thickness', [1, 2])
@pytest.mark.parametrize('shape', [(1, 1), (1, 6), (6, 1), (4, 5)])
@pytest.mark.parametrize('label', [0, 7])
def test_the_border_of_the_crop_is_never_a_boundary(thickness, shape, label):
    edge = boundary_map(np.full(shape, label), thickness)
    assert edge.dtype == bool and edge.shape == shape and not edge.any()


def test_uncovered_ground_is_a_label_like_any_other():
    assert np.array_equal(boundary_map(np.array([[0, 0, 3, 3]], np.uint16)), drawn('.##.'))


def test_labels_that_differ_by_a_multiple_of_256_are_different():
    labels = np.array([[0, 256]], np.uint16)
    assert boundary_map(labels).all() and boundary_map(labels.T).all()


def test_the_largest_and_smallest_bytes_are_different():
    labels = np.array([[0, 255]], np.uint8)
    assert boundary_map(labels).all() and boundary_map(labels.T).all()


@pytest.mark.parametrize('thickness', [-1, 0, 3, 1.5])
def test_other_thicknesses_are_refused(thickness):
    with pytest.raises(ValueError, match='1 or 2'):
        boundary_map(np.zeros((2, 2), int), thickness)


@given(LABELS, st.sampled_from([1, 2]))
def test_boundaries_are_those_of_the_loop(labels, thickness):
    assert boundary_map(labels, thickness).tolist() == painting.boundary(labels.tolist(), thickness)


@given(LABELS)
def test_boundaries_are_those_of_scikit_image(labels):
    assert np.array_equal(boundary_map(labels), find_boundaries(labels, connectivity=1, mode='thick'))


@given(LABELS)
def test_a_mirrored_picture_has_the_mirrored_boundary(labels):
    assert np.array_equal(boundary_map(labels[::-1, ::-1]), boundary_map(labels)[::-1, ::-1])


@given(LABELS)
def test_the_thin_boundary_lies_within_the_thick_one_and_is_empty_only_with_it(labels):
    thin, thick = boundary_map(labels, 1), boundary_map(labels)
    assert not (thin & ~thick).any() and thin.any() == thick.any()


@given(LABELS)
def test_the_labels_are_left_as_they_were(labels):
    before = labels.copy()
    boundary_map(labels)
    assert np.array_equal(labels, before)


# --- contours of masks ---


def test_a_contour_is_the_inner_side_of_a_mask_s_edge():
    found = contour_map(masks('..... / .###. / .###. / .###. / .....'))
    assert np.array_equal(found, drawn('..... / .###. / .#.#. / .###. / .....'))


def test_a_contour_leaves_out_the_border_of_the_crop():
    assert np.array_equal(contour_map(masks('##.. / ##..')), drawn('.#.. / .#..'))
    assert not contour_map(masks('#### / ####')).any()


def test_edges_hidden_under_another_mask_stay():
    part, whole = '.##... / .##...', '###### / ######'
    hidden = masks(part, whole)  # the whole is painted last
    assert not boundary_map(hidden.id_map).any()
    assert np.array_equal(contour_map(hidden), drawn('.##... / .##...'))


def test_contours_do_not_depend_on_the_painting_order():
    found = masks('##.. / ##..', '.### / ....', '.... / #...')
    maps = [contour_map(found.in_painting_order(order)) for order in ('area_desc', 'area_asc', 'score')]
    assert np.array_equal(maps[0], maps[1]) and np.array_equal(maps[0], maps[2])


def test_no_masks_have_no_contours():
    found = contour_map(InstanceMasks.from_dense(np.zeros((0, 3, 4), bool)))
    assert found.dtype == bool and found.shape == (3, 4) and not found.any()


@given(MASKS)
def test_contours_are_those_of_the_loop(dense):
    found = contour_map(InstanceMasks.from_dense(dense))
    assert found.dtype == bool
    assert found.tolist() == painting.contours(dense.tolist(), *dense.shape[1:])


@given(hnp.arrays(bool, st.tuples(st.just(1), st.integers(1, 6), st.integers(1, 6))))
def test_the_contour_of_a_lone_mask_is_its_side_of_the_boundary(dense):
    lone = InstanceMasks.from_dense(dense)
    assert np.array_equal(contour_map(lone), boundary_map(lone.id_map) & dense[0])
