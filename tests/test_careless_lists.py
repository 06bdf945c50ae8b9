"""Lists of images as users make them by accident: links, twins, other formats and sizes; nothing is lost silently."""

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS as MMSEG_DATASETS
from PIL import Image

from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.panorama import make_masks
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.commands.training_advice import training_options, warnings_of
from stage1_sam_cache.data.catalog import list_dataset
from stage1_sam_cache.data.image_sizes import read_sizes
from stage1_sam_cache.data.images import RgbImage, read_rgb, read_size
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.data.refusals import AllRefusedError, Refused, RefusedLink, SomeRefusedError
from stage1_sam_cache.errors import DatasetError, ImageError, MaskCacheError
from stage1_sam_cache.geometry.windows import WindowSettings
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator
from stage2_distill import components  # noqa: F401
from stage2_distill.data.cached_masks import CachedMasks
from stage2_distill.data.datasets import CatalogueDataset
from stage2_distill.data.pipeline_steps import running_steps
from stage2_distill.data.transforms import FlipPanorama
from stage2_distill.errors import ConfigError
from stage2_distill.training.cache_check import build_with_cache
from stage2_distill.training.cache_command import cache_command
from stage2_distill.training.checked_runner import ConfigDatasets
from stage2_distill.training.size_check import check_scored_batches, check_sizes
from toypass.truth.cache_scores import find_split, score_cache
from toypass.truth.truth_files import TruthFiles

FAST = ('--generator', 'felzenszwalb', '--scales', '50', '--window', '40x64', '--stride', '32')
GRID = {'window': [40, 64], 'stride': [40, 32], 'wrap': False}
LOAD = [{'type': 'LoadPanorama'}, {'type': 'LoadCachedMasks'}]


def save(folder, **sizes):
    """Write one blank PNG per name, of rows and columns."""
    folder.mkdir(exist_ok=True)
    for name, size in sizes.items():
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(folder / f'{name}.png')
    return folder


def linked(tmp_path):
    """A folder with one image, a twin of two formats, and a link to a folder with two more."""
    images = save(tmp_path / 'images', here=(40, 160), twin=(40, 160))
    Image.new('RGB', (160, 40)).save(images / 'twin.jpg')
    (images / 'session').symlink_to(save(tmp_path / 'elsewhere', a=(40, 160), b=(40, 160)))
    return images


def data_set(images, **settings):
    return {'type': 'CatalogueDataset', 'images': str(images), 'labelled': False, 'pipeline': [], **settings}


# --- what is not read, or refused ---


def test_images_of_other_formats_are_refused_by_name_unless_they_are_there_in_one_that_is_read(tmp_path):
    for name in ('a.jpg', 'a.DNG', 'b.HEIC', 'c/d.ppm', 'e.jfif', 'f.JPE', 'notes.txt', 'video.mp4'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = list_folder(tmp_path)
    assert [sample.id for sample in listing.samples] == ['a', 'e', 'f']
    assert [entry.name for entry in listing.refused] == ['b.HEIC', 'c/d.ppm']
    assert listing.refused[0].reason == '.heic images are not read; convert them to PNG or JPEG'
    (tmp_path / 'list.txt').write_text('a.jpg\nb.heic\n')
    chosen = list_folder(tmp_path, tmp_path / 'list.txt')
    assert '.heic images are not read' in chosen.refused[0].reason


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    with pytest.raises(DatasetError, match='holds no images; it is empty'):
        list_folder(tmp_path)
    for name in ('1.mp4', '2.MP4', 'all.zip', 'README'):
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=r'holds no images, but 2 \.mp4, 1 '):
        list_folder(tmp_path)


def test_a_single_refusal_is_told_without_counting(tmp_path):
    (tmp_path / 'a.png').touch()
    (tmp_path / 'list.txt').write_text('b.png')
    with pytest.raises(DatasetError) as refused:
        list_folder(tmp_path, tmp_path / 'list.txt')
    assert str(refused.value).startswith(f'{tmp_path}: b.png: line 1 of ')


def test_a_link_in_a_circle_is_called_one_and_no_flag_is_said_to_help(tmp_path):
    (tmp_path / 'images/b').mkdir(parents=True)
    for name in ('a.png', 'b/c.png'):
        (tmp_path / 'images' / name).touch()
    (tmp_path / 'images/b/up').symlink_to('..')
    (tmp_path / 'images/itself.png').symlink_to('itself.png')
    for follow in (False, True):
        listing = list_folder(tmp_path / 'images', follow_links=follow)
        assert [entry.name for entry in listing.refused] == ['b/up', 'itself.png']
        assert all('leads back to itself' in entry.reason and type(entry) is Refused for entry in listing.refused)


