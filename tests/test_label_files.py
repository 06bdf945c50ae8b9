"""Labels as files of other tools: read back by these tools' own readers, or by slow ones, they are the PNGs' labels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools.coco import COCO
from reference.other_tools import decode_brush, paint_runs, read_cvat
from test_predict import CONFIG, WEIGHTS, Pointwise, draw, film, run, small_student

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.geometry.windows import WindowSettings
from stage2_distill.commands import predict
from stage2_distill.deployment import predictor
from stage2_distill.deployment.enlarge import enlarged_labels, enlarged_with_confidence
from stage2_distill.deployment.labelling import label_in_windows, label_whole
from stage2_distill.deployment.outputs import encode_png
from stage2_distill.deployment.own_output import read_note
from stage2_distill.deployment.student import Student
from stage2_distill.errors import ConfigError
from stage2_distill.exchange import brush_rle
from stage2_distill.exchange.label_map import LabelSet, runs_in_box
from stage2_distill.exchange.prediction_files import PredictionFiles

SPACE = LABEL_SPACES['cityscapes19']
FILES = ('coco.json', 'cvat.xml', 'cvat_labels.json', 'labelstudio.json', 'labelstudio_config.xml')
ALL = ('--format', 'png', 'coco', 'cvat', 'labelstudio', '--image-url', 'http://localhost/pictures/')


def read_coco(path: Path) -> dict[str, np.ndarray]:
    """Label maps by image name, through pycocotools; each pixel is in one mask at most."""
    coco = COCO(str(path))
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(SPACE.classes)
    maps = {}
    for image in coco.loadImgs(coco.getImgIds()):
        canvas = np.full((image['height'], image['width']), 255, np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image['id'])):
            mask = coco.annToMask(annotation).astype(bool)
            assert annotation['area'] == mask.sum()
            assert (canvas[mask] == 255).all()
            canvas[mask] = annotation['category_id'] - 1
        maps[image['file_name']] = canvas
    return maps


def read_label_studio(path: Path) -> dict[str, np.ndarray]:
    """Label maps by image address; brushes are those of the labelling config."""
    config = ElementTree.parse(path.with_name('labelstudio_config.xml')).getroot()
    brush, image = config.find('BrushLabels'), config.find('Image')
    names = [label.get('value') for label in brush]
    maps = {}
    for task in json.loads(path.read_text()):
        (prediction,) = task['predictions']
        results = prediction['result']
        assert len({result['id'] for result in results}) == len(results)
        for result in results:
            assert (result['from_name'], result['to_name']) == (brush.get('name'), image.get('name'))
            size = result['original_height'], result['original_width']
            canvas = maps.setdefault(task['data'][image.get('value').removeprefix('$')], np.full(size, 255, np.uint8))
            mask = decode_brush(result['value']['rle'], *size) == 255
            canvas[mask] = names.index(result['value']['brushlabels'][0])
    return maps


def png_labels(out: Path) -> dict[str, np.ndarray]:
    return {
        file.relative_to(out / 'labels').as_posix().removesuffix('.png'): np.asarray(Image.open(file))
        for file in sorted((out / 'labels').rglob('*.png'))
    }


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Whether label maps by file name are those by id."""
    by_id = {name.rpartition('.')[0]: labels for name, labels in found.items()}
    return list(by_id) == list(expected) and all(np.array_equal(by_id[name], expected[name]) for name in expected)


@pytest.fixture(autouse=True)
def quick_student(monkeypatch):
    """Every run has a student of one convolution, and memory is not worked out; both take time."""
    torch.manual_seed(0)
    student = Student(Pointwise(), [0.0] * 3, [64.0] * 3, list(SPACE.classes), [list(c) for c in SPACE.palette]).eval()
    monkeypatch.setattr(Student, 'load', lambda *_: student)
    monkeypatch.setattr(predictor, 'needed_bytes', lambda *_: 1)


# --- encodings ---


