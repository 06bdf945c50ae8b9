"""Every layout as empty files, ids, labels, and what must be refused."""

import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage1_sam_cache.data.catalog import DATASETS, list_dataset
from stage1_sam_cache.data.label_spaces import LABEL_SPACES, REMAPS
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.data.refusals import RefusedLink
from stage1_sam_cache.errors import DatasetError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def ids(listing):
    return [sample.id for sample in listing.samples]


def labels(listing, root):
    return [sample.label and sample.label.relative_to(root).as_posix() for sample in listing.samples]


def write_list(tmp_path, *lines):
    path = tmp_path / 'list.txt'
    path.write_text('\n'.join(lines), encoding='utf-8')
    return path


# --- the catalogue ---


def test_the_data_sets_their_folders_and_spaces():
    assert {name: (d.folder, d.label_space, d.label_encoding, d.closed) for name, d in DATASETS.items()} == {
        'densepass': ('data/DensePASS', 'cityscapes19', 'cityscapes19', True),
        'wildpass': ('data/WildPASS', 'wildpass6', 'wildpass25', True),
        'synpass': ('data/SynPASS', 'synpass22', 'synpass_raw', True),
        'stanford2d3d': ('data/Stanford2D3D', 'stanford13', 'stanford_instances', True),
        'cityscapes': ('data/Cityscapes', 'cityscapes19', 'cityscapes19', False),
        'toypass': ('data/ToyPASS/target', 'cityscapes19', 'cityscapes19', True),
        'toypass_source': ('data/ToyPASS/source', 'cityscapes19', 'cityscapes19', False),
    }


def test_labels_of_every_data_set_can_be_converted_to_its_space():
    for dataset in DATASETS.values():
        assert dataset.label_space in LABEL_SPACES
        assert dataset.name == 'stanford2d3d' or (dataset.label_encoding, dataset.label_space) in REMAPS


def test_training_images_are_the_default_and_only_the_other_splits_are_scored():
    for dataset in DATASETS.values():
        assert dataset.default_split == 'train'
        for name, split in dataset.splits.items():
            assert split.evaluation == (not name.endswith('train'))  # 'val_source_look' too
            assert split.pinhole == name.startswith('pinhole')


def test_names_of_splits():
    assert {name: ' '.join(dataset.splits) for name, dataset in DATASETS.items()} == {
        'densepass': 'train val',
        'wildpass': 'train val',
        'synpass': 'train val test',
        'stanford2d3d': 'train val fold2_train fold2_val fold3_train fold3_val pinhole_train pinhole_val',
        'cityscapes': 'train val',
        'toypass': 'train val val_source_look',
        'toypass_source': 'train val',
    }


# --- layouts: (data set, split, files below the root, {id: label or None}, image folder) ---

