"""Masks from and to other tools: run lengths, cuts, formats, round trips, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tracemalloc
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO
from reference import cutting as literal
from reference.coco_text import text_of
from segment_anything import SamAutomaticMaskGenerator
from test_instance_masks import dense_masks

from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.reader import entry_name, open_cache
from stage1_sam_cache.commands import cache_sam, inspect_cache
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.errors import ImageError, MaskCacheError, Stage1Error, WriteError
from stage1_sam_cache.exchange import export
from stage1_sam_cache.exchange.content import FileContent
from stage1_sam_cache.exchange.import_folder import read_folder
from stage1_sam_cache.exchange.import_settings import ImportSettings
from stage1_sam_cache.exchange.imported_masks import ImportedMasks
from stage1_sam_cache.exchange.json_masks import JsonMasks
from stage1_sam_cache.exchange.names import NameTable, part_name
from stage1_sam_cache.exchange.png_masks import PngIds, PngStack, stack_files
from stage1_sam_cache.exchange.records import masks_of, read_record, write_records
from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.masks import coco_rle
from stage1_sam_cache.masks.cutting import cut, put
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator, FelzenszwalbSettings
from stage2_distill.training.cache_command import cache_command

# Windows higher than the panoramas (padding), and across the seam.
SETTINGS = CacheSettings(window=(48, 64), stride=40, wrap=True, overlap_source='window')
FLAGS = ('--window', '48x64', '--stride', '40', '--wrap', '--overlap-source', 'window')


class Scored(FelzenszwalbMaskGenerator):
    """Felzenszwalb's masks with scores of single precision, some of them missing."""

    def __init__(self):
        super().__init__(FelzenszwalbSettings(scales=(50.0, 200.0), min_size=20))

    def generate(self, image):
        masks = super().generate(image)
        scores = np.random.default_rng(len(masks)).random((2, len(masks)), dtype=np.float32)
        scores[:, ::5] = np.nan
        return replace(masks, predicted_iou=scores[0], stability=scores[1])


def fill(root, images, source, settings=SETTINGS):
    builder = CacheBuilder(root, settings, source)
    summary = builder.run(list_folder(images).samples, show_progress=False)
    assert summary.failed == []
    builder.writer.seal()
    return builder.writer.cache


def imported(folder, images, tool='sam2', **settings):
    listing = list_folder(images)
    return ImportedMasks(read_folder(folder, [s.id for s in listing.samples], listing.root), tool, **settings)


def assert_same_masks(one, two):
    assert one.shape == two.shape
    for name in ('runs_per_mask', 'rows', 'starts', 'ends', 'predicted_iou', 'stability'):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def assert_same_caches(cache, direct):
    assert list(cache) == list(direct)
    for image_id in direct:
        here, there = cache[image_id], direct[image_id]
        for one, two in zip(here.windows, there.windows, strict=True):
            assert_same_masks(one, two)
        for one, two in zip(here.overlaps, there.overlaps, strict=True):
            np.testing.assert_array_equal(one.boundary, two.boundary)


def encoded(mask):
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': list(mask.shape), 'counts': rle['counts'].decode()}


def files_of(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob('*') if file.is_file()}


# --- run lengths and cuts ---


@given(dense_masks())
@examples(80)
def test_run_lengths_are_those_of_pycocotools(dense):
    masks = InstanceMasks.from_dense(dense)
    texts = [encoded(mask)['counts'].encode() for mask in masks.masks]
    counts = coco_rle.decode_texts(texts)
    assert_same_masks(coco_rle.from_counts(counts, masks.shape), masks)
    for ours, theirs in zip(coco_rle.to_counts(masks), counts, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    records = write_records(masks, [Box(0, 0, *masks.shape)] * len(masks))
    assert [record['segmentation']['counts'].encode() for record in records] == texts


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9), min_size=1, max_size=4))
@examples(60)
def test_compressed_counts_of_any_size_are_read(lists):
    assert [values.tolist() for values in coco_rle.decode_texts([text_of(values) for values in lists])] == lists