def test_training_sees_every_image_that_stage_1_took_or_ends(tmp_path):
    images = linked(tmp_path)
    with pytest.raises(SomeRefusedError, match=r'3 images or list entries were refused: session \(a link') as error:
        CatalogueDataset(**_options(images))
    assert '--' not in error.value.remedy  # a config has no flags
    (images / 'twin.jpg').unlink()
    followed = CatalogueDataset(**_options(images, follow_links=True))
    assert [followed.get_data_info(i)['image_id'] for i in range(len(followed))] == [
        'here', 'session/a', 'session/b', 'twin',
    ]  # fmt: skip
    assert (followed.left_out, followed.notes) == ([], [])
    skipping = CatalogueDataset(**_options(images, skip_refused=True))
    assert len(skipping) == 2
    assert skipping.left_out == [RefusedLink('session', 'a link to a folder')]
    assert 'session (a link to a folder)' in skipping.notes[0]


def _options(images, **settings):
    return {key: value for key, value in data_set(images, **settings).items() if key != 'type'}


def test_the_error_of_a_config_names_options_that_help(tmp_path):
    init_default_scope('mmseg')
    images = linked(tmp_path)
    (images / 'twin.jpg').unlink()
    config = Config({'train_dataloader': {'dataset': data_set(images)}})
    with pytest.raises(SomeRefusedError) as error:
        ConfigDatasets(config, lambda settings: CatalogueDataset(**{k: v for k, v in settings.items() if k != 'type'}))
    for name, count in (('follow_links', 4), ('skip_refused', 2)):
        option = f'train_dataloader.dataset.{name}=True'
        assert f'--cfg-options {option}' in str(error.value)
        assert len(CatalogueDataset(**_options(images, **{name: True}))) == count
    for name in ('here', 'twin'):
        (images / f'{name}.png').unlink()
    with pytest.raises(AllRefusedError, match='follow_links=True') as error:
        CatalogueDataset(**_options(images))
    assert 'skip_refused' not in str(error.value)  # nothing would be left


def test_stage_1_says_what_it_refused_and_seals_when_told_to_skip_it(tmp_path, run_tool):
    images = linked(tmp_path)
    Image.new('RGB', (200, 40)).save(images / 'wide.png')
    (images / 'x.heic').touch()
    command = ('cache_sam.py', '--images', images, *FAST, '--out', tmp_path / 'cache')
    finished = run_tool(*command)
    assert finished.returncode == 1
    assert 'not sealed' in finished.stdout
    for text in ('failed: x.heic: ', 'failed: session: a link to a folder; take it with --follow-links', '4 refused'):
        assert text in finished.stderr
    assert 'the images have 2 sizes: 40x160 (1 image, such as here), 40x200' in finished.stderr
    skipped = run_tool(*command, '--skip-refused')
    assert skipped.returncode == 0, skipped.stderr
    assert '2 already there, 0 failed, 4 refused and skipped' in skipped.stdout
    assert 'skipped: x.heic' in skipped.stderr
    assert (
        "to train     tools/train.py goodsam_b0_own.py ... --cfg-options 'model.grid.window=[40,64]'" in skipped.stdout
    )


# --- sizes ---


def test_sizes_are_those_of_the_pixels_that_are_read(tmp_path):
    image = Image.new('RGB', (30, 20))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ('jpg', 'png', 'webp', 'tif'):
            path = tmp_path / f'{orientation}.{kind}'
            image.save(path, exif=exif)
            assert read_size(path) == read_rgb(path).pixels.shape[:2], path
    late = tmp_path / 'late.png'
    written = (tmp_path / '6.png').read_bytes()
    start = written.index(b'eXIf') - 4
    chunk = written[start : start + 12 + int.from_bytes(written[start : start + 4], 'big')]
    without = written.replace(chunk, b'')
    late.write_bytes(without[:-12] + chunk + without[-12:])  # EXIF after the pixels, before the end
    assert read_size(late) == read_rgb(late).pixels.shape[:2] == (30, 20)
    (tmp_path / 'empty.png').touch()
    with pytest.raises(ImageError, match='is empty'):
        read_size(tmp_path / 'empty.png')
    sizes = read_sizes([late, tmp_path / '1.png', tmp_path / 'empty.png'])
    assert (sizes.images, list(sizes.problems)) == ({(30, 20): [0], (20, 30): [1]}, [2])