LAYOUTS = {
    'densepass train': (
        'densepass',
        'train',
        ['leftImg8bit/train/Amsterdam/1.png', 'leftImg8bit/val/cs/9.png'],
        {'Amsterdam/1': None},
        'leftImg8bit/train',
    ),
    'densepass val in cs': (
        'densepass',
        'val',
        ['leftImg8bit/val/cs/100.png', 'gtFine/val/cs/100_labelTrainIds.png', 'leftImg8bit/train/Amsterdam/1.png'],
        {'cs/100': 'gtFine/val/cs/100_labelTrainIds.png'},
        'leftImg8bit/val',
    ),
    'densepass val with underscores': (
        'densepass',
        'val',
        ['leftImg8bit/val/100_.png', 'gtFine/val/100_labelTrainIds.png'],
        {'100_': 'gtFine/val/100_labelTrainIds.png'},
        'leftImg8bit/val',
    ),
    'densepass train inside': (
        'densepass',
        'train',
        ['DensePASStrain/leftImg8bit/Amsterdam/1.jpg', 'DensePASS/leftImg8bit/val/cs/9.png'],
        {'Amsterdam/1': None},
        'DensePASStrain/leftImg8bit',
    ),
    'wildpass train': (
        'wildpass',
        'train',
        ['leftImg8bit/train/Bern/3.jpg', 'leftImg8bit/val/cs/9.png'],
        {'Bern/3': None},
        'leftImg8bit/train',
    ),
    'wildpass2k': ('wildpass', 'train', ['WildPASS2K/Bern/3.JPG'], {'Bern/3': None}, 'WildPASS2K'),
    'wildpass val in cs': (
        'wildpass',
        'val',
        ['leftImg8bit/val/cs/7.png', 'gtFine/val/cs/7.png'],
        {'cs/7': 'gtFine/val/cs/7.png'},
        'leftImg8bit/val',
    ),
    'wildpass val': (
        'wildpass',
        'val',
        ['leftImg8bit/val/7.png', 'gtFine/val/7.png', 'leftImg8bit/val/8.jpg'],
        {'7': 'gtFine/val/7.png', '8': None},
        'leftImg8bit/val',
    ),
    'toypass train, whose truth lies apart': (
        'toypass',
        'train',
        ['leftImg8bit/train/Elmira/1.png', '../truth/target/train/Elmira/1_labelTrainIds.png'],
        {'Elmira/1': None},
        'leftImg8bit/train',
    ),
    'toypass in the look of the source': (
        'toypass',
        'val_source_look',
        ['leftImg8bit/val_source_look/cs/1.png', 'gtFine/val_source_look/cs/1_labelTrainIds.png'],
        {'cs/1': 'gtFine/val_source_look/cs/1_labelTrainIds.png'},
        'leftImg8bit/val_source_look',
    ),
    'synpass test': (
        'synpass',
        'test',
        [
            'img/sun/test/MAP_5_point1/000000.jpg',
            'semantic/sun/test/MAP_5_point1/000000_trainID.png',
            'img/fog/test/MAP_5_point1/000000.jpg',
            'img/fog/train/MAP_1_point1/000000.jpg',
        ],
        {
            'fog/test/MAP_5_point1/000000': None,
            'sun/test/MAP_5_point1/000000': 'semantic/sun/test/MAP_5_point1/000000_trainID.png',
        },
        'img',
    ),
    'stanford': (
        'stanford2d3d',
        'train',
        ['area_1/pano/rgb/a_rgb.png', 'area_1/pano/semantic/a_semantic.png', 'area_5a/pano/rgb/b_rgb.png'],
        {'area_1/pano/rgb/a_rgb': 'area_1/pano/semantic/a_semantic.png'},
        '.',
    ),
    'stanford pinhole': (
        'stanford2d3d',
        'pinhole_val',
        [
            'area_5b/data/rgb/a_rgb.png',
            'area_5b/data/semantic/a_semantic.png',
            'area_5b/data/rgb/a_depth.png',
            'area_5b/pano/rgb/b_rgb.png',
            'area_4/data/rgb/a_rgb.png',
        ],
        {'area_5b/data/rgb/a_rgb': 'area_5b/data/semantic/a_semantic.png'},
        '.',
    ),
    'cityscapes': (
        'cityscapes',
        'val',
        [
            'leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png',
            'gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelTrainIds.png',
        ],
        {
            'frankfurt/frankfurt_000000_000294_leftImg8bit': (
                'gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelTrainIds.png'
            )
        },
        'leftImg8bit/val',
    ),
    'cityscapes renamed': (
        'cityscapes',
        'train',
        ['images/train/ulm/ulm_1_2.png', 'segmentation/train/ulm/ulm_1_2_gtFine_labelTrainIds.png'],
        {'ulm/ulm_1_2': 'segmentation/train/ulm/ulm_1_2_gtFine_labelTrainIds.png'},
        'images/train',
    ),
}


@pytest.mark.parametrize('deeper', [False, True])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_layout_is_found_also_one_folder_deeper(tmp_path, layout, deeper):
    name, split, files, expected, image_root = LAYOUTS[layout]
    root = tmp_path / 'root'
    holder = root / Path(DATASETS[name].folder).name if deeper else root
    touch(holder, *files)
    listing = list_dataset(name, split, root)
    assert {s.id: s.label and s.label.relative_to(holder).as_posix() for s in listing.samples} == expected
    assert listing.root == holder / image_root
    assert all(sample.image.is_file() for sample in listing.samples)
    assert listing.refused == []