@given(st.lists(st.integers(0, 2**29 - 1), min_size=1, max_size=9))
@examples(60)
def test_the_literal_text_is_that_of_pycocotools(counts):
    side = 2**16
    assert coco.frPyObjects({'counts': counts, 'size': [side, side]}, side, side)['counts'] == text_of(counts)


@pytest.mark.parametrize('text', [b'', b'5o', b'5 1', b'\xff', b'PPPPPPPPPPP1'])
def test_text_that_is_no_run_lengths_is_refused(text):
    with pytest.raises(ValueError, match=r'no compressed COCO text|too large'):
        coco_rle.decode_texts([b'51419', text])


@given(dense_masks(), st.data())
@examples(80)
def test_cutting_and_putting_are_those_of_the_literal_loops(dense, data):
    masks = InstanceMasks.from_dense(dense, np.arange(len(dense)) / 8)
    height, width = masks.shape
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    box = Box(data.draw(st.integers(0, height - rows)), data.draw(st.integers(0, width - 1)), rows, columns)
    least = data.draw(st.integers(1, 6))
    piece = cut(masks, box, least)
    expected = literal.cut(masks.masks.tolist(), *box, least)
    assert piece.masks.tolist() == [mask for _, mask in expected]
    assert piece.predicted_iou.tolist() == [masks.predicted_iou[index] for index, _ in expected]
    assert_same_masks(piece, InstanceMasks.from_dense(piece.masks, piece.predicted_iou))  # touching runs are one
    placed = put(piece, box, masks.shape)
    assert placed.masks.tolist() == literal.put(piece.masks.tolist(), *box, masks.shape)
    assert_same_masks(cut(placed, box), piece)


def test_a_panorama_with_thousands_of_masks_is_never_dense():
    count, (height, width) = 3000, (1000, 4000)
    corner = np.random.default_rng(0).integers(0, (height - 40, width - 40), (count, 2))
    rows = (corner[:, :1] + np.arange(40)).ravel()
    starts = corner[:, 1].repeat(40)
    masks = InstanceMasks.from_runs((height, width), count, np.arange(count).repeat(40), rows, starts, starts + 40)
    tracemalloc.start()
    records = list(write_records(masks, [Box(0, 0, height, width)] * count))
    texts = [record['segmentation']['counts'].encode() for record in records]
    back = coco_rle.from_counts(coco_rle.decode_texts(texts), (height, width))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_same_masks(back, masks)
    assert peak < 100e6  # dense masks: 12 GB


# --- round trips ---


@pytest.mark.parametrize('form', export.FORMATS)
def test_masks_that_are_exported_and_imported_are_those_of_the_direct_cache(tmp_path, image_folder, form, capsys):
    images = image_folder('a', 'town/b', 'town/c')
    direct = fill(tmp_path / 'direct', images, Scored())
    assert np.isfinite(direct['a'].windows[0].predicted_iou).any()
    out, root = str(tmp_path / 'out'), str(tmp_path / 'cache')
    assert inspect_cache.main(['export', str(tmp_path / 'direct'), '--out', out, '--format', form]) == 0
    assert capsys.readouterr().out == f'{out}: 3 panoramas written, 0 already there\n'
    flags = ['--images', str(images), '--import', out, '--import-name', 'felz', *FLAGS, '--out', root]
    assert cache_sam.main(flags) == 0
    printed = capsys.readouterr().out
    assert f'masks by felz, imported from {out}\n' in printed and 'sealed       all 3' in printed
    cache = open_cache(root, {'generator': {'name': 'imported', 'tool': 'felz'}})
    assert_same_caches(cache, direct)
    told = {'images': 'images', 'cache': 'cache', 'expect': {**cache.fingerprint.settings}}
    words = '--import FOLDER --import-name felz --window 48x64 --stride 40 --wrap --overlap-source window'
    assert cache_command(told) == f'tools/cache_sam.py --images images {words} --out cache'
    assert cache_sam.main([*flags, '--dry-run']) == 0 and 'panoramas of 4 crops' in capsys.readouterr().out