def test_brushes_are_read_back_by_a_slow_reader():
    random = np.random.default_rng(0)
    masks = [random.random((7, 11)) < share for share in (0.02, 0.5, 0.98)]
    masks += [np.zeros((3, 5), bool), np.ones((3, 5), bool), np.ones((1, 1), bool), random.random((9, 9)) < 0.1]
    long = np.zeros((300, 400), bool)  # runs of more than 65536 values, and of 8, 16, 256 and one more
    long[100, :2], long[101, :4], long[102, :64], long[103, 1:66], long[299, 399] = (True,) * 5
    for mask in [*masks, long]:
        assert np.array_equal(decode_brush(brush_rle.encode(mask), *mask.shape), np.where(mask, 255, 0))


def test_a_brush_begins_as_label_studio_writes_it():
    # The first bytes of an export of Label Studio: an image of 3332x2527 pixels that begins with unmarked pixels.
    begun = [2, 1, 233, 240, 57, 27, 255, 255, 255, 0, 255, 255, 224, 31, 255, 252, 3, 255, 255, 128, 127]
    assert brush_rle.encode(np.zeros((2527, 3332), bool))[: len(begun)] == begun


def test_runs_are_those_of_cvats_own_example():
    # From the documentation of the format: a car of 13x15 pixels.
    rle = '3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3'
    canvas = np.zeros((20, 20), np.uint8)
    paint_runs(canvas, 1, rle, left=4, top=2, width=13, height=15)
    found = runs_in_box(canvas == 1)
    assert (found.left, found.top, found.width, found.height) == (4, 2, 13, 15)
    assert ', '.join(map(str, found.counts)) == rle
    assert runs_in_box(np.array([[False, True], [True, True]])).counts == [1, 3]
    assert runs_in_box(np.ones((2, 2), bool)).counts == [0, 4]


# --- confidence ---


@pytest.mark.parametrize('size', [(100, 155), (13, 20), (3, 5)])
def test_confidence_is_the_largest_probability_of_enlarged_logits(size):
    logits = 8 * torch.randn(19, 13, 20, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(logits[None], size, mode='bilinear', align_corners=False)[0]
    labels, confidence = enlarged_with_confidence(logits, size)
    assert torch.equal(labels, enlarged_labels(logits, size))
    assert (confidence - 255 * large.softmax(0).amax(0)).abs().max() <= 0.5 + 1e-3
    assert confidence.max() > 250 > 150 > confidence.min()


def test_confidence_has_the_labels_of_every_mode():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 149, 3), np.uint8)
    network = small_student()
    for wrap in (False, True):
        both = label_whole(network, pixels, wrap, enlarged_with_confidence)
        assert np.array_equal(both[0], label_whole(network, pixels, wrap))
        windows = WindowSettings((32, 64), (24, 48), wrap)
        tiled = label_in_windows(network, pixels, windows, enlarge=enlarged_with_confidence)
        assert tiled.shape == both.shape == (2, 50, 149)
        assert np.array_equal(tiled[0], label_in_windows(network, pixels, windows))
        if not wrap:  # the network sees no context
            assert np.abs(tiled[1].astype(int) - both[1]).max() <= 1


# --- the command ---