def settings_of(images, *steps, **grid):
    return data_set(images, pipeline=[*LOAD, *steps], cache='cache/x', expect={'grid': GRID | grid})


def entries_of(images):
    return [{'image_id': path.stem, 'img_path': str(path)} for path in sorted(images.iterdir())]


FLIP, ROLL = {'type': 'FlipPanorama'}, {'type': 'RollPanorama'}


@pytest.mark.parametrize(
    ('step', 'place'),
    [
        (FLIP, 'pipeline.2'),
        ({'type': 'RandomApply', 'transforms': [FLIP], 'prob': 0.5}, 'pipeline.2.transforms.0'),
        ({'type': 'RandomChoice', 'transforms': [[FLIP], [FLIP]], 'prob': [0.0, 1.0]}, 'pipeline.2.transforms.1.0'),
        ({'type': 'TransformBroadcaster', 'transforms': [ROLL | {'prob': 0}, FLIP]}, 'pipeline.2.transforms.1'),
    ],
)
def test_every_image_is_checked_and_the_remedies_work_as_they_stand(tmp_path, step, place):
    init_default_scope('mmseg')
    images = save(tmp_path / 'images', a=(40, 160), b=(40, 136), c=(40, 136))
    settings = settings_of(images, step)
    with pytest.raises(
        ConfigError, match=r'2 of 3 panoramas cannot be mirrored .* 40x136 \(2 images, such as b\)'
    ) as error:
        check_sizes(settings, entries_of(images))
    options = [word.strip(',') for word in str(error.value).split() if word.startswith('train_dataloader')]
    assert options == [f'train_dataloader.dataset.{place}.{option}' for option in ('where_possible=True', 'prob=0')]
    for option in options:
        changed = Config({'train_dataloader': {'dataset': settings}})
        key, value = option.split('=')
        changed.merge_from_dict({key: {'True': True, '0': 0}[value]})
        notes = check_sizes(changed.train_dataloader.dataset, entries_of(images))
        assert len(notes) == (value == 'True')
    (stride,) = [int(word.split('=')[1]) for word in str(error.value).split() if word.startswith('model.grid.stride')]
    assert f'--stride {stride}' in error.value.remedy
    assert check_sizes(settings_of(images, step, stride=[40, stride]), entries_of(images)) == []


def test_a_step_that_cannot_run_is_not_checked(tmp_path):
    init_default_scope('mmseg')
    images = save(tmp_path / 'images', b=(40, 150))
    off = [
        FLIP | {'prob': 0},
        {'type': 'RandomApply', 'transforms': [FLIP], 'prob': 0.0},
        {'type': 'RandomChoice', 'transforms': [[FLIP], []], 'prob': [0.0, 1.0]},
        {'type': 'RandomChoice', 'transforms': [[FLIP | {'prob': 0}], [ROLL | {'prob': 0}]]},
    ]
    assert check_sizes(settings_of(images, *off), entries_of(images)) == []
    assert [name for name, _ in running_steps(off)] == ['pipeline.2', 'pipeline.3']


def test_sizes_that_are_no_batch_are_told_with_the_number_of_images(tmp_path):
    init_default_scope('mmseg')
    images = save(tmp_path / 'images', a=(40, 160), b=(40, 96), c=(40, 96))
    with pytest.raises(
        ConfigError, match=r'40x96 \(2 images, such as b\), 40x160 \(1 image, such as a\).*batch_size=1'
    ):
        check_sizes(settings_of(images), entries_of(images), batch_size=2)
    assert check_sizes(settings_of(images), entries_of(images), batch_size=1) == []
    for loader in ('val_dataloader', 'test_dataloader'):
        dataset = data_set(images, pipeline=[{'type': 'LoadPanorama'}, {'type': 'PackPanorama'}], test_mode=True)
        config = Config({'model': {}, loader: {'batch_size': 2, 'dataset': dataset}})
        with pytest.raises(
            ConfigError, match=rf'{loader}\.batch_size=2, .*2 sizes.*cfg-options {loader}\.batch_size=1$'
        ):
            check_scored_batches(config, MMSEG_DATASETS.build)
        config.model.data_preprocessor = {'test_cfg': {'size_divisor': 32}}  # which pads
        check_scored_batches(config, MMSEG_DATASETS.build)
        config.model.data_preprocessor, config[loader].batch_size = None, 1
        check_scored_batches(config, MMSEG_DATASETS.build)
    paths, names = [images / 'a.png', images / 'b.png'], ['a', 'b']
    assert 'batch_size=1' in warnings_of(paths, names, WindowSettings((40, 64), 32), 10**8)[0]
    assert warnings_of(paths[:1], names[:1], WindowSettings((40, 64), 32), 10**8) == []