@pytest.mark.parametrize(
    ('name', 'sibling', 'image'),
    [('densepass', 'DensePASStrain', 'leftImg8bit/Oslo/1.jpg'), ('wildpass', 'WildPASS2K', 'Oslo/1.jpg')],
)
def test_training_images_in_a_folder_beside_the_root(tmp_path, name, sibling, image):
    touch(tmp_path / 'data', f'{sibling}/{image}')
    own = tmp_path / 'data' / Path(DATASETS[name].folder).name
    for root in (own, tmp_path / 'data' / sibling, tmp_path / 'data'):  # the first does not even exist
        listing = list_dataset(name, root=root)
        assert ids(listing) == ['Oslo/1']
        assert listing.samples[0].image == tmp_path / 'data' / sibling / image


def test_labelled_images_are_never_taken_for_training(tmp_path):
    touch(tmp_path / 'DensePASS', 'leftImg8bit/val/100_.png', 'leftImg8bit/val/cs/1.png')
    touch(tmp_path / 'WildPASS', 'leftImg8bit/val/cs/1.png')
    for name in ('densepass', 'wildpass'):
        with pytest.raises(DatasetError, match="no images of split 'train'"):
            list_dataset(name, root=tmp_path)


def test_the_first_layout_that_holds_images_wins(tmp_path):
    touch(tmp_path, 'DensePASStrain/leftImg8bit/Oslo/1.jpg', 'DensePASS/leftImg8bit/train/Bern/1.png')
    (tmp_path / 'leftImg8bit/train').mkdir(parents=True)  # empty: skipped
    assert ids(list_dataset('densepass', root=tmp_path)) == ['Bern/1']


def test_the_default_folder_is_below_data(tmp_path, monkeypatch):
    touch(tmp_path, 'data/DensePASS/leftImg8bit/train/Oslo/1.png')
    monkeypatch.chdir(tmp_path)
    assert ids(list_dataset('densepass')) == ['Oslo/1']
    assert ids(list_dataset('densepass', root='data')) == ['Oslo/1']


def test_the_root_may_be_the_current_folder(tmp_path, monkeypatch):
    touch(tmp_path, 'leftImg8bit/val/cs/1.png', 'gtFine/val/cs/1_labelTrainIds.png')
    monkeypatch.chdir(tmp_path)
    sample = list_dataset('densepass', 'val', '.').samples[0]
    assert sample.id == 'cs/1'
    assert sample.label.is_file()


def test_a_labelled_image_without_label_is_still_listed(tmp_path):
    touch(tmp_path, 'leftImg8bit/val/cs/1.png')
    assert [(s.id, s.label) for s in list_dataset('densepass', 'val', tmp_path).samples] == [('cs/1', None)]


@pytest.mark.parametrize(
    ('split', 'areas'),
    [
        ('train', '1 2 3 4 6'),
        ('val', '5a 5b'),
        ('fold2_train', '1 3 5a 5b 6'),
        ('fold2_val', '2 4'),
        ('fold3_train', '2 4 5a 5b'),
        ('fold3_val', '1 3 6'),
    ],
)
def test_areas_of_the_stanford_folds(tmp_path, split, areas):
    for area in ('1', '2', '3', '4', '5a', '5b', '6', '6_copy'):
        touch(tmp_path, f'area_{area}/pano/rgb/x_rgb.png', f'area_{area}/data/rgb/x_rgb.png')
    assert ids(list_dataset('stanford2d3d', split, tmp_path)) == [f'area_{a}/pano/rgb/x_rgb' for a in areas.split()]


def test_folders_that_cannot_hold_images_of_the_split_are_not_read(tmp_path, monkeypatch):
    touch(tmp_path, 'area_1/pano/rgb/x_rgb.png', 'area_1/data/depth/1.png', 'area_2_raw/huge/1.png')
    read = []
    scandir = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: read.append(Path(path)) or scandir(path))
    list_dataset('stanford2d3d', root=tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in read] == ['.', 'area_1', 'area_1/pano', 'area_1/pano/rgb']


def test_unknown_names_are_answered_with_the_known_ones(tmp_path):
    with pytest.raises(DatasetError, match=r"'kitti'; known: densepass, wildpass, synpass, stanford2d3d, cityscapes"):
        list_dataset('kitti')
    with pytest.raises(DatasetError, match=r"wildpass has no split 'test'; known: train, val"):
        list_dataset('wildpass', 'test', tmp_path)