def test_files_of_other_tools_hold_the_labels_of_a_resumed_run_in_shards(tmp_path, capsys):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    for seed, name in enumerate(('a.png', 'sub/deep & <b>.jpg', 'sub/z.png')):
        draw(folder / name, seed, (48 + 4 * seed, 96))
    film(folder / 'ride.avi', 2)
    command = ('--images', folder, '--out', out, *ALL)
    run(capsys, '--images', folder / 'a.png', '--out', out)  # an earlier run without other files
    assert not (out / 'parts').exists()
    said = run(capsys, *command, '--shard', '0/2')
    assert f'3 images in {out}/coco.json, {out}/cvat.xml, ' in said
    assert list(read_coco(out / 'coco.json')) == ['a.png', 'ride.avi/000000.png', 'sub/z.png']
    run(capsys, *command, '--shard', '1/2')
    expected = png_labels(out)
    assert list(expected) == ['a', 'ride.avi/000000', 'ride.avi/000001', 'sub/deep & <b>', 'sub/z']
    assert len(np.unique(np.concatenate([labels.ravel() for labels in expected.values()]))) > 2
    maps = read_coco(out / 'coco.json')
    assert same(maps, expected)
    assert 'sub/deep & <b>.jpg' in maps
    maps, colours = read_cvat((out / 'cvat.xml').read_text())
    assert same(maps, expected)
    assert 'sub/deep & <b>.jpg' in maps
    assert colours['road'] == '#804080'
    assert [entry['name'] for entry in json.loads((out / 'cvat_labels.json').read_text())] == list(SPACE.classes)
    maps = read_label_studio(out / 'labelstudio.json')
    assert same(
        {name.removeprefix('http://localhost/pictures/'): each for name, each in maps.items()},
        {name.replace(' & <b>', '%20%26%20%3Cb%3E'): labels for name, labels in expected.items()},
    )
    once = tmp_path / 'once'
    run(capsys, '--images', folder, '--out', once, *ALL)
    written = {name: (out / name).read_bytes() for name in FILES}
    assert {name: (once / name).read_bytes() for name in FILES} == written

    (out / 'parts/cvat/a.json').write_text('cut')
    (out / 'cvat.xml').unlink()
    draw(folder / 'sub/z.png', 9, (56, 96))  # another image: its parts are of an old label file
    assert '5 of 5 images (4 already there)' in run(capsys, *command)
    assert same(read_coco(out / 'coco.json'), png_labels(out))
    assert not np.array_equal(png_labels(out)['sub/z'], expected['sub/z'])
    said = run(capsys, '--images', folder / 'a.png', '--out', out, '--wrap', '--format', 'coco')
    assert f'1 images in {out}/coco.json; 4 label files of another student or mode are not in them' in said


def test_without_png_there_are_no_overlays_and_confidence_is_resumed(tmp_path, capsys):
    draw(tmp_path / 'in/x/a.png', 1)
    command = ('--images', tmp_path / 'in', '--out', tmp_path / 'out')
    said = run(capsys, *command, '--format', 'cvat', '--scale', '0.75')
    assert 'overlays' not in said
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'cvat.xml', 'cvat_labels.json', 'labels', 'parts', 'predictions.json',
    ]  # fmt: skip
    label = tmp_path / 'out/labels/x/a.png'
    before = label.read_bytes()
    said = run(capsys, *command, '--format', 'cvat', '--scale', '0.75', '--confidence')
    assert '1 of 1 images: ids in' in said
    assert f'their probabilities in {tmp_path}/out/confidence' in said
    assert label.read_bytes() == before
    confidence = tmp_path / 'out/confidence/x/a.png'
    with Image.open(confidence) as image:
        assert (image.mode, image.size) == ('L', (128, 64))
    assert read_note(confidence)['probability_1_is'] == 255
    assert json.loads((tmp_path / 'out/predictions.json').read_text())['probability_1_is'] == 255
    assert '(1 already there)' in run(capsys, *command, '--format', 'cvat', '--scale', '0.75', '--confidence')
    moved = tmp_path / 'elsewhere/confidence/x/a.png'
    moved.parent.mkdir(parents=True)
    confidence.rename(moved)
    assert '1 of 1 images: ids' in run(capsys, *command, '--format', 'cvat', '--scale', '0.75', '--confidence')
    assert confidence.read_bytes() == moved.read_bytes()
    own = run(capsys, '--images', tmp_path, '--out', tmp_path / 'new', '--mode', 'tile', '--window', '64x64')
    assert '1 of 1 images' in own  # its confidence maps are not labelled either


HOLDS = """
import sys
from stage1_sam_cache.system.folder_lock import hold
with hold(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.readline()
"""