@pytest.mark.parametrize('columns', [1920, 3840, 5760, 6080, 6720, 7680, 8192, 1000, 4001, 300])
def test_own_panoramas_of_any_width_can_be_trained(tmp_path, columns):
    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / 'mmseg_configs/goodsam_b0_own.py')
    images = save(tmp_path / 'images', a=(8, columns))
    settings = {**config.train_dataloader.dataset, 'images': str(images), 'expect': {'grid': dict(config.model.grid)}}
    notes = check_sizes(settings, entries_of(images), config.train_dataloader.batch_size)
    assert len(notes) == (columns % 256 != 0)
    warnings = warnings_of([images / 'a.png'], ['a'], WindowSettings(), 10**8)
    assert len(warnings) == len(notes)


@pytest.mark.parametrize(('columns', 'mirrored'), [(160, True), (150, False)])
def test_where_it_is_possible_panoramas_are_mirrored(picture, columns, mirrored):
    pixels = picture(40, columns)
    panorama = make_masks('a', RgbImage(pixels, '0'), CacheSettings((40, 64), 32), FelzenszwalbMaskGenerator())
    flip = FlipPanorama(prob=1, where_possible=True)
    results = flip({'img': pixels, 'seg_fields': [], 'cached_masks': CachedMasks.from_cache(panorama)})
    assert (results['img'] == (pixels[:, ::-1] if mirrored else pixels)).all()


# --- the cache ---


def cached(tmp_path, images, **settings):
    builder = CacheBuilder(tmp_path / 'cache', CacheSettings((40, 64), 32, **settings), FelzenszwalbMaskGenerator())
    builder.run(list_folder(images).samples, show_progress=False)
    builder.writer.seal()
    return {**settings_of(images), 'cache': str(tmp_path / 'cache')}


def test_masks_of_other_windows_can_be_taken_as_the_message_says(tmp_path):
    init_default_scope('mmseg')
    settings = cached(tmp_path, save(tmp_path / 'images', a=(40, 160)), wrap=True)
    with pytest.raises(
        MaskCacheError, match=r'grid\.wrap is True.*--cfg-options model\.grid\.wrap=True,.*; run tools/cache'
    ):
        build_with_cache(settings)
    wrapped = {**settings, 'expect': {'grid': GRID | {'wrap': True}}}
    assert len(build_with_cache(wrapped)) == 1
    assert training_options(WindowSettings(wrap=True)) == '--cfg-options model.grid.wrap=True'
    assert training_options(WindowSettings()) == ''


def test_an_image_that_changed_since_it_was_cached_is_named_before_training(tmp_path):
    init_default_scope('mmseg')
    images = save(tmp_path / 'images', **dict.fromkeys('abc', (40, 160)))
    settings = cached(tmp_path, images)
    assert len(build_with_cache(settings)) == 3
    later = Path(images / 'c.png').stat().st_mtime + 1000
    os.utime(images / 'b.png', (later, later))  # copied, not changed
    assert len(build_with_cache(settings)) == 3
    Image.new('RGB', (160, 40), 'red').save(images / 'c.png')
    os.utime(images / 'c.png', (later, later))
    with pytest.raises(MaskCacheError, match=r'c\.png is not the image whose masks') as error:
        build_with_cache(settings)
    set_aside, again = error.value.remedy.removeprefix('run ').split(', then ')
    assert shlex.split(set_aside)[:2] == ['tools/inspect_cache.py', 'repair']
    assert shlex.split(set_aside)[-2:] == ['--drop', 'c']
    assert shlex.split(again)[0] == 'tools/cache_sam.py'


