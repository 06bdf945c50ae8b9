"""Images and labels of one's own: which file is whose, what its ids mean, and what is said of labels that don't fit."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.data.own_labels import OwnLabelReader, with_labels
from stage1_sam_cache.errors import DatasetError, ImageError
from stage2_distill.commands.score_rows import read_label_ids
from stage2_distill.data.datasets import CatalogueDataset
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.coverage import Coverage
from stage2_distill.evaluation.label_check import check_labels

STEPS = [{'type': 'LoadPanorama'}, {'type': 'LoadLabel'}, {'type': 'PackPanorama'}]
IDS = np.array([[0, 1, 13], [18, 255, 0]], np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def own(tmp_path):
    """Three images of 2x3 pixels with labels: folders ``im`` and ``lab``."""
    for name in ('street/1', 'street/2', 'a_leftImg8bit'):
        save(tmp_path / f'im/{name}.png', np.zeros((2, 3, 3), np.uint8))
    for name in ('street/1', 'street/2_labelTrainIds', 'a_gtFine_labelTrainIds'):
        save(tmp_path / f'lab/{name}.png', IDS)
    return tmp_path


def scored(own, **settings):
    init_default_scope('mmseg')
    settings = {'labels': str(own / 'lab'), 'test_mode': True, 'pipeline': STEPS, **settings}
    return CatalogueDataset(images=str(own / 'im'), **settings)


def labels_of(dataset):
    return [item['data_samples'].gt_sem_seg.data.squeeze().tolist() for item in dataset]


def test_labels_are_found_by_the_id_of_their_image(own):
    listing, without, unused = with_labels(list_folder(own / 'im'), own / 'lab')
    assert {sample.id: sample.label.name for sample in listing.samples} == {
        'a_leftImg8bit': 'a_gtFine_labelTrainIds.png',
        'street/1': '1.png',
        'street/2': '2_labelTrainIds.png',
    }
    assert (without, unused) == ({}, [])
    assert labels_of(scored(own)) == [IDS.tolist()] * 3
    with pytest.raises(DatasetError, match='is both image and label folder'):
        with_labels(list_folder(own / 'im'), own / 'im')
    with pytest.raises(DatasetError, match=r'label folder .*none is not a folder'):
        with_labels(list_folder(own / 'im'), own / 'none')
    (own / 'lab').rename(own / 'all')
    save(own / 'lab/other/x.png', IDS)
    with pytest.raises(DatasetError, match=r'none of the 3 images .* of a_leftImg8bit would be .*; it holds 1 PNGs'):
        scored(own)


def test_images_without_a_label_are_scored_without_and_named_but_not_trained_without(own):
    (own / 'lab/street/1.png').unlink()
    dataset = scored(own)
    line = Coverage.of(dataset, len(dataset)).line
    assert line == '2 of 3 images scored; skipped: 1 (no label: street/1)'
    with pytest.raises(ConfigError, match=r'street/1\.png has no label; .* cannot be used for training with labels'):
        scored(own, test_mode=False)
    (own / 'lab/street/1.png').symlink_to(own / 'elsewhere.png')
    assert 'skipped: 1 (label street/1.png: a link' in Coverage.of(scored(own), 2).line
    assert Coverage.of(scored(own, limit=1), 1).line.endswith(', 1 (over the limit)')
    assert Coverage.of(scored(own, indices=1), 0).line.endswith(
        ', 1 (the label ignores every pixel), 1 (over the limit)'
    )


def test_labels_whose_image_is_missing_are_named_and_counted(own):
    for name in ('street/3', 'street/1_color', 'a_gtFine_instanceIds', 'a2', 'street/10'):
        save(own / f'lab/{name}.png', IDS)
    dataset = scored(own)
    coverage = Coverage.of(dataset, len(dataset))
    assert coverage.line == ('3 of 3 images scored; labels without an image: 3 (a2.png, street/3.png, street/10.png)')
    assert coverage.record()['labels_without_image'] == ['a2.png', 'street/3.png', 'street/10.png']
    (own / 'im/street/1.png').rename(own / 'im/street/1.heic')  # it is there, and refused for another reason
    dataset = scored(own, skip_refused=True)
    assert 'street/1' not in ' '.join(name for name in dataset.unused_labels if not name.endswith('10.png'))
    (own / 'list.txt').write_text('street/2\n')
    assert scored(own, skip_refused=True, list_file=str(own / 'list.txt')).unused_labels == []


def test_ids_are_those_of_the_space_of_another_encoding_or_of_a_table(own, tmp_path):
    pixels = np.zeros((2, 3, 3), np.uint8)
    path = own / 'lab/street/1.png'
    assert OwnLabelReader('wildpass6', 'cityscapes19')(path, pixels).tolist() == [[3, 4, 0], [255, 255, 3]]
    table = {'0': 'car', 1: 'ignore', 13: 'road', 18: 'sky', '255': 'road'}
    assert OwnLabelReader(ids=table)(path, pixels).tolist() == [[13, 255, 0], [10, 255, 13]]
    save(tmp_path / 'raw.png', np.array([[7, 8, 26]] * 2, np.uint8))
    assert OwnLabelReader(ids='cityscapes34')(tmp_path / 'raw.png', pixels).tolist() == [[0, 1, 13]] * 2
    for wrong, message in (
        ({'1': 'rood'}, "1 is 'rood', which is neither 'ignore' nor a class of cityscapes19; known: road, sidewalk"),
        ({'x': 'road'}, "'x' is no id"),
        ({'256': 'road'}, "'256' is no id"),
        ('cityscapes35', "'cityscapes35' cannot be read as cityscapes19; known: .*cityscapes34"),
    ):
        with pytest.raises(DatasetError, match=message):
            OwnLabelReader(ids=wrong)
    with pytest.raises(DatasetError, match="no label space 'cityscapes'; known: cityscapes19"):
        scored(own, label_space='cityscapes')
    with pytest.raises(ImageError, match='ids 13, 18 are none of the 2 ids that are given a class; say what the ids'):
        OwnLabelReader(ids={0: 'road', 1: 'car'})(path, pixels)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (IDS[:1], r'labels of \(1, 3\) pixels for an image of \(2, 3\)'),
        (np.full((2, 3), 77, np.uint8), 'ids 77 are none of the 19 ids of cityscapes19, 0 to 18'),
        (np.zeros((2, 3, 3), np.uint8), 'not RGB of shape .*; save one class id per pixel .* colours are no ids'),
        (np.full((2, 3), 256, np.uint16), 'label ids of 8 bits are needed, not '),  # LoadAnnotations would read road
    ],
    ids=['size', 'ids', 'colours', '16 bits'],
)
def test_labels_that_do_not_fit_are_known_before_anything_is_scored(own, wrong, message):
    check_labels(scored(own))
    save(own / 'lab/street/1.png', wrong)
    with pytest.raises(ConfigError, match=rf'^\S*lab/street/1\.png: .*{message}'):
        check_labels(scored(own))
    save(own / 'lab/a_gtFine_labelTrainIds.png', wrong)
    with pytest.raises(ConfigError, match=r'^2 of 3 labels cannot be used; the first: \S*a_gtFine'):
        check_labels(scored(own))


def test_a_label_that_is_no_image_and_an_image_that_is_refused_are_known_before_anything_is_scored(own):
    (own / 'lab/street/1.png').write_text('road')
    with pytest.raises(ConfigError, match=r'street/1\.png: damaged or no PNG; save one class id per pixel'):
        check_labels(scored(own))
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(own / 'im/street/1.png')
    with pytest.raises(ConfigError, match=r'im/street/1\.png: 16-bit or floating-point image'):
        check_labels(scored(own))


def test_a_table_of_ids_that_gives_one_twice_is_refused(tmp_path):
    table = tmp_path / 'ids.json'
    table.write_bytes(b'\xef\xbb\xbf{"0": "road", "1": "car"}')
    assert read_label_ids(str(table)) == {'0': 'road', '1': 'car'}
    table.write_text('{"0": "road", "0": "car"}')
    with pytest.raises(ConfigError, match=r"ids\.json cannot be read: '0' is given twice"):
        read_label_ids(str(table))


def test_labels_that_ignore_everything_are_nothing_to_score(own):
    files = list((own / 'lab').rglob('*.png'))
    for path in files[1:]:
        save(path, np.full((2, 3), 255, np.uint8))
    check_labels(scored(own))
    save(files[0], np.full((2, 3), 255, np.uint8))
    with pytest.raises(ConfigError, match=r'all 3 labels ignore every pixel .*nothing to score'):
        check_labels(scored(own))


def test_labels_fit_images_that_are_stored_on_their_side(own):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((3, 2, 3), np.uint8)).save(own / 'im/street/1.png', exif=exif)
    check_labels(scored(own))


def test_settings_that_contradict_each_other_are_refused(own):
    for settings, message in (
        ({'name': 'densepass'}, 'set name=None and split=None beside images'),
        ({'labels': None}, 'is used without labels; give their folder as labels'),
        ({'labels': None, 'label_ids': 'cityscapes34'}, 'give the folder as labels'),
        ({'limit': 0}, 'limit=0'),
        ({'pipeline': [{'type': 'LoadAnnotations'}]}, 'load labels with LoadLabel'),
    ):
        with pytest.raises(ConfigError, match=message):
            scored(own, **settings)