def test_nothing_found_names_the_root_the_layouts_and_the_option(tmp_path):
    with pytest.raises(DatasetError) as error:
        list_dataset('densepass', root=tmp_path / 'nowhere')
    message = str(error.value)
    for part in (str(tmp_path / 'nowhere'), 'leftImg8bit/train/**', '../DensePASStrain/leftImg8bit/**', '--data-root'):
        assert part in message
    assert '\n' not in message


# --- any folder ---


def test_a_folder_is_searched_recursively_in_natural_order(tmp_path):
    touch(tmp_path, 'b/10.png', 'b/2.JPG', 'b/2a.jpeg', 'a.bmp', 'c/d/x.TIF', 'c/d/y.tiff', 'z.webp', 'no.txt', 'png')
    listing = list_folder(tmp_path)
    assert ids(listing) == ['a', 'b/2', 'b/2a', 'b/10', 'c/d/x', 'c/d/y', 'z']
    assert all(sample.label is None for sample in listing.samples)
    assert listing.samples[1].image == tmp_path / 'b/2.JPG'
    assert (listing.refused, listing.root) == ([], tmp_path)


@given(st.lists(st.text('a01 9', min_size=1, max_size=5).filter(lambda s: s == s.strip()), unique=True))
def test_the_order_does_not_depend_on_the_order_on_disk(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp('order')
    touch(folder, 'always.png', *(f'{name}.png' for name in names))
    expected = ids(list_folder(folder))
    other = tmp_path_factory.mktemp('order')
    touch(other, *(f'{name}.png' for name in reversed(names)), 'always.png')
    assert ids(list_folder(other)) == expected
    assert sorted(expected) == sorted(['always', *names])


def test_spaces_dots_accents_and_glob_characters_in_names(tmp_path):
    composed = unicodedata.normalize('NFC', 'São Paulo')
    decomposed = unicodedata.normalize('NFD', composed)
    touch(tmp_path, f'{decomposed}/1 of 2.png', '東京/[1].png', 'a/v1.2.png', 'a/b#*?.png')
    listing = list_folder(tmp_path)
    assert set(ids(listing)) == {f'{composed}/1 of 2', '東京/[1]', 'a/v1.2', 'a/b#*?'}
    assert all(sample.image.is_file() for sample in listing.samples)


def test_labels_are_found_below_names_with_decomposed_accents(tmp_path):
    city = unicodedata.normalize('NFD', 'São')
    touch(tmp_path, f'leftImg8bit/val/{city}/v1.2.png', f'gtFine/val/{city}/v1.2_labelTrainIds.png')
    assert list_dataset('densepass', 'val', tmp_path).samples[0].label.is_file()


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    touch(tmp_path, 'a.png', '.b.png', '._a.png', '.cache/c.png', 'd/.e/f.png', '.png')
    listing = list_folder(tmp_path)
    assert ids(listing) == ['a']
    assert listing.refused == []


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    touch(tmp_path, 'a.png/b.png')
    assert ids(list_folder(tmp_path)) == ['a.png/b']


def test_what_is_no_regular_file_is_refused(tmp_path):
    touch(tmp_path, 'a.png')
    os.mkfifo(tmp_path / 'pipe.png')
    listing = list_folder(tmp_path)
    assert ids(listing) == ['a']
    assert listing.refused == [('pipe.png', 'not a regular file')]


def test_a_name_that_is_not_utf8_is_refused_with_a_name_that_can_be_printed(tmp_path):
    touch(tmp_path, 'a.png')
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b'/\xff.png')).touch()
    except OSError:
        pytest.skip('this file system takes UTF-8 names only')
    listing = list_folder(tmp_path)
    assert ids(listing) == ['a']
    assert listing.refused[0].name.encode('utf-8').endswith(b'.png')
    assert 'not UTF-8' in listing.refused[0].reason


def test_missing_folders_files_and_folders_without_images(tmp_path):
    touch(tmp_path, 'full/a.txt', 'file.png')
    for path, message in [('nowhere', 'not a folder'), ('file.png', 'not a folder'), ('full', 'holds no images')]:
        with pytest.raises(DatasetError, match=message) as error:
            list_folder(tmp_path / path)
        assert str(tmp_path / path) in str(error.value)