def test_masks_of_windows_and_overlaps_give_the_cache_that_their_generator_gives(tmp_path, image_folder):
    """Also boundary maps of masks of the overlaps, in SA-1B JSON and as PNG, one kind for each panorama."""
    images, folder, generator = image_folder('a', 'town/b'), tmp_path / 'masks', Scored()
    settings = replace(SETTINGS, overlap_source='crop')
    direct = fill(tmp_path / 'direct', images, generator, settings)
    grid = direct['a'].grid
    boxes = [grid.valid(box) for box in (*grid.windows, *(overlap.box for overlap in grid.overlaps))]
    for sample in list_folder(images).samples:
        pixels = np.asarray(Image.open(sample.image)).transpose(2, 0, 1)
        for box in boxes:
            masks = generator.generate(np.ascontiguousarray(grid.crop(pixels, box).transpose(1, 2, 0)))
            name = folder / part_name(sample.id, box)
            name.parent.mkdir(exist_ok=True)
            if sample.id == 'a':
                records = list(write_records(masks, [Box(0, 0, *masks.shape)] * len(masks)))
                name.with_suffix('.json').write_text(json.dumps(records))
            else:
                name.mkdir(parents=True)
                for file, data in stack_files(masks):
                    (name / file).write_bytes(data)
    source = imported(folder, images)
    assert_same_caches(fill(tmp_path / 'cache', images, source, settings), direct)
    assert_same_caches(fill(tmp_path / 'window', images, source), fill(tmp_path / 'cut', images, generator))
    before = source.identity
    (folder / 'a@0_0_40x64.json').write_text('[]')
    after = imported(folder, images).identity
    assert before['tool'] == 'sam2' and {**before, 'sha256': 0} == {**after, 'sha256': 0} and before != after


def test_what_segment_anything_returns_is_imported_as_it_is(tmp_path, image_folder, tiny_sam):
    images = image_folder('a', size=(48, 100))
    keep_all = dict(points_per_side=4, pred_iou_thresh=-100.0, stability_score_thresh=0.0, box_nms_thresh=1.0)  # noqa: C408
    pixels = np.asarray(Image.open(images / 'a.png'))
    records = SamAutomaticMaskGenerator(tiny_sam, output_mode='coco_rle', **keep_all).generate(pixels)
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'masks/a.json').write_text(json.dumps(records))
    assert len(records) > 5
    cache = fill(tmp_path / 'cache', images, imported(tmp_path / 'masks', images))
    dense = coco.decode([record['segmentation'] for record in records]).transpose(2, 0, 1).astype(bool)
    wrapped = np.concatenate([dense, dense], axis=2)
    scores = [[record[name] for record in records] for name in ('predicted_iou', 'stability_score')]
    for box, window in zip(cache['a'].grid.windows, cache['a'].windows, strict=True):
        piece = InstanceMasks.from_dense(wrapped[:, :, box.left : box.left + 64], *scores)
        assert_same_masks(window, piece.in_painting_order())


def test_an_exported_coco_file_opens_with_pycocotools_and_merged_masks_lie_at_their_windows(tmp_path, image_folder):
    direct = fill(tmp_path / 'direct', image_folder('a', 'town/b'), Scored())
    for out, more in (('windows', ()), ('merged', ('--merged', '--id', 'town/b'))):
        flags = ('--out', str(tmp_path / out), '--format', 'coco', *more)
        assert inspect_cache.main(['export', str(tmp_path / 'direct'), *flags]) == 0
        with redirect_stdout(io.StringIO()):
            theirs = COCO(tmp_path / out / 'instances.json')
        images = {image['file_name']: image['id'] for image in theirs.dataset['images']}
        panorama = direct['town/b']
        for box, masks in zip(panorama.grid.windows, panorama.windows, strict=True):
            name = 'town/b.png' if more else f'town/b@{box.top}_{box.left}_40x64.png'
            crop_box = [box.left, 0, 64, 40] if more else [0, 0, 64, 40]
            found = [a for a in theirs.imgToAnns[images[name]] if a['crop_box'] == crop_box]
            assert len(found) == len(masks)
            for annotation, mask in zip(found, masks.masks, strict=True):
                drawn = theirs.annToMask(annotation).astype(bool)
                seen = np.concatenate([drawn, drawn], axis=1)[:, box.left : box.left + 64] if more else drawn
                np.testing.assert_array_equal(seen, mask[:40])
                assert drawn.sum() == mask.sum() == annotation['area']
    assert set(images) == {'town/b.png'}