def test_processes_put_files_together_one_after_the_other(tmp_path):
    def label(name: str, student: str) -> None:
        image = Image.fromarray(np.full((4, 6), len(name), np.uint8))
        (tmp_path / 'labels').mkdir(exist_ok=True)
        (tmp_path / f'labels/{name}.png').write_bytes(encode_png(image, {'student': student}))

    about = LabelSet(list(SPACE.classes), [list(colour) for colour in SPACE.palette], 's')
    files = PredictionFiles(tmp_path, ['coco'], about)
    label('a', 's')
    command = [sys.executable, '-c', HOLDS, str(tmp_path / 'parts')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == 'held\n'
        waiting = Thread(target=files.put_together, args=({'student': 's'},))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive() and not (tmp_path / 'coco.json').exists()
        label('bb', 's')  # the other process finishes an image in the meantime
        label('ccc', 'another')
        other.communicate('\n')
    waiting.join(30)
    maps = read_coco(tmp_path / 'coco.json')  # notes without a name, as earlier versions wrote them
    assert {name: int(labels.max()) for name, labels in maps.items()} == {'a.png': 1, 'bb.png': 2}


def test_a_name_that_xml_cannot_hold_is_refused_and_its_labels_are_kept(tmp_path, capsys):
    for name in ('a.png', 'odd\x01.png'):
        draw(tmp_path / 'in' / name)
    command = [CONFIG, WEIGHTS, '--images', tmp_path / 'in', '--out', tmp_path / 'out', '--format', 'coco', 'cvat']
    for already in ('', ' (2 already there)'):
        assert predict.main([*map(str, command)]) == 1
        done = capsys.readouterr()
        assert f'2 of 2 images{already}: ids' in done.out
        said = 'XML cannot hold a name with control characters; rename the image and remove its label file'
        assert done.err.count(said) == 1
        assert len(png_labels(tmp_path / 'out')) == 2
        assert len(read_coco(tmp_path / 'out/coco.json')) == 2
        assert list(read_cvat((tmp_path / 'out/cvat.xml').read_text())[0]) == ['a.png']
    assert not list((tmp_path / 'out').rglob('.*'))  # no lock, no temporary
    (tmp_path / 'in/odd\x01.png').rename(tmp_path / 'in/even.png')
    (tmp_path / 'out/labels/odd\x01.png').unlink()
    run(capsys, *command[2:])
    assert same(read_cvat((tmp_path / 'out/cvat.xml').read_text())[0], png_labels(tmp_path / 'out'))


def test_an_image_whose_extension_changed_has_its_new_name_in_the_files(tmp_path, capsys):
    image, command = tmp_path / 'in/a.jpeg', ('--images', tmp_path / 'in', '--out', tmp_path / 'out')
    draw(image)
    run(capsys, *command)
    image.rename(tmp_path / 'in/a.jpg')
    run(capsys, *command, '--format', 'coco')
    assert list(read_coco(tmp_path / 'out/coco.json')) == ['a.jpg']
    assert '(1 already there)' in run(capsys, *command, '--format', 'coco')


def test_what_belongs_to_older_labels_goes_with_them_or_is_named(tmp_path, capsys):
    draw(tmp_path / 'in/a.png', 1)
    command = ('--images', tmp_path / 'in', '--out', tmp_path / 'out')
    run(capsys, *command, '--format', 'png', 'coco', '--confidence')
    run(capsys, *command, '--format', 'coco')  # the same labels
    assert {path.parent.name for path in (tmp_path / 'out').rglob('a.png')} == {'labels', 'overlays', 'confidence'}
    draw(tmp_path / 'in/a.png', 2)
    assert predict.main([CONFIG, WEIGHTS, *map(str, command), '--format', 'cvat']) == 0
    assert f'{tmp_path}/out/coco.json is of an earlier run; --format coco makes it anew' in capsys.readouterr().err
    assert {path.parent.name for path in (tmp_path / 'out').rglob('a.png')} == {'labels'}


def test_a_missing_package_is_said_before_anything_is_labelled(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycocotools.mask', None)
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    draw(tmp_path / 'a.png')
    with pytest.raises(ConfigError, match='needs pycocotools; pip install pycocotools'):
        predict.main(
            [CONFIG, WEIGHTS, '--images', str(tmp_path / 'a.png'), '--out', str(tmp_path / 'o'), '--format', 'coco']
        )
    assert not (tmp_path / 'o').exists()
