"""The picture shows what is in the cache, where it is."""

from dataclasses import replace

import numpy as np
import pytest

from stage1_sam_cache import MaskCacheError
from stage1_sam_cache.build.panorama import make_masks
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.picture import draw, draw_window
from stage1_sam_cache.data.images import RgbImage
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator, FelzenszwalbSettings

HEIGHT, WIDTH, CAPTION = 48, 192, 28


@pytest.fixture(params=[False, True], ids=['plain', 'wrap'])
def panels(request):
    """A blue square on grey, its cached masks, and the three panels of their picture."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    pixels[15:35, 70:90] = (30, 40, 220)
    generator = FelzenszwalbMaskGenerator(FelzenszwalbSettings(scales=(100.0,), sigma=0.0, min_size=20))
    settings = CacheSettings(window=(HEIGHT, 64), stride=32, wrap=request.param)
    panorama = make_masks('x', RgbImage(pixels, ''), settings, generator)
    sheet = np.asarray(draw(panorama, pixels))
    assert sheet.shape == (3 * (HEIGHT + CAPTION), WIDTH, 3)
    return pixels, panorama, [sheet[i * (HEIGHT + CAPTION) + CAPTION :][:HEIGHT] for i in range(3)]


def test_the_first_panel_is_the_image_with_window_lines(panels):
    pixels, panorama, (windows, _, _) = panels
    changed = (windows != pixels).any(axis=2)
    for left in panorama.grid.starts:
        assert changed[HEIGHT // 2, left : left + 9].any(), f'no line at the window that starts at {left}'
    assert changed.mean() < 0.5


def test_the_second_panel_gives_each_mask_a_colour_of_its_own(panels):
    _, _, (_, masks, _) = panels
    square, ground = masks[20:30, 75:85].reshape(-1, 3), masks[20:30, 100:110].reshape(-1, 3)
    assert len(np.unique(square, axis=0)) == 1
    assert len(np.unique(ground, axis=0)) == 1
    assert (square[0] != ground[0]).any()


def test_the_third_panel_has_the_boundaries_where_the_square_ends(panels):
    _, _, (_, _, boundaries) = panels
    yellow = (boundaries == (255, 230, 60)).all(axis=2)
    assert yellow[25, [69, 70, 89, 90]].all()
    assert yellow[[14, 15, 34, 35], 80].all()
    assert not yellow[18:32, 73:87].any()
    assert not yellow[:, 110:120].any()


def test_an_image_of_another_size_is_refused(panels):
    _, panorama, _ = panels
    with pytest.raises(MaskCacheError, match='is it the right one'):
        draw(panorama, np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))


def test_without_the_image_masks_are_drawn_on_grey(panels):
    _, panorama, _ = panels
    assert draw(panorama).size == (WIDTH, 3 * (HEIGHT + CAPTION))


def test_one_window_stands_beside_its_masks_of_several_caches(panels):
    pixels, panorama, _ = panels
    left = panorama.grid.windows[1].left
    window = pixels[:, left : left + 64]
    other = replace(
        panorama, windows=[InstanceMasks.from_dense(np.zeros((0, HEIGHT, 64), bool)) for _ in panorama.windows]
    )
    sheet = np.asarray(draw_window([panorama, other], 1, pixels))
    times = 400 // HEIGHT
    image, masks, none = (sheet[CAPTION:, i * (64 * times + 8) :][:, : 64 * times][::times, ::times] for i in range(3))
    np.testing.assert_array_equal(image, window)
    np.testing.assert_array_equal(none, window)
    square, ground = masks[20:30, 45:55].reshape(-1, 3), masks[20:30, 5:15].reshape(-1, 3)
    assert len(np.unique(square, axis=0)) == len(np.unique(ground, axis=0)) == 1
    assert (square[0] != ground[0]).any()
    with pytest.raises(MaskCacheError, match=f'no window 99; give one of 0 to {len(panorama.windows) - 1}'):
        draw_window([panorama], 99)
    generator = FelzenszwalbMaskGenerator(FelzenszwalbSettings(scales=(100.0,)))
    elsewhere = make_masks('x', RgbImage(pixels, ''), CacheSettings(window=(HEIGHT, 64), stride=16), generator)
    with pytest.raises(MaskCacheError, match='other windows'):
        draw_window([panorama, elsewhere], 0)