# --- what other tools write ---


def test_polygons_crowds_scores_and_counts_of_a_coco_file(tmp_path, image_folder):
    images = image_folder('a', 'town/b')
    polygon, hole = [[5, 4, 60, 3, 40, 30], [70, 5, 90, 5, 90, 20, 70, 20]], np.zeros((40, 160), bool)
    hole[5:20, 150:] = True
    counts = coco_rle.to_counts(InstanceMasks.from_dense(hole[None]))[0].tolist()
    annotations = [
        {'image_id': 7, 'segmentation': polygon, 'iscrowd': 0, 'score': 0.75},
        {'image_id': 7, 'segmentation': {'size': [40, 160], 'counts': counts}, 'iscrowd': 1},
        {'image_id': 7, 'segmentation': encoded(hole), 'predicted_iou': 0.5, 'stability_score': 0.25},
    ]
    listed = [{'id': 7, 'file_name': 'images/town/b.jpg', 'height': 40, 'width': 160}, {'id': 2, 'file_name': 'a.png'}]
    file = tmp_path / 'instances.json'
    file.write_text(json.dumps({'images': listed, 'annotations': annotations}))
    source = imported(file, images)
    cache = fill(tmp_path / 'cache', images, source, replace(SETTINGS, window=(40, 160), stride=160))
    masks = cache['town/b'].windows[0]
    drawn = np.array([coco.decode(coco.merge(coco.frPyObjects(polygon, 40, 160))), hole, hole], bool)
    expected = InstanceMasks.from_dense(drawn, [0.75, np.nan, 0.5], [np.nan, np.nan, 0.25]).in_painting_order()
    assert_same_masks(masks, expected)
    assert [len(window) for window in cache['a'].windows] == [0]  # listed, without masks
    small = imported(file, images, settings=ImportSettings(min_area=200))
    assert [len(w) for w in fill(tmp_path / 'large', images, small)['town/b'].windows] != [
        len(w) for w in fill(tmp_path / 'all', images, source)['town/b'].windows
    ]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_instance_ids_and_a_folder_of_binary_masks_without_scores(tmp_path, image_folder, dtype):
    images, folder = image_folder('a', 'b'), tmp_path / 'masks'
    ids = np.zeros((40, 160), dtype)
    ids[3:20, 5:40], ids[10:35, 100:] = 200, 7 if dtype == np.uint8 else 40000
    (folder / 'b').mkdir(parents=True)
    Image.fromarray(ids).save(folder / 'a.png')
    for name, value in (('mask_10', 200), ('mask_9', ids.max() if ids.max() > 200 else 7)):
        Image.fromarray((ids == value).astype(np.uint8) * 255).save(folder / f'b/{name}.png')
    cache = fill(tmp_path / 'cache', images, imported(folder, images), replace(SETTINGS, window=(40, 160), stride=160))
    expected = InstanceMasks.from_dense(np.array([ids == value for value in np.unique(ids)[1:]])).in_painting_order()
    for image_id in 'ab':
        assert_same_masks(cache[image_id].windows[0], expected)


def test_names_are_ids_with_the_folder_before_them_or_a_box_behind():
    table = NameTable(['street/1', 'a@0_0_4x4', 'a'], Path('/data/pano'))
    assert table.find('street/1') == table.find('./pano/street/1') == table.find('/data/pano/street/1')
    assert table.find('street/1') == ('street/1', None) and table.find('a@0_0_4x4') == ('a@0_0_4x4', None)
    assert table.find('pano/street/1@0_256_400x512') == ('street/1', Box(0, 256, 400, 512))
    assert table.find('1') is table.find('other/street/1') is table.find('a@1_2_3') is None


# --- what is refused ---

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner), max_leaves=9
)
COUNTS = st.lists(st.integers(-1, 50), max_size=6) | st.text(st.characters(min_codepoint=48, max_codepoint=112)) | JSON
RLE = st.fixed_dictionaries({'size': st.just([6, 7]) | JSON, 'counts': COUNTS})
POLYGONS = st.lists(st.lists(st.integers(-20, 20) | st.floats(), max_size=8), max_size=3)