# --- ids that are one name ---


def test_images_of_one_id_are_all_refused_and_name_each_other(tmp_path):
    touch(tmp_path, 'x/a.png', 'x/a.jpg', 'x/b.png', 'a.png')
    listing = list_folder(tmp_path)
    assert ids(listing) == ['a', 'x/b']
    assert [entry.name for entry in listing.refused] == ['x/a.jpg', 'x/a.png']
    assert "'x/a.png'" in listing.refused[0].reason
    assert "'x/a.jpg'" in listing.refused[1].reason


def test_composed_and_decomposed_accents_are_one_id(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, 'é') + '.png' for form in ('NFC', 'NFD'))
    touch(tmp_path, 'b.png', composed, decomposed)
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip('this file system normalises names')
    listing = list_folder(tmp_path)
    assert ids(listing) == ['b']
    reasons = {entry.name: entry.reason for entry in listing.refused}
    assert ascii(decomposed) in reasons[composed]
    assert ascii(composed) in reasons[decomposed]


def test_only_refused_images_are_an_error_with_the_first_reason(tmp_path):
    touch(tmp_path, 'a.png', 'a.jpg')
    with pytest.raises(DatasetError, match=r'all 2 .* were refused; the first is a.jpg: has the same id'):
        list_folder(tmp_path)


# --- links ---


def test_links_to_files_outside_are_refused_unless_followed(tmp_path):
    touch(tmp_path, 'outside/secret.png', 'images/a.png')
    (tmp_path / 'images/out.png').symlink_to(tmp_path / 'outside/secret.png')
    (tmp_path / 'images/dotted.png').symlink_to('../outside/secret.png')
    (tmp_path / 'images/within.png').symlink_to('a.png')
    listing = list_folder(tmp_path / 'images')
    assert ids(listing) == ['a', 'within']
    assert [entry.name for entry in listing.refused] == ['dotted.png', 'out.png']
    assert all(isinstance(entry, RefusedLink) and 'leads out of' in entry.reason for entry in listing.refused)
    assert ids(list_folder(tmp_path / 'images', follow_links=True)) == ['a', 'dotted', 'out', 'within']


def test_a_folder_beside_whose_name_starts_the_same_is_outside(tmp_path):
    touch(tmp_path, 'images-2/b.png', 'images/a.png')
    (tmp_path / 'images/b.png').symlink_to('../images-2/b.png')
    assert ids(list_folder(tmp_path / 'images')) == ['a']


def test_links_to_folders_are_entered_only_when_followed(tmp_path):
    touch(tmp_path, 'elsewhere/b.png', 'images/a.png')
    (tmp_path / 'images/link').symlink_to(tmp_path / 'elsewhere')
    listing = list_folder(tmp_path / 'images')
    assert ids(listing) == ['a']
    assert listing.refused == [RefusedLink('link', 'a link to a folder')]
    assert isinstance(listing.refused[0], RefusedLink)
    assert ids(list_folder(tmp_path / 'images', follow_links=True)) == ['a', 'link/b']


def test_the_image_folder_itself_may_be_a_link(tmp_path):
    touch(tmp_path, 'disk/a.png')
    (tmp_path / 'images').symlink_to('disk')
    assert ids(list_folder(tmp_path / 'images')) == ['a']


@pytest.mark.parametrize('follow_links', [False, True])
def test_loops_of_links_end(tmp_path, follow_links):
    root = tmp_path / 'images'
    touch(root, 'a.png', 'x/1.png', 'y/2.png')
    for link, target in {'self.png': 'self.png', 'self': 'self', 'broken.png': 'gone.png'}.items():
        (root / link).symlink_to(target)
    for link, target in {'x/up': '..', 'x/y': '../y', 'y/x': '../x', 'outer': '../..', 'here': '.'}.items():
        (root / link).symlink_to(target)
    listing = list_folder(root, follow_links=follow_links)
    assert ids(listing) == ['a', 'x/1', 'y/2']
    reasons = {entry.name: entry.reason for entry in listing.refused}
    assert set(reasons) == {'self.png', 'broken.png', 'x/up', 'x/y', 'y/x', 'outer', 'here'}
    assert reasons['broken.png'] == 'a link that leads nowhere'
    assert all('leads back to itself' in reasons[name] for name in ('self.png', 'x/up', 'outer', 'here'))
    assert reasons['x/y'] == reasons['y/x'] == 'a link to a folder that is listed already'


