"""Windows, overlaps and masks as tensors; mirrored and turned panoramas."""

import numpy as np
import pytest
import torch
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st

from stage1_sam_cache.geometry.windows import WindowGrid
from stage1_sam_cache.masks.boundary_map import boundary_map
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage2_distill.data.cached_masks import CachedMasks, mirrored_order, rolled_order
from stage2_distill.errors import ConfigError
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.geometry.overlaps import both_sides, cut_overlaps, overlap_groups
from stage2_distill.geometry.window_batch import cut_windows, outside, places, stitch_windows
from stage2_distill.losses.knowledge_adaptation import ensemble_loss

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
@examples(60)
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


@given(grids, st.integers(0, 2**32 - 1))
@examples(40)
def test_the_gradients_of_crops_meet_where_they_were_cut(grid, seed):
    torch.manual_seed(seed)
    cut, plain = (torch.ones(2, 3, grid.height, grid.width, requires_grad=True) for _ in range(2))
    for boxes, crops in [
        (grid.windows, cut_windows(cut, grid)),
        *((group.boxes, cut_overlaps(cut, grid, group)) for group in overlap_groups(grid)),
    ]:
        gradient = torch.randn_like(crops)
        crops.backward(gradient)
        torch.stack([grid.crop(plain, box) for box in boxes], 1).backward(gradient)
    torch.testing.assert_close(cut.grad, plain.grad)


@given(grids, st.integers(0, 2**32 - 1))
@examples(40)
def test_the_gradients_of_both_sides_meet_in_the_windows(grid, seed):
    torch.manual_seed(seed)
    seen, plain = (torch.ones(2, len(grid.windows), 3, *grid.window, requires_grad=True) for _ in range(2))
    for group in overlap_groups(grid):
        sides = both_sides(seen, group)
        gradients = [torch.randn_like(side) for side in sides]
        torch.autograd.backward(sides, gradients)
        places = zip((group.first, group.second), (group.first_at, group.second_at), gradients, strict=True)
        for members, (rows, columns), gradient in places:
            for index, window in enumerate(members):
                plain[:, window, :, rows, columns].backward(gradient[:, index])
    if grid.overlaps:
        torch.testing.assert_close(seen.grad, plain.grad)


@given(grids, st.integers(0, 2**32 - 1), st.sampled_from(['mean', 'sum']), st.booleans())
@examples(60)
def test_labels_of_windows_are_compared_with_the_panorama_as_with_its_windows(grid, seed, reduction, by_class):
    torch.manual_seed(seed)
    logits = torch.randn(2, 4, grid.height, grid.width, requires_grad=True)
    labels = torch.randint(-1, 4, (2, len(grid.windows), *grid.window)) % 256  # -1: ignored
    padding = outside(grid)
    labels = labels if padding is None else labels.masked_fill(padding, 255)
    weight = torch.rand(labels.shape)
    options = {'reduction': reduction, 'class_weight': torch.rand(4) if by_class else None}
    expected = ensemble_loss(cut_windows(logits, grid).log_softmax(2), labels, weight, 0.2, **options)
    log_p = logits.log_softmax(1)
    found = ensemble_loss(log_p, labels, weight, 0.2, places=places(grid, torch.device('cpu')), **options)
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found, logits)
    torch.testing.assert_close(slope, torch.autograd.grad(expected, logits)[0])


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


def panorama_of(grid, seed=0):
    labels = np.random.default_rng(seed).integers(0, 6, (grid.height // 4 + 1, grid.width // 4 + 1))
    return masks_of(grid, labels.repeat(4, 0).repeat(4, 1)[: grid.height, : grid.width])


@pytest.mark.parametrize('grid', [CLOSED, OPEN, ROWS, WindowGrid(8, 50, (8, 16), 10)])
def test_joined_masks_are_those_of_the_windows(grid):
    panorama = panorama_of(grid)
    joined = panorama.joined()
    assert len(joined.windows) == 1
    expected = MaskAtoms.stack(panorama.windows)
    for name in ('atom_map', 'atom_of_pair', 'mask_of_pair', 'top', 'window_of_mask'):
        assert torch.equal(getattr(MaskAtoms.stack(joined.windows), name), getattr(expected, name))
    assert len(joined.boundaries) == len(panorama.boundaries)
    assert all(torch.equal(a, b) for a, b in zip(joined.boundaries, panorama.boundaries, strict=True))


def test_the_loader_pins_packed_masks(monkeypatch):
    """As on a machine with a GPU: what it pins there is noted here."""
    from torch.utils.data._utils.pin_memory import pin_memory

    from stage2_distill.data.transforms import PackPanorama

    results = {'img': np.zeros((8, 64, 3), np.uint8), 'cached_masks': panorama_of(OPEN), 'image_id': 'a'}
    results['ori_shape'] = results['img_shape'] = (8, 64)
    packed = PackPanorama(meta_keys=('ori_shape', 'img_shape')).transform(results)
    assert packed['data_samples'].metainfo['image_id'] == 'a'
    pinned = []
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda tensor, *_: pinned.append(tensor) or tensor)
    batch = pin_memory({'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]})
    masks = batch['data_samples'][0].cached_masks
    wanted = [batch['inputs'][0], masks.boundaries, *vars(masks.windows[0]).values()]
    assert {id(part) for part in pinned} == {id(part) for part in wanted}
    moved = batch['data_samples'][0].to('cpu')
    assert torch.equal(moved.cached_masks.boundaries, masks.boundaries)
