"""Connected components of labels as masks: against pixel by pixel, and from the command line."""

import numpy as np
import pytest
from conftest import ROOT
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mmengine.config import Config
from PIL import Image
from reference import components as literal

from commands import cache_components as tool
from stage1_sam_cache import open_cache
from stage1_sam_cache.commands import cache_sam
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.errors import MissingCacheError, Stage1Error
from stage1_sam_cache.exchange.label_components import components
from stage1_sam_cache.masks.pairwise_iou import pairwise_iou

SPACE = LABEL_SPACES['cityscapes19']
WINDOWS = ('--window', '48x64', '--stride', '40')  # higher than the images, so that windows are padded
label_maps = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.sampled_from([0, 11, 255])
)


@given(label_maps, st.integers(1, 4), st.booleans())
@examples(60)
def test_components_are_those_grown_pixel_by_pixel(labels, min_area, things_only):
    found = components(labels, (11,), min_area, things_only)
    expected = literal.components(labels.tolist(), (11,), min_area, things_only)
    assert [set(map(tuple, np.argwhere(mask).tolist())) for mask in found.masks] == expected
    assert np.isnan(found.predicted_iou).all() and found.shape == labels.shape


def test_things_are_what_can_be_counted():
    assert [SPACE.classes[i] for i in SPACE.things] == list(SPACE.classes[11:])  # person to bicycle
    assert LABEL_SPACES['stanford8'].things and LABEL_SPACES['synpass22'].things


def write_labels(folder, images):
    """Labels with a palette, as predict.py writes them: blobs of four classes and what is ignored, from noise."""
    for seed, name in enumerate(images):
        noise = np.random.default_rng(seed).random((5, 16)).repeat(8, axis=0).repeat(10, axis=1)
        picture = Image.fromarray(np.choose((5 * noise).astype(int), [0, 10, 11, 13, 255]).astype(np.uint8), 'P')
        picture.putpalette([value for colour in SPACE.palette for value in colour])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f'{name}.png')
    return folder


def test_labels_become_a_cache_of_components(tmp_path, image_folder, run_tool, capsys):
    images, labels = image_folder('a', 'c/b'), write_labels(tmp_path / 'out' / 'labels', ('a', 'c/b'))
    common = ['--images', str(images), *WINDOWS]
    command = [*common, '--labels', str(labels), '--min-area', '60', '--out', str(tmp_path / 'cache')]
    made = run_tool('cache_components.py', *command)
    assert made.returncode == 0, made.stderr
    assert '2 done, 0 already there, 0 failed' in made.stdout and 'all 2 panoramas are in' in made.stdout
    assert tool.main(command) == 0
    assert '0 done, 2 already there, 0 failed' in capsys.readouterr().out

    cache = open_cache(tmp_path / 'cache')
    identity = cache.fingerprint.settings['generator']
    assert identity.pop('labels_sha256') and identity == {
        'name': 'components', 'label_space': 'cityscapes19', 'min_area': 60, 'things_only': False
    }  # fmt: skip
    for image_id in ('a', 'c/b'):
        ids, panorama = np.asarray(Image.open(labels / f'{image_id}.png')), cache[image_id]
        for box, masks in zip(panorama.grid.windows, panorama.windows, strict=True):
            valid = panorama.grid.valid(box)
            expected = literal.components(panorama.grid.crop(ids, valid).tolist(), SPACE.things, 60, False)
            assert [set(map(tuple, np.argwhere(mask).tolist())) for mask in masks.masks] == expected  # in this order

    # Other labels and other settings are other caches; no config takes one for masks of SAM.
    Image.fromarray(np.zeros((40, 160), np.uint8)).save(labels / 'a.png')
    assert tool.main(command) == tool.main([*command, '--things-only']) == 0
    assert len(list((tmp_path / 'cache').iterdir())) == 3
    for file in (ROOT / 'mmseg_configs').glob('goodsam_*.py'):
        with pytest.raises(MissingCacheError, match=r"generator\.name is 'components', not"):
            open_cache(
                cache.path,
                {'generator': Config.fromfile(file, import_custom_modules=False).expected_cache['generator']},
            )