def test_a_real_folder_keeps_its_ids_beside_a_link_to_it(tmp_path):
    touch(tmp_path, 'bern/1.png')
    (tmp_path / 'alias').symlink_to('bern')
    assert ids(list_folder(tmp_path, follow_links=True)) == ['bern/1']


def test_a_label_behind_a_link_to_outside_is_refused_but_not_its_image(tmp_path):
    touch(tmp_path, 'secret.png', 'root/leftImg8bit/val/1.png', 'root/leftImg8bit/val/2.png')
    touch(tmp_path, 'root/gtFine/val/2.png')
    (tmp_path / 'root/gtFine/val/1.png').symlink_to(tmp_path / 'secret.png')
    listing = list_dataset('wildpass', 'val', tmp_path / 'root')
    assert labels(listing, tmp_path / 'root') == [None, 'gtFine/val/2.png']
    assert listing.refused[0].name == '1.png'
    assert isinstance(listing.refused[0], RefusedLink)
    followed = list_dataset('wildpass', 'val', tmp_path / 'root', follow_links=True)
    assert labels(followed, tmp_path / 'root') == ['gtFine/val/1.png', 'gtFine/val/2.png']


# --- lists ---


def test_a_list_chooses_and_orders(tmp_path):
    touch(tmp_path, 'images/a.png', 'images/b.png', 'images/c/d.png')
    names = write_list(tmp_path, '# order of the paper', '', 'c/d.png\r', '  a.png  ')
    listing = list_folder(tmp_path / 'images', names)
    assert ids(listing) == ['c/d', 'a']
    assert listing.refused == []


@pytest.mark.parametrize(
    ('name', 'split', 'image', 'entry'),
    [
        ('densepass', 'val', 'leftImg8bit/val/100_.png', '/100_.png'),
        ('densepass', 'val', 'leftImg8bit/val/cs/100.png', 'cs/100.png'),
        ('densepass', 'val', 'leftImg8bit/val/100.png', 'cs/100.png'),
        ('densepass', 'val', 'leftImg8bit/val/cs/100.png', 'leftImg8bit/val/cs/100.png'),
        ('densepass', 'val', 'leftImg8bit/val/cs/100.png', '///val//./cs/100'),
        ('densepass', 'train', 'leftImg8bit/train/Amsterdam/1.jpg', 'Amsterdam/1.png'),
        ('densepass', 'train', 'DensePASStrain/leftImg8bit/Amsterdam/1.jpg', 'train/Amsterdam/1.png'),
        ('wildpass', 'val', 'leftImg8bit/val/1.png', 'val/1.png'),
        ('wildpass', 'val', 'leftImg8bit/val/cs/1.png', 'val/1.png'),
        ('synpass', 'val', 'img/cloud/val/MAP_6_point10/000000.jpg', 'img/cloud/val/MAP_6_point10/000000.jpg'),
        ('stanford2d3d', 'val', 'area_5a/pano/rgb/x_rgb.png', 'area_5a/pano/rgb/x_rgb.png'),
        ('wildpass', 'val', 'leftImg8bit/val/1.png', '1.png\tgtFine/val/1.png'),
        ('wildpass', 'val', 'leftImg8bit/val/1.png', '1.png, gtFine/val/1.png'),
    ],
)
def test_the_ways_in_which_public_lists_write_a_name(tmp_path, name, split, image, entry):
    touch(tmp_path / 'root', image)
    listing = list_dataset(name, split, tmp_path / 'root', write_list(tmp_path, entry))
    assert [sample.image for sample in listing.samples] == [tmp_path / 'root' / image]


