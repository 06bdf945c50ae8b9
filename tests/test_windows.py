"""Where windows lie, meet and tile: tables worked out by hand, then any small grid against the literal rule."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from reference.windows import Grid as ReferenceGrid
from reference.windows import axis_overlaps as reference_overlaps

from stage1_sam_cache.geometry.boxes import Box, Overlap
from stage1_sam_cache.geometry.windows import WindowGrid

LIBRARIES = (np.asarray, torch.as_tensor)
DTYPES = (np.uint8, np.int64, np.float32)
by_stride = pytest.mark.parametrize('stride', [256, 320, 400, 512])
with_and_without_wrap = pytest.mark.parametrize('wrap', [False, True])


def paper_grid(stride=256, wrap=False):
    return WindowGrid(400, 2048, window=(400, 512), stride=stride, wrap=wrap)


def overlap_columns(grid):
    return [(o.box.left, o.box.left + o.box.width) for o in grid.overlaps if o.axis == 'columns']


def owned_columns(grid):
    return [(o.window, o.box.left, o.box.left + o.box.width) for o in grid.owners]


def numbered(*shape):
    """An array that holds a different number in each pixel."""
    return np.arange(np.prod(shape)).reshape(shape)


def numpy_of(array):
    return array.numpy() if isinstance(array, torch.Tensor) else array


# --- the tables of the paper's panorama, 400x2048 with windows of 400x512 ---


@pytest.mark.parametrize(
    ('stride', 'starts'),
    [
        (512, [0, 512, 1024, 1536]),
        (400, [0, 400, 800, 1200, 1536]),
        (320, [0, 320, 640, 960, 1280, 1536]),
        (256, [0, 256, 512, 768, 1024, 1280, 1536]),
    ],
)
def test_windows_start_every_stride_and_the_last_ends_at_the_right_border(stride, starts):
    grid = paper_grid(stride)
    assert grid.starts == starts and grid.row_starts == [0]
    assert grid.windows == [Box(0, start, 400, 512) for start in starts]


@pytest.mark.parametrize(
    ('stride', 'columns'),
    [
        (512, []),
        (400, [(400, 512), (800, 912), (1200, 1312), (1536, 1712)]),
        (320, [(320, 512), (640, 832), (960, 1152), (1280, 1472), (1536, 1792)]),
        (256, [(256, 512), (512, 768), (768, 1024), (1024, 1280), (1280, 1536), (1536, 1792)]),
    ],
)
def test_overlaps_are_the_columns_that_neighbouring_windows_share(stride, columns):
    grid = paper_grid(stride)
    assert overlap_columns(grid) == columns
    assert [(o.first, o.second) for o in grid.overlaps] == [(i, i + 1) for i in range(len(columns))]
    assert all((o.box.top, o.box.height, o.axis) == (0, 400, 'columns') for o in grid.overlaps)


@pytest.mark.parametrize(
    ('stride', 'owners'),
    [
        (256, [(0, 0, 512), (2, 512, 1024), (4, 1024, 1536), (6, 1536, 2048)]),
        (512, [(0, 0, 512), (1, 512, 1024), (2, 1024, 1536), (3, 1536, 2048)]),
        (400, [(0, 0, 512), (1, 512, 912), (2, 912, 1312), (3, 1312, 1712), (4, 1712, 2048)]),
        # By hand: at 512 the window of 320 is the last begun, at 832 that of 640, and so on.
        (320, [(0, 0, 512), (1, 512, 832), (2, 832, 1152), (3, 1152, 1472), (4, 1472, 1792), (5, 1792, 2048)]),
    ],
)
def test_each_column_is_owned_by_the_latest_begun_window_where_the_last_owner_ends(stride, owners):
    grid = paper_grid(stride)
    assert owned_columns(grid) == owners
    assert all((o.box.top, o.box.height) == (0, 400) for o in grid.owners)


def test_only_direct_neighbours_meet_even_with_a_stride_under_half_a_window():
    # 0-4, 1-5, 2-6: windows 0 and 2 share columns 2-3, yet form no overlap.
    grid = WindowGrid(1, 6, window=(1, 4), stride=1)
    assert grid.overlaps == [Overlap(0, 1, Box(0, 1, 1, 3), 'columns'), Overlap(1, 2, Box(0, 2, 1, 3), 'columns')]


def test_the_default_grid_is_the_paper_s():
    grid = WindowGrid(400, 2048)
    assert (grid.window, grid.strides, grid.wrap) == ((400, 512), (400, 256), False)
    assert grid == paper_grid(256)


# --- 360 degrees ---


def test_a_wrapped_panorama_has_eight_windows_and_the_last_meets_the_first():
    grid = paper_grid(wrap=True)
    assert grid.starts == [0, 256, 512, 768, 1024, 1280, 1536, 1792]
    assert grid.windows[7] == Box(0, 1792, 400, 512)
    assert overlap_columns(grid)[:7] == [(left, left + 256) for left in range(256, 2048, 256)]
    assert grid.overlaps[7] == Overlap(7, 0, Box(0, 0, 400, 256), 'columns')
    assert len(grid.overlaps) == 8


def test_wrapping_leaves_the_owners_of_the_plain_grid():
    assert owned_columns(paper_grid(wrap=True)) == [(0, 0, 512), (2, 512, 1024), (4, 1024, 1536), (6, 1536, 2048)]


def test_the_window_across_the_seam_shows_the_last_columns_and_then_the_first():
    panorama = numbered(400, 2048)
    piece = paper_grid(wrap=True).crop(panorama, Box(0, 1792, 400, 512))
    assert np.array_equal(piece, np.concatenate([panorama[:, 1792:], panorama[:, :256]], axis=1))


@pytest.mark.parametrize('library', LIBRARIES)
def test_a_crop_across_the_seam_is_roll_then_slice(library):
    panorama = numbered(3, 400, 2048)
    grid = paper_grid(400, wrap=True)
    for box in grid.windows:
        expected = np.roll(panorama, -box.left, axis=-1)[..., :512]
        assert np.array_equal(numpy_of(grid.crop(library(panorama), box)), expected)


def test_a_wrapped_stride_that_does_not_divide_the_width_is_spread_evenly():
    # n = ceil(2048 / 400) = 6; i * 2048 / 6 = 0, 341.33, 682.67, 1024, 1365.33, 1706.67
    grid = paper_grid(400, wrap=True)
    assert grid.starts == [0, 341, 683, 1024, 1365, 1707]
    assert overlap_columns(grid) == [(341, 512), (683, 853), (1024, 1195), (1365, 1536), (1707, 1877), (0, 171)]


def test_wrapped_windows_without_overlap_meet_nowhere():
    assert paper_grid(512, wrap=True).overlaps == []


def test_a_single_wrapped_window_has_no_neighbour():
    grid = WindowGrid(4, 6, window=(4, 6), stride=6, wrap=True)
    assert (grid.starts, grid.overlaps) == ([0], [])


def test_two_wrapped_windows_meet_on_both_sides():
    # Window 0 is columns 0-3, window 1 columns 3, 4, 5, 0.
    grid = WindowGrid(1, 6, window=(1, 4), stride=3, wrap=True)
    assert grid.overlaps == [Overlap(0, 1, Box(0, 3, 1, 1), 'columns'), Overlap(1, 0, Box(0, 0, 1, 1), 'columns')]


# --- rows of windows ---


def test_a_panorama_of_692_rows_has_two_rows_of_windows():
    grid = WindowGrid(692, 2048)
    assert grid.row_starts == [0, 292]
    assert grid.starts == [0, 256, 512, 768, 1024, 1280, 1536]
    assert grid.windows == [Box(top, left, 400, 512) for top in (0, 292) for left in grid.starts]


def test_rows_of_windows_meet_from_top_to_bottom_too():
    overlaps = WindowGrid(692, 2048).overlaps
    sideways = [(i, i + 1, Box(0, 256 * (i + 1), 400, 256)) for i in range(6)]
    sideways += [(7 + i, 8 + i, Box(292, 256 * (i + 1), 400, 256)) for i in range(6)]
    downwards = [(i, 7 + i, Box(292, 256 * i, 108, 512)) for i in range(7)]
    assert [tuple(o[:3]) for o in overlaps] == sideways + downwards
    assert [o.axis for o in overlaps] == ['columns'] * 12 + ['rows'] * 7


def test_the_upper_windows_own_their_400_rows_and_the_lower_ones_the_other_292():
    owners = WindowGrid(692, 2048).owners
    assert [o.window for o in owners] == [0, 2, 4, 6, 7, 9, 11, 13]
    assert [o.box for o in owners[:4]] == [Box(0, left, 400, 512) for left in (0, 512, 1024, 1536)]
    assert [o.box for o in owners[4:]] == [Box(400, left, 292, 512) for left in (0, 512, 1024, 1536)]


def test_rows_and_columns_have_a_stride_of_their_own():
    grid = WindowGrid(692, 2048, stride=(100, 512))
    assert grid.row_starts == [0, 100, 200, 292] and grid.starts == [0, 512, 1024, 1536]


def test_one_stride_counts_for_columns_and_leaves_rows_without_overlap():
    assert WindowGrid(800, 2048, stride=256).row_starts == [0, 400]
    assert WindowGrid(800, 2048, stride=256) == WindowGrid(800, 2048, stride=(400, 256))


def test_only_columns_wrap():
    grid = WindowGrid(692, 2048, wrap=True)
    assert grid.row_starts == [0, 292]
    assert [(o.first, o.second) for o in grid.overlaps if o.axis == 'rows'] == [(i, i + 8) for i in range(8)]


# --- padding ---


@pytest.mark.parametrize('library', LIBRARIES)
def test_a_panorama_smaller_than_a_window_is_padded_with_zeros_below_and_right(library):
    grid = WindowGrid(2, 3, window=(4, 5), stride=5)
    panorama = library(numbered(2, 3) + 1)
    expected = [[1, 2, 3, 0, 0], [4, 5, 6, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert grid.windows == [Box(0, 0, 4, 5)] and grid.overlaps == []
    assert grid.crop(panorama, grid.windows[0]).tolist() == expected


def test_the_panorama_part_of_a_padded_window_is_known():
    grid = WindowGrid(2, 3, window=(4, 5), stride=5)
    assert grid.valid(grid.windows[0]) == Box(0, 0, 2, 3)
    assert [o.box for o in grid.owners] == [Box(0, 0, 2, 3)]


def test_a_wrapped_window_is_padded_below_but_never_to_the_right():
    grid = WindowGrid(1, 4, window=(2, 3), stride=2, wrap=True)
    assert grid.valid(grid.windows[1]) == Box(0, 2, 1, 3)
    assert grid.crop(numbered(1, 4) + 1, grid.windows[1]).tolist() == [[3, 4, 1], [0, 0, 0]]


@pytest.mark.parametrize('library', LIBRARIES)
@pytest.mark.parametrize('mode', ['owners', 'mean'])
def test_padding_is_cut_off_again(library, mode):
    grid = WindowGrid(2, 3, window=(4, 5), stride=5)
    panorama = library(numbered(2, 3).astype(np.float32))
    padded = grid.crop(panorama, grid.windows[0])
    padded[2:] = padded[:, 3:] = 99
    assert np.array_equal(grid.stitch(padded[None], mode), panorama)


# --- stitching by hand ---


def test_owners_gives_each_pixel_of_its_owner_and_mean_the_average_of_all():
    # Windows of columns 0-3, 2-5, 4-7 hold 0, 6 and 9; owners are windows 0 and 2.
    grid = WindowGrid(1, 8, window=(1, 4), stride=2)
    pieces = np.array([0, 6, 9], dtype=np.float32).reshape(3, 1, 1).repeat(4, axis=2)
    assert grid.stitch(pieces).tolist() == [[0, 0, 0, 0, 9, 9, 9, 9]]
    assert grid.stitch(pieces, 'mean').tolist() == [[0, 0, 3, 3, 7.5, 7.5, 9, 9]]


def test_mean_averages_across_the_seam():
    # Wrapped windows of columns 0-3 and 3, 4, 5, 0 hold 2 and 4.
    grid = WindowGrid(1, 6, window=(1, 4), stride=3, wrap=True)
    pieces = np.array([2, 4], dtype=np.float32).reshape(2, 1, 1).repeat(4, axis=2)
    assert grid.stitch(pieces, 'mean').tolist() == [[3, 2, 2, 3, 4, 4]]
    assert grid.stitch(pieces, 'owners').tolist() == [[2, 2, 2, 2, 4, 4]]


@pytest.mark.parametrize('library', LIBRARIES)
@pytest.mark.parametrize('dtype', [np.bool_, np.uint8, np.int64, np.float16, np.float32])
@with_and_without_wrap
def test_owners_keeps_dtype_and_leading_axes(library, dtype, wrap):
    grid = WindowGrid(4, 10, window=(4, 4), stride=3, wrap=wrap)
    panorama = library(numbered(2, 3, 4, 10).astype(dtype))
    pieces = [grid.crop(panorama, box) for box in grid.windows]
    stacked = torch.stack(pieces) if isinstance(panorama, torch.Tensor) else np.stack(pieces)
    stitched = grid.stitch(stacked)
    assert type(stitched) is type(panorama) and stitched.dtype == panorama.dtype == pieces[0].dtype
    assert np.array_equal(stitched, panorama)


def test_stitching_carries_gradients_back_to_the_windows():
    grid = WindowGrid(1, 6, window=(1, 4), stride=2)
    pieces = torch.zeros(2, 1, 4, requires_grad=True)
    grid.stitch(pieces, 'mean').sum().backward()
    assert pieces.grad.tolist() == [[[1, 1, 0.5, 0.5]], [[0.5, 0.5, 1, 1]]]


@pytest.mark.parametrize('library', LIBRARIES)
def test_the_mean_of_whole_numbers_is_refused_as_its_sums_could_run_over(library):
    grid = WindowGrid(1, 6, window=(1, 4), stride=2)
    with pytest.raises(ValueError, match='floating point is needed'):
        grid.stitch(library(np.full((2, 1, 4), 200, dtype=np.uint8)), 'mean')


# --- refusals ---


@pytest.mark.parametrize(
    'bad',
    [
        {'stride': 513},
        {'stride': (401, 256)},
        {'stride': 0},
        {'stride': (0, 256)},
        {'stride': -256},
        {'stride': 256.0},
        {'stride': (400, 256.0)},
        {'stride': (256,)},
        {'stride': (1, 2, 3)},
        {'stride': '256'},
        {'window': (0, 512)},
        {'window': (400, -512)},
        {'window': (400, 512.0)},
        {'window': (400, 512, 3)},
        {'window': 512},
        {'height': 0},
        {'height': 400.0},
        {'width': -2048},
        {'width': 2048.0},
        {'width': 511, 'wrap': True},
    ],
    ids=str,
)
def test_sizes_that_make_no_grid_are_refused(bad):
    with pytest.raises(ValueError, match=r'\d'):
        WindowGrid(**{'height': 400, 'width': 2048, **bad})


def test_a_refused_stride_says_that_pixels_would_be_lost():
    with pytest.raises(ValueError, match=r'stride \(400, 513\) is larger than the window \(400, 512\)'):
        paper_grid(513)


@pytest.mark.parametrize('library', LIBRARIES)
@pytest.mark.parametrize('shape', [(400, 2047), (399, 2048), (2048, 400), (400, 2048, 3)])
def test_a_panorama_of_another_size_is_not_cut(library, shape):
    grid = paper_grid()
    with pytest.raises(ValueError, match=r'\(400, 2048\)'):
        grid.crop(library(np.zeros(shape, np.uint8)), grid.windows[0])


@pytest.mark.parametrize('shape', [(6, 400, 512), (8, 400, 512), (0, 400, 512)])
def test_another_number_of_pieces_is_not_stitched(shape):
    with pytest.raises(ValueError, match=f'{shape[0]} pieces for a grid of 7 windows'):
        paper_grid().stitch(np.zeros(shape, np.uint8))


def test_pieces_of_another_size_are_not_stitched():
    with pytest.raises(ValueError, match=r'\(400, 512\)'):
        paper_grid().stitch(np.zeros((7, 400, 511), np.uint8))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match='median'):
        paper_grid().stitch(np.zeros((7, 400, 512), np.uint8), 'median')


# --- what identifies a grid ---


def test_settings_tell_apart_every_grid_but_not_the_panorama_size():
    assert paper_grid().settings.to_json() == {'window': [400, 512], 'stride': [400, 256], 'wrap': False}
    assert WindowGrid(692, 4096).settings == paper_grid().settings
    others = [paper_grid(400), paper_grid(wrap=True), WindowGrid(400, 2048, window=(400, 256))]
    assert all(grid.settings != paper_grid().settings for grid in others)


def test_a_grid_is_a_value():
    assert paper_grid(256) == WindowGrid(400, 2048) and hash(paper_grid(256)) == hash(WindowGrid(400, 2048))
    assert len({paper_grid(256), paper_grid(400), paper_grid(wrap=True)}) == 3
    with pytest.raises(FrozenInstanceError):
        paper_grid().wrap = True


# --- any grid ---


@st.composite
def grids(draw):
    """``(grid, its literal twin)``: small, with every kind of remainder, padding and wrap."""
    window = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    stride = draw(st.integers(1, window[0])), draw(st.integers(1, window[1]))
    wrap = draw(st.booleans())
    height, width = draw(st.integers(1, 7)), draw(st.integers(window[1] if wrap else 1, 14))
    grid = WindowGrid(height, width, window=window, stride=stride, wrap=wrap)
    return grid, ReferenceGrid(height, width, window, stride, wrap)


def pixels(grid, box):
    """The panorama pixels of a box, padding left out."""
    valid = grid.valid(box)
    rows = range(valid.top, valid.top + valid.height)
    return {(y, x % grid.width) for y in rows for x in range(valid.left, valid.left + valid.width)}


@given(grids())
def test_windows_lie_where_the_rule_puts_them(pair):
    grid, literal = pair
    assert (grid.starts, grid.row_starts) == (literal.starts, literal.row_starts)
    assert [box[:2] for box in grid.windows] == literal.corners
    assert {box[2:] for box in grid.windows} == {grid.window}


@given(grids())
def test_every_pixel_is_seen_by_a_window(pair):
    grid, _ = pair
    seen = set().union(*(pixels(grid, box) for box in grid.windows))
    assert seen == {(y, x) for y in range(grid.height) for x in range(grid.width)}


@given(grids())
def test_owners_partition_the_panorama_as_the_walk_says(pair):
    grid, literal = pair
    owner_of = np.full((grid.height, grid.width), -1)
    for window, box in grid.owners:
        assert pixels(grid, box) <= pixels(grid, grid.windows[window])
        here = owner_of[box.top : box.top + box.height, box.left : box.left + box.width]
        assert here.shape == box[2:] and (here == -1).all()
        here[...] = window
    assert owner_of.tolist() == literal.owners()


@given(grids())
def test_overlaps_are_the_literal_ones(pair):
    grid, literal = pair
    n, (h, w) = len(grid.starts), grid.window
    columns = reference_overlaps(literal.starts, w, grid.width if grid.wrap else None)
    rows = reference_overlaps(literal.row_starts, h)
    expected = [
        (row * n + i, row * n + j, (top, places[0], h, len(places)), 'columns')
        for row, top in enumerate(literal.row_starts)
        for i, j, places in columns
    ]
    expected += [
        (i * n + column, j * n + column, (places[0], left, len(places), w), 'rows')
        for i, j, places in rows
        for column, left in enumerate(literal.starts)
    ]
    assert [tuple(overlap) for overlap in grid.overlaps] == expected


@given(grids())
def test_both_windows_of_an_overlap_contain_it(pair):
    grid, _ = pair
    for first, second, box, _ in grid.overlaps:
        assert pixels(grid, box)
        assert pixels(grid, box) <= pixels(grid, grid.windows[first]) & pixels(grid, grid.windows[second])


@given(grids())
def test_an_overlap_is_all_that_its_windows_share(pair):
    grid, _ = pair
    for first, second, box, axis in grid.overlaps:
        # Around a panorama shorter than two windows neighbours meet on both sides, in two overlaps.
        if axis == 'columns' and grid.wrap and grid.width < 2 * grid.window[1]:
            continue
        assert pixels(grid, box) == pixels(grid, grid.windows[first]) & pixels(grid, grid.windows[second])


@given(grids())
def test_neighbours_without_an_overlap_share_nothing(pair):
    grid, _ = pair
    met = {(o.first, o.second) for o in grid.overlaps}
    n = len(grid.starts)
    for index, box in enumerate(grid.windows):
        right = index + 1 if (index + 1) % n else index + 1 - n
        neighbours = [right] if n > 1 and (right > index or grid.wrap) else []
        neighbours += [index + n] if index + n < len(grid.windows) else []
        for other in neighbours:
            if (index, other) not in met and (other, index) not in met:
                assert not pixels(grid, box) & pixels(grid, grid.windows[other])


@given(grids(), st.sampled_from(LIBRARIES), st.sampled_from(DTYPES))
def test_crops_are_the_literal_ones(pair, library, dtype):
    grid, literal = pair
    panorama = numbered(grid.height, grid.width).astype(dtype) + 1
    boxes = grid.windows + [o.box for o in grid.overlaps] + [o.box for o in grid.owners]
    for box in boxes:
        piece = grid.crop(library(panorama), box)
        assert type(piece) is type(library(panorama)) and numpy_of(piece).dtype == dtype
        assert piece.tolist() == literal.crop(panorama.tolist(), box[:2], *box[2:])


@given(grids(), st.sampled_from(LIBRARIES), st.sampled_from(['owners', 'mean']), st.sampled_from(DTYPES))
@examples(200)
def test_cutting_and_stitching_gives_the_panorama_back(pair, library, mode, dtype):
    grid, _ = pair
    dtype = np.float32 if mode == 'mean' else dtype
    panorama = numbered(2, grid.height, grid.width).astype(dtype)
    cut = np.stack([numpy_of(grid.crop(library(panorama), box)) for box in grid.windows])
    stitched = numpy_of(grid.stitch(library(cut), mode))
    assert stitched.shape == panorama.shape
    np.testing.assert_allclose(stitched, panorama, rtol=1e-6)


@given(grids(), st.sampled_from(LIBRARIES), st.sampled_from(['owners', 'mean']), st.integers(0, 2**32 - 1))
@examples(200)
def test_windows_that_disagree_are_stitched_by_the_literal_rule(pair, library, mode, seed):
    grid, literal = pair
    pieces = np.random.default_rng(seed).integers(0, 100, (len(grid.windows), *grid.window)).astype(np.float64)
    expected = getattr(literal, f'stitch_{mode}')(pieces.tolist())
    np.testing.assert_allclose(numpy_of(grid.stitch(library(pieces), mode)), expected, rtol=1e-12)


# --- the literal rule itself, so that both are not wrong together ---


@by_stride
def test_the_literal_rule_owns_and_covers_the_paper_s_panorama(stride):
    literal = ReferenceGrid(1, 2048, (1, 512), (1, stride), wrap=False)
    starts = {512: [0, 512, 1024, 1536], 400: [0, 400, 800, 1200, 1536], 320: [0, 320, 640, 960, 1280, 1536]}
    assert literal.starts == starts.get(stride, [0, 256, 512, 768, 1024, 1280, 1536])
    assert min(literal.times_seen()[0]) == 1
    if stride == 256:
        assert literal.times_seen()[0] == [1] * 256 + [2] * 1536 + [1] * 256
        assert [literal.owners()[0][x] for x in (0, 511, 512, 1023, 1024, 1536, 2047)] == [0, 0, 2, 2, 4, 6, 6]