@given(RLE | POLYGONS | JSON, PLAIN)
@examples(120)
def test_whatever_a_record_holds_it_is_masks_or_one_error(segmentation, score):
    try:
        masks = masks_of([read_record({'segmentation': segmentation, 'predicted_iou': score})], (6, 7))
    except ValueError:
        return
    assert masks.shape == (6, 7) and len(masks) <= 1
    assert_same_masks(masks, InstanceMasks.from_dense(masks.masks, masks.predicted_iou))


@given(st.data())
@examples(50)
def test_changed_bytes_of_a_file_give_masks_or_one_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp('masks')
    masks = InstanceMasks.from_dense(np.tri(6, 7, dtype=bool)[None], [0.5])
    files = dict(stack_files(masks))
    files['a.json'] = json.dumps({'annotations': list(write_records(masks, [Box(0, 0, 6, 7)]))}).encode()
    name = data.draw(st.sampled_from(sorted(files)))
    damaged = bytearray(files[name])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    files[name] = bytes(damaged)
    contents = {}
    for each, content in files.items():
        (folder / each).write_bytes(content)
        contents[each] = FileContent(folder / each, hashlib.sha256(content).hexdigest())
    stack = PngStack(folder, [contents['0.png']], contents['metadata.csv'])
    for file in (JsonMasks(contents['a.json']), stack, PngIds(contents['0.png'])):
        try:
            assert file.load((6, 7)).shape == (6, 7)
        except ImageError as problem:
            assert str(folder) in str(problem)


def test_each_problem_is_one_line_that_names_it_and_the_others_go_on(tmp_path, image_folder, capsys):
    images = image_folder('good', 'none', 'narrow', 'cut', 'twice', 'negative', 'parts', 'odd')
    folder, mask = tmp_path / 'masks', np.ones((40, 160), bool)
    record = {'segmentation': encoded(mask)}
    (folder / 'sub').mkdir(parents=True)
    files = {
        'good': [record],
        'narrow': [{'segmentation': encoded(mask[:, :80])}],
        'twice': [record],
        'negative': {'annotations': [{'segmentation': {'size': [40, 160], 'counts': [-1, 6401]}}]},
        'parts@0_0_40x64': [{'segmentation': encoded(mask[:, :64])}],
        'parts@0_1_40x64': [],
        'odd': [{'segmentation': [[1, 2, 3, 4]]}],
        'stranger': [record],
    }
    for name, content in files.items():
        (folder / f'{name}.json').write_text(json.dumps(content))
    (folder / 'cut.json').write_text('[{"segmentation": {"si')
    (folder / 'coco.json').write_text('{"images": [{"id": 1, "fil')
    Image.fromarray(mask).save(folder / 'twice.png')
    Image.fromarray(mask).save(folder / 'sub/5.png')
    flags = ['--images', str(images), '--import', str(folder), '--import-name', 'sam2', *FLAGS]
    flags += ['--out', str(tmp_path / 'cache')]
    assert cache_sam.main(flags) == 1
    done = capsys.readouterr()
    assert 'not sealed' in done.out and 'panoramas    1 done' in done.out
    lines = done.err.splitlines()
    for words in (
        ('failed: none: ', 'has no masks for it'),
        ('failed: narrow: ', 'narrow.json: masks of 40x80 pixels where 40x160 are needed'),
        ('failed: cut: ', 'cut.json: not a sound JSON file'),
        ('failed: twice: ', 'twice.json and in', 'twice.png; keep one of them'),
        ('failed: negative: ', 'run lengths that are not those of 40x160 pixels'),
        ('failed: parts: ', '1 of 2 parts with masks are no windows of these settings, such as parts@0_1_40x64'),
        ('failed: odd: ', 'neither run lengths nor polygons'),
        ('failed: stranger.json: masks without image',),
        ('failed: sub/5.png: masks without image',),
        ('failed: coco.json: ', 'not a sound JSON file'),
    ):
        assert [all(word in line for word in words) for line in lines].count(True) == 1, words
    (tmp_path / 'list.txt').write_text('good\n')
    assert cache_sam.main([*flags, '--list', str(tmp_path / 'list.txt'), '--skip-refused']) == 0
    assert '0 done, 1 already there, 0 failed, 3 refused and skipped' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (('--import', 'masks'), '--import needs --import-name'),
        (('--import', 'masks', '--generator', 'felzenszwalb'), 'not allowed with argument'),
        (('--import', 'masks', '--import-name', 'a/b'), 'is no name of letters'),
        (('--import', 'masks', '--import-name', 'x', '--scales', '3'), '--scales is for --generator felzenszwalb'),
        (('--import', 'masks', '--import-name', 'x', '--level', 'bf16'), '--level is for --generator sam'),
        (('--import', 'masks', '--import-name', 'x', '--min-area', '0'), 'at least 1 pixel'),
        (('--generator', 'felzenszwalb', '--min-area', '3'), '--min-area is for --import'),
        (('--generator', 'felzenszwalb', '--import-name', 'x'), '--import-name is for --import'),
    ],
)
def test_flags_that_contradict_each_other_are_refused(image_folder, flags, words, capsys):
    with pytest.raises(SystemExit) as end:
        cache_sam.main(['--images', str(image_folder('a')), *flags])
    assert end.value.code == 2 and words in capsys.readouterr().err