def test_a_listed_image_keeps_its_label(tmp_path):
    touch(tmp_path / 'root', 'leftImg8bit/val/cs/1.png', 'gtFine/val/cs/1_labelTrainIds.png')
    listing = list_dataset('densepass', 'val', tmp_path / 'root', write_list(tmp_path, 'cs/1.png'))
    assert labels(listing, tmp_path / 'root') == ['gtFine/val/cs/1_labelTrainIds.png']


def test_names_with_commas_spaces_dots_and_accents_in_lists(tmp_path):
    touch(tmp_path / 'images', 'a,b c.png', 'v1.2.png', unicodedata.normalize('NFC', 'é.png'))
    names = write_list(tmp_path, '\ufeffa,b c.png', 'v1.2', unicodedata.normalize('NFD', 'é.png'))
    assert ids(list_folder(tmp_path / 'images', names)) == ['a,b c', 'v1.2', unicodedata.normalize('NFC', 'é')]


def test_another_folder_of_that_image_name_is_not_guessed(tmp_path):
    touch(tmp_path / 'images', '1.png', 'Bern/2.png')
    listing = list_folder(tmp_path / 'images', write_list(tmp_path, '1', 'Oslo/1.png', '2.png', 'train/1.png'))
    assert ids(listing) == ['1']
    assert [entry.name for entry in listing.refused] == ['Oslo/1.png', '2.png', 'train/1.png']


@pytest.mark.parametrize(
    ('entry', 'reason'),
    [
        ('../secret.png', r"'\.\.'"),
        ('sub/../../secret.png', r"'\.\.'"),
        ('..\\secret.png', r"'\.\.'"),
        ('C:/secret.png', 'drive'),
        ('/c:secret.png', 'drive'),
        ('a\0.png', 'NUL'),
        ('gone.png', 'no such image'),
        ('/', 'no such image'),
        ('a.png', 'named in line 1 before'),
        ('/a.jpg', 'named in line 1 before'),
        ('out.png', 'a link that leads out of'),
        ('twin.png', 'same id as'),
        ('.hidden.png', 'no such image'),
    ],
)
def test_bad_entries_are_refused_with_their_line_and_the_rest_goes_on(tmp_path, entry, reason):
    touch(tmp_path, 'secret.png', 'images/a.png', 'images/b.png', 'images/twin.png', 'images/twin.jpg')
    touch(tmp_path, 'images/.hidden.png')
    (tmp_path / 'images/out.png').symlink_to('../secret.png')
    listing = list_folder(tmp_path / 'images', write_list(tmp_path, 'a.png', entry, 'b.png'))
    assert ids(listing) == ['a', 'b']
    assert [refused.name for refused in listing.refused] == [entry]
    assert listing.refused[0].reason.startswith('line 2 of ')
    assert re.search(reason, listing.refused[0].reason)


def test_an_absolute_name_is_taken_below_the_image_folder_only(tmp_path):
    touch(tmp_path, 'secret.png', 'images/a.png')
    listing = list_folder(tmp_path / 'images', write_list(tmp_path, 'a.png', str(tmp_path / 'secret.png')))
    assert ids(listing) == ['a']
    assert 'no such image' in listing.refused[0].reason


@given(st.lists(st.text('a/.\\:,#\t \0é-', max_size=8), max_size=5))
def test_no_list_reaches_outside_or_crashes(tmp_path_factory, lines):
    tmp_path = tmp_path_factory.mktemp('fuzz')
    touch(tmp_path, 'images/a.png', 'images/a/a.png', 'a.png')
    listing = list_folder(tmp_path / 'images', write_list(tmp_path, *lines, 'a/a.png', 'a'))
    assert set(ids(listing)) == {'a', 'a/a'}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, "can't be read"),
        (b'\xff\xfe\x00a', 'not UTF-8'),
        (b'# nothing\n\n', 'is empty'),
        (b'', 'is empty'),
        (b'gone.png\nalso gone.png', r'all 2 .* were refused; the first is gone.png: line 1 of'),
    ],
)
def test_lists_that_yield_nothing_are_errors(tmp_path, content, message):
    touch(tmp_path, 'images/a.png')
    if content is not None:
        (tmp_path / 'list.txt').write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        list_folder(tmp_path / 'images', tmp_path / 'list.txt')
    assert '\n' not in str(error.value)
    assert 'list.txt' in str(error.value)