def test_components_that_no_mask_of_sam_confirms_are_dropped(tmp_path, image_folder):
    images, labels = image_folder('a'), write_labels(tmp_path / 'labels', ('a',))
    common = ['--images', str(images), *WINDOWS]
    fast = ['--generator', 'felzenszwalb', '--scales', '50', '--min-size', '20']
    assert cache_sam.main([*common, *fast, '--out', str(tmp_path / 'sam')]) == 0
    command = [*common, '--labels', str(labels), '--min-area', '60']
    keep = ['--keep', str(tmp_path / 'sam'), '--keep-iou', '0.4']
    for root, flags in (('all', []), ('kept', keep)):
        assert tool.main([*command, *flags, '--out', str(tmp_path / root)]) == 0
    sam, everything, kept = (open_cache(tmp_path / root) for root in ('sam', 'all', 'kept'))
    assert kept.fingerprint.settings['generator']['keep'] == {'cache': sam.fingerprint.key, 'iou': 0.4}
    numbers = []
    for masks, before, after in zip(*(cache['a'].windows for cache in (sam, everything, kept)), strict=True):
        best = pairwise_iou(before, masks).max(1)
        np.testing.assert_array_equal(after.masks, before.masks[best >= 0.4])
        numbers.append((len(before), len(after)))
    assert 0 < sum(after for _, after in numbers) < sum(before for before, _ in numbers)


def test_nothing_is_dropped_in_silence(tmp_path, image_folder, capsys):
    images, labels = image_folder('a', 'b', 'c', 'd'), write_labels(tmp_path / 'out' / 'labels', ('a', 'b', 'c'))
    Image.open(labels / 'b.png').resize((80, 20)).save(labels / 'b.png')
    Image.fromarray(np.full((40, 160), 19, np.uint8)).save(labels / 'c.png')
    common = ['--images', str(images), *WINDOWS, '--out', str(tmp_path / 'cache')]
    command = [*common, '--labels', str(labels)]
    assert tool.main(command) == 1
    told = capsys.readouterr()
    assert '3 panoramas in' in told.out and '1 done, 0 already there, 2 failed' in told.out
    assert 'not sealed' in told.out
    assert f'refused: d: {labels} has no labels of this image' in told.err
    assert f'failed: b: {labels}/b.png: labels of (20, 80) pixels for an image of (40, 160)' in told.err
    assert f'failed: c: {labels}/c.png: ids 19 are none of the 19 classes' in told.err
    write_labels(labels, ('a', 'b', 'c'))
    assert tool.main([*command, '--skip-refused']) == 0  # says so, and goes on without
    told = capsys.readouterr()
    assert 'all 3 panoramas are in' in told.out and 'refused: d: ' in told.err

    with pytest.raises(Stage1Error, match=r'has labels of none of 4 images, such as d.png; give \S+/out/labels$'):
        tool.main([*common, '--labels', str(tmp_path / 'out')])
    fast = ['--generator', 'felzenszwalb', '--scales', '50', '--images', str(images)]
    for root, windows in (('other', ('--window', '40x64', '--stride', '40')), ('sam', WINDOWS)):
        assert cache_sam.main([*fast, *windows, '--out', str(tmp_path / root)]) == 0
    with pytest.raises(MissingCacheError, match=r'made with other settings: grid.window is \[40, 64\], not \[48, 64\]'):
        tool.main([*command, '--keep', str(tmp_path / 'other')])
    Image.open(images / 'a.png').rotate(180).save(images / 'a.png')
    next((tmp_path / 'sam').glob('*/b-*.h5')).unlink()
    capsys.readouterr()
    assert tool.main([*command, '--keep', str(tmp_path / 'sam')]) == 1
    told = capsys.readouterr().err
    assert 'failed: a: the masks in' in told and 'are those of another image of this name' in told
    assert 'refused: b: ' in told and 'has no masks of this image' in told
    for flags in (['--keep-iou', '0.5'], ['--keep', 'x', '--keep-iou', '2'], ['--min-area', '0']):
        with pytest.raises(SystemExit) as end:
            tool.main([*command, *flags])
        assert end.value.code == 2