def test_folders_that_cannot_be_imported_and_masks_without_the_scores_that_are_asked_for(tmp_path, image_folder):
    images = image_folder('a')
    for name in ('nothing', 'text', 'images/a.png'):
        (tmp_path / 'text').mkdir(exist_ok=True)
        (tmp_path / 'text/a.txt').touch()
        with pytest.raises(Stage1Error, match=r'neither a folder nor a file|holds no masks|is no .json file'):
            imported(tmp_path / name, images)
    (tmp_path / 'text/a.json').write_text(json.dumps([{'segmentation': encoded(np.ones((40, 160), bool))}]))
    source = imported(tmp_path / 'text', images, needs_scores=True)
    summary = CacheBuilder(tmp_path / 'cache', SETTINGS, source).run(list_folder(images).samples, show_progress=False)
    assert [reason for _, reason in summary.failed] == ['a: 1 masks have no score; --order score needs one for each']
    (tmp_path / 'text/a.json').write_text('[]')
    source = ImportedMasks(source.folder, 'sam2')
    summary = CacheBuilder(tmp_path / 'cache', SETTINGS, source).run(list_folder(images).samples, show_progress=False)
    assert 'was changed while masks were imported' in summary.failed[0][1]


def test_without_pycocotools_only_polygons_and_json_exports_are_refused_in_one_line(
    tmp_path, image_folder, monkeypatch
):
    images = image_folder('a')
    fill(tmp_path / 'cache', images, Scored())
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    with pytest.raises(Stage1Error, match='needs pycocotools, which is not installed; pip install pycocotools'):
        inspect_cache.main(['export', str(tmp_path / 'cache'), '--out', str(tmp_path / 'x'), '--format', 'coco'])
    assert not (tmp_path / 'x').exists()
    (tmp_path / 'a.json').write_text(json.dumps([{'segmentation': encoded(np.ones((40, 160), bool))}]))
    fill(tmp_path / 'cache', images, imported(tmp_path / 'a.json', images))
    (tmp_path / 'a.json').write_text(json.dumps([{'segmentation': [[0, 0, 9, 0, 9, 9]]}]))
    with pytest.raises(Stage1Error, match='reading polygons needs pycocotools'):
        fill(tmp_path / 'cache', images, imported(tmp_path / 'a.json', images))