def test_the_command_of_a_cache_lists_images_as_the_config_does(tmp_path):
    settings = settings_of(tmp_path / 'images', stride=[40, 32])
    for name, flag in (('follow_links', '--follow-links'), ('skip_refused', '--skip-refused')):
        assert flag not in cache_command(settings)
        assert shlex.split(cache_command({**settings, name: True})).count(flag) == 1


def test_the_other_stride_is_offered_with_the_generator_of_the_cache(tmp_path):
    init_default_scope('mmseg')
    settings = cached(tmp_path, save(tmp_path / 'images', a=(40, 136)))
    settings['pipeline'] = [*LOAD, FLIP | {'where_possible': True}]
    (note,) = build_with_cache(settings).notes
    assert 'model.grid.stride=36 with the masks of tools/cache_sam.py' in note
    assert '--generator felzenszwalb' in note


def test_masks_are_read_also_in_a_wrapper(tmp_path):
    init_default_scope('mmseg')
    settings = cached(tmp_path, save(tmp_path / 'images', a=(40, 160)))
    settings['pipeline'] = [LOAD[0], {'type': 'RandomApply', 'transforms': [LOAD[1]], 'prob': 1.0}]
    assert 'cached_masks' in build_with_cache(settings)[0]


def test_scores_of_masks_find_the_split_and_are_never_nan(tmp_path):
    images = save(tmp_path / 'images', a=(40, 160))
    cached(tmp_path, images)
    (cache,) = [build_with_cache({**settings_of(images), 'cache': str(tmp_path / 'cache')}).mask_cache]
    with pytest.raises(DatasetError, match=r'no split has the truth of a, .*--data'):
        find_split(tmp_path, 'target', cache)
    truth = tmp_path / 'truth/target/train'
    truth.mkdir(parents=True)
    blank = np.zeros((40, 160), np.uint8)
    for name, values in (('instances', blank), ('parts', blank), ('labelTrainIds', blank + 255)):
        Image.fromarray(values).save(truth / f'a_{name}.png')
    assert find_split(tmp_path, 'target', cache) == 'train'
    with pytest.raises(DatasetError, match='are 255'):
        score_cache(cache, TruthFiles(tmp_path, 'target', 'train'), 32)


def test_scores_of_masks_say_how_many_images_they_are_of(tmp_path, run_tool):
    images = save(tmp_path / 'images', a=(40, 160), b=(40, 160))
    cached(tmp_path, images)
    truth = tmp_path / 'truth/target/train'
    truth.mkdir(parents=True)
    blank = np.zeros((40, 160), np.uint8)
    for image_id in ('a', 'b', 'c'):
        for name, values in (('instances', blank + 1), ('parts', blank), ('labelTrainIds', blank)):
            Image.fromarray(values).save(truth / f'{image_id}_{name}.png')
    file = tmp_path / 'made/scores.json'
    command = ('score_masks.py', tmp_path / 'cache', '--data', tmp_path)
    done = run_tool(*command, '--limit', 1, '--json', file)
    assert done.stdout.strip().endswith(': 1 of 3 images scored; skipped: 1 (over the limit), 1 (not cached)')
    assert json.loads(file.read_text())[0]['images'] == 1
    (tmp_path / 'file').touch()
    refused = run_tool(*command, '--json', tmp_path / 'file/scores.json')
    assert refused.returncode == 2
    assert 'cannot make the folder' in refused.stderr
    assert 'give another --json' in refused.stderr


def test_a_score_of_fewer_images_than_have_labels_is_refused(tmp_path):
    root, labels = tmp_path / 'leftImg8bit/val/cs', tmp_path / 'gtFine/val/cs'
    for folder in (root, labels):
        folder.mkdir(parents=True)
    for name in ('1.png', '2_.png'):
        (root / name).touch()
    for name in ('1_labelTrainIds.png', '2_labelTrainIds.png', '3_labelTrainIds.png', '4_color.png'):
        (labels / name).touch()
    assert list_dataset('densepass', 'val', tmp_path).refused == [
        ('cs/3_labelTrainIds.png', 'a label without an image')
    ]
    with pytest.raises(SomeRefusedError, match=r'cs/3_labelTrainIds\.png'):
        CatalogueDataset(name='densepass', split='val', root=str(tmp_path), pipeline=[], test_mode=True)
    (tmp_path / 'list.txt').write_text('cs/1.png\n')  # a choice, not a loss
    assert list_dataset('densepass', 'val', tmp_path, tmp_path / 'list.txt').refused == []
