"""Classes, palettes and remaps, checked against values typed by hand from the releases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stage1_sam_cache.data.label_spaces import IGNORE, LABEL_SPACES, REMAPS, convert_labels, decode_stanford2d3d

ALL_IDS = np.arange(256, dtype=np.uint8)


def key(source, target):
    """{source id: target id} of everything that is not ignored."""
    converted = convert_labels(ALL_IDS, source, target)
    return {i: int(new) for i, new in enumerate(converted) if new != IGNORE}


@pytest.mark.parametrize(
    ('name', 'count'),
    [
        ('cityscapes19', 19),
        ('cityscapes13', 13),
        ('wildpass8', 8),
        ('wildpass6', 6),
        ('wildpass6_merged', 6),
        ('synpass22', 22),
        ('stanford13', 13),
        ('stanford8', 8),
    ],
)
def test_a_space_has_as_many_classes_as_its_name_says_and_a_colour_for_each(name, count):
    space = LABEL_SPACES[name]
    assert space.name == name
    assert len(space.classes) == len(set(space.classes)) == len(space.palette) == count
    assert all(len(colour) == 3 and all(0 <= value <= 255 for value in colour) for colour in space.palette)


def test_cityscapes19_in_train_id_order():
    space = LABEL_SPACES['cityscapes19']
    assert ' '.join(c.replace(' ', '_') for c in space.classes) == (
        'road sidewalk building wall fence pole traffic_light traffic_sign vegetation terrain sky person rider car '
        'truck bus train motorcycle bicycle'
    )
    assert space.palette[0] == (128, 64, 128)
    assert space.palette[4] == (190, 153, 153)
    assert space.palette[9] == (152, 251, 152)
    assert space.palette[12] == (255, 0, 0)
    assert space.palette[18] == (119, 11, 32)


def test_cityscapes13_is_the_first_eleven_then_person_and_car():
    space, full = LABEL_SPACES['cityscapes13'], LABEL_SPACES['cityscapes19']
    assert space.classes == (*full.classes[:11], 'person', 'car')
    assert space.palette == (*full.palette[:11], (220, 20, 60), (0, 0, 142))


def test_wildpass_classes_are_in_the_order_of_their_raw_ids():
    eight, six = LABEL_SPACES['wildpass8'], LABEL_SPACES['wildpass6']
    assert eight.classes == ('car', 'truck', 'bus', 'road', 'sidewalk', 'curb', 'person', 'crosswalk')
    assert eight.palette[5] == (196, 196, 196)
    assert eight.palette[7] == (200, 128, 128)
    assert six.classes == ('car', 'truck', 'bus', 'road', 'sidewalk', 'person')
    assert six.palette == ((0, 0, 142), (0, 0, 70), (0, 60, 100), (128, 64, 128), (244, 35, 232), (220, 20, 60))
    assert LABEL_SPACES['wildpass6_merged'].classes == six.classes


def test_synpass22_in_raw_id_order_with_carla_colours():
    space = LABEL_SPACES['synpass22']
    assert ' '.join(space.classes) == (
        'Building Fence Other Pedestrian Pole RoadLine Road SideWalk Vegetation Vehicles Wall TrafficSign Sky Ground '
        'Bridge RailTrack GroundRail TrafficLight Static Dynamic Water Terrain'
    )
    assert space.palette[1] == (100, 40, 40)
    assert space.palette[5] == (157, 234, 50)
    assert space.palette[21] == (145, 170, 100)


def test_stanford_spaces():
    full, eight = LABEL_SPACES['stanford13'], LABEL_SPACES['stanford8']
    assert ' '.join(full.classes) == (
        'beam board bookcase ceiling chair clutter column door floor sofa table wall window'
    )
    assert full.palette[0] == (255, 0, 40)
    assert full.palette[12] == (255, 0, 191)
    assert eight.classes == ('ceiling', 'chair', 'door', 'floor', 'sofa', 'table', 'wall', 'window')
    assert eight.palette[0] == (205, 255, 0)
    assert eight.palette[6] == (204, 0, 255)


def test_cityscapes_label_ids_to_train_ids():
    assert key('cityscapes34', 'cityscapes19') == {
        7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
        28: 15, 31: 16, 32: 17, 33: 18,
    }  # fmt: skip


def test_the_13_class_key_joins_riders_and_vehicles_and_ignores_train():
    joined = {11: 11, 12: 11, 13: 12, 14: 12, 15: 12, 17: 12, 18: 12}
    assert key('cityscapes19', 'cityscapes13') == {i: i for i in range(11)} | joined
    assert convert_labels(np.array([16]), 'cityscapes19', 'cityscapes13') == IGNORE


def test_19_class_predictions_on_wildpass_have_no_curb_and_no_crosswalk():
    assert key('cityscapes19', 'wildpass8') == {13: 0, 14: 1, 15: 2, 0: 3, 1: 4, 11: 6}
    assert key('cityscapes19', 'wildpass6') == {13: 0, 14: 1, 15: 2, 0: 3, 1: 4, 11: 5}
    assert key('cityscapes19', 'wildpass6_merged') == key('cityscapes19', 'wildpass6')


def test_wildpass_raw_ids():
    assert key('wildpass25', 'wildpass8') == {4: 0, 5: 1, 8: 2, 11: 3, 12: 4, 13: 5, 17: 6, 24: 7}
    assert key('wildpass25', 'wildpass6') == {4: 0, 5: 1, 8: 2, 11: 3, 12: 4, 17: 5}
    # Merged: curb (13) counts as sidewalk (4), crosswalk (24) as road (3).
    assert key('wildpass25', 'wildpass6_merged') == {4: 0, 5: 1, 8: 2, 11: 3, 12: 4, 13: 4, 17: 5, 24: 3}


def test_synpass_ids_are_raw_minus_one_and_raw_0_is_ignored():
    assert key('synpass_raw', 'synpass22') == {raw: raw - 1 for raw in range(1, 23)}
    assert convert_labels(np.array([0, 1, 22, 23]), 'synpass_raw', 'synpass22').tolist() == [IGNORE, 0, 21, IGNORE]


def test_synpass_to_13_classes():
    assert key('synpass_raw', 'cityscapes13') == {
        1: 2, 2: 4, 4: 11, 5: 5, 6: 0, 7: 0, 8: 1, 9: 8, 10: 12, 11: 3, 12: 7, 13: 10, 18: 6, 22: 9,
    }  # fmt: skip


def test_stanford_13_to_8():
    published = [255, 255, 255, 0, 1, 255, 255, 2, 3, 4, 5, 6, 7]
    assert convert_labels(np.arange(13), 'stanford13', 'stanford8').tolist() == published


def test_a_space_converts_to_itself_and_ids_past_its_classes_are_ignored():
    assert key('cityscapes19', 'cityscapes19') == {i: i for i in range(19)}


@pytest.mark.parametrize('pair', REMAPS)
def test_every_remap_ends_in_ids_of_its_space_and_keeps_255(pair):
    converted = convert_labels(ALL_IDS, *pair)
    assert set(converted.tolist()) - {IGNORE} <= set(range(len(LABEL_SPACES[pair[1]].classes)))
    assert converted[255] == IGNORE


@given(hnp.arrays(st.sampled_from([np.uint8, np.int16, np.int32, np.int64]), (3, 4), elements=st.integers(0, 127)))
def test_one_lookup_is_the_same_as_a_loop_over_pixels(labels):
    before = labels.copy()
    converted = convert_labels(labels, 'cityscapes34', 'cityscapes19')
    slow = key('cityscapes34', 'cityscapes19')
    assert converted.dtype == np.uint8
    assert converted.shape == labels.shape
    assert converted.ravel().tolist() == [slow.get(int(i), IGNORE) for i in labels.ravel()]
    assert np.array_equal(labels, before)


def test_the_result_may_be_written_to_without_harm_to_later_calls():
    convert_labels(ALL_IDS, 'stanford13', 'stanford8')[:] = 1
    assert key('stanford13', 'stanford8')[3] == 0


def test_an_empty_array_stays_empty():
    assert convert_labels(np.zeros((0, 5), np.int64), 'stanford13', 'stanford8').shape == (0, 5)


@pytest.mark.parametrize('bad', [[-1], [256], [0, 1000]])
def test_ids_outside_a_byte_are_refused(bad):
    with pytest.raises(ValueError, match=r'only 0-255 can be cityscapes34'):
        convert_labels(np.array(bad), 'cityscapes34', 'cityscapes19')


def test_labels_that_are_no_integers_are_refused():
    with pytest.raises(ValueError, match='float64, not integers'):
        convert_labels(np.zeros(3), 'cityscapes34', 'cityscapes19')


@pytest.mark.parametrize('pair', [('cityscapes34', 'nope'), ('nope', 'cityscapes19'), ('cityscapes13', 'cityscapes19')])
def test_an_unknown_pair_names_the_known_ones(pair):
    with pytest.raises(ValueError, match=r'known: .*cityscapes34 -> cityscapes19.*stanford13 -> stanford8'):
        convert_labels(ALL_IDS, *pair)


def stanford(pixels, names, image=(9, 9, 9)):
    """Decode one row of label pixels; the photograph has one colour, or one colour for each pixel."""
    label = np.array([pixels], np.uint8)
    photograph = np.broadcast_to(np.array(image, np.uint8), label.shape)
    return decode_stanford2d3d(label, photograph, names)[0].tolist()


def test_stanford_index_is_256_g_plus_b_and_the_class_is_the_first_word():
    names = ['<UNK>', 'beam_1_hallway_1_area_1', 'board_1_hallway_3_3_area_2'] + ['wall_1_x'] * 300 + ['window_2_x']
    # 303 = 256 * 1 + 47
    decoded = stanford([(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 46), (0, 1, 47)], names)
    assert decoded == [IGNORE, 0, 1, 11, 12]


def test_stanford_unknown_pixels_are_ignored():
    names = ['chair_1_office_1_area_1', 'spaceship_1_office_1_area_1', '']
    # red label; class that is not one of the 13; nameless instance; index 3 and the last possible one past the table
    pixels = [(13, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 255, 255), (0, 0, 0)]
    assert stanford(pixels, names) == [IGNORE] * 5 + [4]


def test_stanford_black_photograph_pixels_are_ignored_and_nearly_black_ones_are_not():
    assert stanford([(0, 0, 0)] * 3, ['floor_1_a'], image=[[(0, 0, 0), (0, 0, 1), (1, 0, 0)]]) == [IGNORE, 8, 8]


def test_stanford_decodes_against_a_loop():
    rng = np.random.default_rng(0)
    classes = [*LABEL_SPACES['stanford13'].classes, '<UNK>']
    names = [f'{classes[i]}_{n}_room_area_1' for n, i in enumerate(rng.integers(0, 14, 600))]
    label = rng.integers(0, [2, 4, 256], (13, 17, 3)).astype(np.uint8)
    image = rng.integers(0, 2, (13, 17, 3)).astype(np.uint8)
    decoded = decode_stanford2d3d(label, image, names)
    assert decoded.dtype == np.uint8
    for row, column in np.ndindex(13, 17):
        red, green, blue = label[row, column].tolist()
        index = 256 * green + blue
        expected = IGNORE
        if red == 0 and image[row, column].any() and index < 600 and not names[index].startswith('<'):
            expected = classes.index(names[index].split('_')[0])
        assert decoded[row, column] == expected


@pytest.mark.parametrize(
    ('label', 'image', 'message'),
    [
        (np.zeros((2, 3, 3), np.uint8), np.zeros((2, 4, 3), np.uint8), 'of one panorama'),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8), 'label is'),
        (np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3), np.float32), 'image is'),
    ],
)
def test_stanford_refuses_other_shapes_and_types(label, image, message):
    with pytest.raises(ValueError, match=message):
        decode_stanford2d3d(label, image, [])