@pytest.mark.parametrize('form', export.FORMATS)
def test_an_export_that_was_stopped_is_not_imported_and_goes_on(tmp_path, image_folder, form, monkeypatch, capsys):
    images = image_folder('a', 'b', 'c')
    fill(tmp_path / 'cache', images, Scored())
    flags = ['export', str(tmp_path / 'cache'), '--format', form, '--out']
    assert inspect_cache.main([*flags, str(tmp_path / 'at_once')]) == 0
    named, seen = export.named_masks, []

    def stop(panorama, merged):
        seen.append(panorama)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return named(panorama, merged)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(export, 'named_masks', stop)
        inspect_cache.main([*flags, str(tmp_path / 'out')])
    with pytest.raises(Stage1Error, match=r'not finished|holds no masks'):
        imported(tmp_path / 'out', images)
    with pytest.raises(WriteError, match='holds another export; give another folder'):
        inspect_cache.main([*flags, str(tmp_path / 'out'), '--merged'])
    capsys.readouterr()
    assert inspect_cache.main([*flags, str(tmp_path / 'out')]) == 0
    assert ('2 panoramas written, 1 already there' if form != 'coco' else '3 panoramas') in capsys.readouterr().out
    assert files_of(tmp_path / 'out') == files_of(tmp_path / 'at_once')
    with pytest.raises(WriteError, match='is not empty and no export'):
        inspect_cache.main([*flags, str(images)])


def test_damaged_and_unknown_panoramas_are_named_and_the_others_are_exported(tmp_path, image_folder, capsys):
    images = image_folder('a', 'b', 'c')
    cache = fill(tmp_path / 'cache', images, Scored())
    file = cache.path / entry_name('b')
    file.write_bytes(file.read_bytes()[:-1])
    flags = ['export', str(tmp_path / 'cache'), '--out', str(tmp_path / 'out'), '--format', 'sa1b']
    with pytest.raises(MaskCacheError, match='d is not cached; known: '):
        inspect_cache.main([*flags, '--id', 'a', 'd'])
    assert inspect_cache.main(flags) == 1
    printed = capsys.readouterr()
    assert '2 panoramas written, 1 failed: fix them' in printed.out and f'failed: {file}: damaged' in printed.err
    assert {path.name[0] for path in (tmp_path / 'out').glob('[!.]*.json')} == {'a', 'c'}
    with pytest.raises(Stage1Error, match='is an export that was not finished'):
        imported(tmp_path / 'out', images)


def coco_file(path: Path, *images: tuple[object, str], size: tuple[int, int] = (40, 160)) -> Path:
    """Write a COCO file of images (id, name), each with one mask of everything."""
    mask = {'segmentation': encoded(np.ones(size, bool))}
    path.parent.mkdir(exist_ok=True)
    listed = [{'id': number, 'file_name': name, 'height': size[0], 'width': size[1]} for number, name in images]
    annotations = [{'id': i, 'image_id': image['id'], **mask} for i, image in enumerate(listed)]
    path.write_text(json.dumps({'images': listed, 'annotations': annotations}))
    return path


def test_images_of_one_id_in_a_coco_file_lose_no_masks_to_each_other(tmp_path, image_folder, capsys):
    images, file = image_folder('a', 'b'), coco_file(tmp_path / 'masks/merged.json', (1, 'a.png'), (1, 'b.png'))
    flags = ['--images', str(images), '--import', str(file), '--import-name', 'sam2', '--out', str(tmp_path / 'cache')]
    assert cache_sam.main([*flags, *FLAGS]) == 1
    done = capsys.readouterr()
    assert 'panoramas    0 done' in done.out
    assert 'merged.json: 2 images have the id 1; give each image an id of its own' in done.err


@pytest.mark.parametrize('name', ['/', '.', '..', '', './'])
def test_a_name_that_names_no_file_is_that_of_no_image(tmp_path, name):
    folder = read_folder(coco_file(tmp_path / 'masks/x.json', (1, 'a.png'), (2, name)), ['a'], tmp_path)
    assert list(folder.masks) == ['a'] and len(folder.refused) == 1


def test_instance_ids_of_a_panorama_over_pillows_limit_are_read(tmp_path, monkeypatch):
    ids = np.zeros((40, 160), np.uint16)
    ids[3, 5] = 65535
    Image.fromarray(ids).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    content = FileContent(tmp_path / 'a.png', hashlib.sha256((tmp_path / 'a.png').read_bytes()).hexdigest())
    assert PngIds(content).load((40, 160)).masks.nonzero()[1:] == (3, 5)
