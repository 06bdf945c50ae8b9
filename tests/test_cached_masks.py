"""Windows, overlaps and masks as tensors; mirrored and turned panoramas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stage1_sam_cache.boundary_map import boundary_map
from stage1_sam_cache.instance_masks import InstanceMasks
from stage1_sam_cache.windows import WindowGrid
from stage2_distill.cached_masks import CachedMasks, mirrored_order, rolled_order
from stage2_distill.errors import ConfigError
from stage2_distill.mask_atoms import MaskAtoms
from stage2_distill.window_batch import both_sides, cut_overlaps, cut_windows, outside, overlap_groups, stitch_windows

PAPER = WindowGrid(400, 2048)
CLOSED = WindowGrid(8, 64, (8, 16), 8, wrap=True)
OPEN = WindowGrid(8, 64, (8, 16), 8)
ROWS = WindowGrid(12, 64, (8, 16), (4, 8), wrap=True)
grids = st.builds(
    WindowGrid,
    st.integers(1, 20),
    st.integers(16, 60),
    st.tuples(st.integers(2, 12), st.integers(4, 16)),
    st.integers(1, 4),
    st.booleans(),
)


def masks_of(grid, label_panorama):
    """A panorama whose masks are the regions of a label map: what stage 1 would find if regions were objects."""
    windows = []
    for box in grid.windows:
        window = grid.crop(label_panorama, box)
        masks = InstanceMasks.from_dense(np.stack([window == i for i in range(1, 6)]))
        windows.append(MaskAtoms.from_masks(masks.in_painting_order()))
    boundaries = [torch.from_numpy(boundary_map(grid.crop(label_panorama, o.box))) for o in grid.overlaps]
    return CachedMasks(grid, tuple(windows), tuple(boundaries))


def same(a, b):
    """Whether windows have the same masks at the same pixels, and overlaps the same boundaries."""
    for mine, theirs in zip(a.windows, b.windows, strict=True):
        if mine.masks != theirs.masks or not torch.equal(dense(mine), dense(theirs)):
            return False
    return all(torch.equal(x, y) for x, y in zip(a.boundaries, b.boundaries, strict=True))


def dense(atoms):
    member = torch.zeros(atoms.atoms, atoms.masks, dtype=torch.bool)
    member[atoms.atom_of_pair, atoms.mask_of_pair] = True
    return member[atoms.atom_map[0]]


def test_the_papers_overlaps_are_one_group_of_six():
    (group,) = overlap_groups(PAPER)
    assert (group.first, group.second) == ([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6])
    assert group.first_at == (slice(0, 400), slice(256, 512))
    assert group.second_at == (slice(0, 400), slice(0, 256))
    assert len(overlap_groups(WindowGrid(400, 2048, stride=400))) == 2  # four of 112 columns, one of 176


@given(grids)
@settings(max_examples=60, deadline=None)
def test_both_windows_see_the_same_pixels_in_every_overlap(grid):
    panorama = torch.arange(grid.height * grid.width).view(1, 1, grid.height, grid.width) + 1
    windows = cut_windows(panorama, grid)
    assert windows.shape == (1, len(grid.windows), 1, *grid.window)
    members = []
    for group in overlap_groups(grid):
        left, right = both_sides(windows, group)
        assert torch.equal(left, right)
        assert torch.equal(left, cut_overlaps(panorama, grid, group))
        assert (left > 0).all()  # no padding
        members += group.members
    assert sorted(members) == list(range(len(grid.overlaps)))
    assert torch.equal(stitch_windows(windows, grid), panorama)
    padding = outside(grid)
    assert torch.equal(
        windows[0, :, 0] == 0, torch.zeros_like(windows[0, :, 0], dtype=bool) if padding is None else padding
    )


@pytest.mark.parametrize('grid', [CLOSED, OPEN, ROWS], ids=['closed', 'open', 'two rows'])
def test_masks_of_a_mirrored_panorama_are_the_mirrored_masks(grid):
    labels = np.random.default_rng(0).integers(0, 6, (grid.height // 4, 16)).repeat(4, 0).repeat(4, 1)
    found = masks_of(grid, labels).flipped()
    assert same(found, masks_of(grid, np.ascontiguousarray(labels[:, ::-1])))
    assert same(found.flipped(), masks_of(grid, labels))
    assert not same(found, masks_of(grid, labels))


@pytest.mark.parametrize('grid', [CLOSED, ROWS], ids=['closed', 'two rows'])
@pytest.mark.parametrize('steps', [1, 3, 8])
def test_masks_of_a_turned_panorama_are_the_turned_masks(grid, steps):
    labels = np.random.default_rng(1).integers(0, 6, (grid.height // 4, 16)).repeat(4, 0).repeat(4, 1)
    turned = np.roll(labels, -steps * 8, axis=1)
    assert same(masks_of(grid, labels).rolled(steps), masks_of(grid, turned))


def test_the_papers_windows_change_places_when_mirrored():
    windows, overlaps = mirrored_order(PAPER)
    assert windows == [6, 5, 4, 3, 2, 1, 0]
    assert overlaps == [5, 4, 3, 2, 1, 0]


def test_windows_that_cannot_be_mirrored_or_turned_say_so():
    with pytest.raises(ConfigError, match='cannot be mirrored; leave the flip out'):
        mirrored_order(WindowGrid(400, 2048, stride=400))
    for grid in (PAPER, WindowGrid(400, 2048, stride=300, wrap=True)):
        with pytest.raises(ConfigError, match='cannot be rolled; leave the roll out'):
            rolled_order(grid, 1)
