"""Labelling images with a student: whole and in windows, bounded memory, many and mixed files, resuming, refusals."""

import json
import os
import shutil
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from stage1_sam_cache.errors import DatasetError, InputSizeError, OutOfMemory
from stage1_sam_cache.geometry.windows import WindowSettings
from stage1_sam_cache.system import memory
from stage2_distill.commands import predict
from stage2_distill.deployment import predictor
from stage2_distill.deployment.enlarge import enlarged_labels
from stage2_distill.deployment.fitting import first_that_fits
from stage2_distill.deployment.labelling import label_in_windows, label_whole
from stage2_distill.deployment.own_output import read_note
from stage2_distill.deployment.plans import Mode
from stage2_distill.deployment.predictor import Labeller, Progress
from stage2_distill.deployment.sources import find_sources
from stage2_distill.deployment.student import Student, student_config
from stage2_distill.errors import NotFiniteError
from stage2_distill.models.dry_run import needed_bytes
from stage2_distill.models.segformer import as_mmsegs_own

CONFIG = str(ROOT / 'mmseg_configs/source/segformer_b0_toypass.py')
WEIGHTS = str(ROOT / 'stage2_distill/weights/segformer_b0.safetensors')
NEEDED = cache(needed_bytes)


@pytest.fixture(scope='module')
def student() -> Student:
    return Student.load(CONFIG, WEIGHTS)


@pytest.fixture(scope='module')
def panorama() -> np.ndarray:
    """A part of a real street."""
    with Image.open(ROOT / 'stage1_sam_cache/pictures/cache_of_a_panorama.jpg') as image:
        return np.asarray(image.convert('RGB'))[100:300, :512]


# --- equal to whole ---


@pytest.mark.parametrize(('small', 'size'), [((50, 256), (200, 1024)), ((44, 128), (173, 511)), ((3, 5), (3, 5))])
def test_labels_by_class_are_those_of_all_classes_at_once(small, size):
    logits = torch.randn(19, *small, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(logits[None], size, mode='bilinear', align_corners=False)[0].argmax(0)
    assert torch.equal(enlarged_labels(logits, size).long(), expected)


@pytest.mark.parametrize('wrap_columns', [0, 20])
def test_whole_is_the_argmax_of_the_students_logits(student, panorama, wrap_columns):
    pixels = panorama[:83, :210]
    image = F.pad(torch.tensor(pixels).movedim(-1, 0)[None].float(), (wrap_columns,) * 2 + (0, 0), mode='circular')
    with torch.no_grad():
        expected = student(image)[0].argmax(0)[:, wrap_columns : wrap_columns + 210].numpy()
    assert np.array_equal(student.label(pixels, wrap_columns), expected)


def test_one_window_over_the_whole_image_is_whole(student, panorama):
    pixels = panorama[:83, :210]
    found = label_in_windows(student, pixels, WindowSettings((400, 400), (300, 300)))
    assert np.array_equal(found, label_whole(student, pixels))


class Pointwise(nn.Module):
    """A network of one convolution with a quarter of the resolution: no cell depends on what lies around it."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.conv, self.limit, self.num_classes = nn.Conv2d(3, 19, 4, stride=4), limit, 19

    def forward(self, image, mode):
        height, width = image.shape[-2:]
        if self.limit and image.device.type != 'meta' and height * width > self.limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 125 bytes.")
        if height % 4 or width % 4:
            image = F.pad(image, (0, -width % 4, 0, -height % 4))
        return self.conv(image)


def small_student(limit: int | None = None) -> Student:
    torch.manual_seed(0)
    return Student(Pointwise(limit), [0.0] * 3, [255.0] * 3, ['x'] * 19, [[0, 0, 0]] * 19).eval()


@pytest.mark.parametrize('size', [(98, 301), (64, 500), (200, 128), (37, 130)])
@pytest.mark.parametrize('stride', [(48, 96), (64, 128)])
def test_windows_are_whole_for_a_network_that_sees_no_context(size, stride):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = label_in_windows(small_student(), pixels, WindowSettings((64, 128), stride))
    assert (found == label_whole(small_student(), pixels)).mean() > 0.9999  # sums of three are rounded


def test_windows_are_averaged_as_mmseg_does(student, panorama):
    pixels = panorama[:96, :320]
    found = label_in_windows(student, pixels, WindowSettings((64, 128), (32, 64)))
    network = student.network
    before, network.test_cfg = network.test_cfg, ConfigDict(crop_size=(64, 128), stride=(32, 64))
    image = (torch.tensor(pixels).movedim(-1, 0)[None].float() - student.mean) / student.std
    with torch.no_grad():
        theirs = network.slide_inference(image, [{}])[0].argmax(0).numpy()
    network.test_cfg = before
    assert (found == theirs).mean() > 0.95  # they enlarge each window by itself


def test_the_seam_is_a_place_like_any_other(student, panorama):
    pixels = np.ascontiguousarray(panorama[:64, :384])
    settings = WindowSettings((64, 128), (64, 64), wrap=True)
    labels = label_in_windows(student, pixels, settings)
    rolled = label_in_windows(student, np.roll(pixels, 192, axis=1), settings)
    assert np.array_equal(np.roll(labels, 192, axis=1), rolled)
    open_borders = label_in_windows(student, pixels, WindowSettings((64, 128), (64, 64)))
    assert not np.array_equal(labels, open_borders)
    for width in (381, 130, 129):  # no multiples of 4; hardly wider than a window
        assert label_in_windows(small_student(), pixels[:, :width], settings).shape == (64, width)


# --- memory ---


class Largest(TorchDispatchMode):
    """The largest tensor that any operation returned, in bytes."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.bytes = max(self.bytes, result.untyped_storage().nbytes())
        return result


def test_no_tensor_of_a_large_panorama_has_classes_times_pixels():
    pixels = np.zeros((1384, 4096, 3), np.uint8)
    with Largest() as largest:
        labels = label_in_windows(small_student(), pixels, WindowSettings((512, 512), (384, 384), wrap=True))
    assert labels.shape == (1384, 4096)
    assert largest.bytes <= 1.3 * 4 * 1384 * 4104  # a float per pixel, or 19 per 16 pixels; never 19 per pixel


def test_needed_bytes_are_those_of_the_tensors_that_live_at_once(student):
    # The image of 3 channels and the map of 19 at a quarter of the resolution; no copy.
    assert needed_bytes(Pointwise(), (64, 128)) == 4 * (3 * 64 * 128 + 19 * 16 * 32)
    # Attention of the first stage compares each of the (8192*2768/16) cells with (8192*2768/1024) others: mmseg's
    # in one matrix, ours in parts.
    config, weights = as_mmsegs_own(student_config(Config.fromfile(CONFIG)), student.network.state_dict())
    plain = MODELS.build(config)
    plain.load_state_dict(weights)
    matrix = 4 * (692 * 2048) * (86 * 256)
    assert needed_bytes(plain, (2768, 8192)) > matrix > 20 * needed_bytes(student.network, (2768, 8192))
    assert next(student.network.parameters()).device.type == 'cpu'
    with pytest.raises(InputSizeError, match='16x64 pixels are too few for this network, which needs at least 29x29'):
        needed_bytes(student.network, (16, 64))


@pytest.mark.parametrize(
    ('mode', 'expected'),
    [
        (Mode(), [None, (1024, 768), (512, 384), (256, 192), (128, 96)]),
        (Mode('whole'), [None, (1024, 768), (512, 384), (256, 192), (128, 96)]),
        (Mode('slide', (600, 600), (300, 300)), [(600, 300), (300, 150), (150, 75)]),
        (Mode('tile', (256, 256)), [(256, 256), (128, 128)]),
        (Mode('tile', (4000, 512)), [(4000, 4000), (2000, 2000), (1000, 1000), (500, 500), (250, 250)]),
    ],
)
def test_plans_go_from_most_to_least_memory(mode, expected):
    sizes = [plan and (plan.window[0], plan.strides[0]) for plan in mode.plans((2768, 8192))]
    assert sizes == expected
    assert mode.plans((100, 128))[0] is None  # one window is enough, or the mode is whole


def test_the_first_plan_that_fits_is_taken():
    plans = Mode().plans((2768, 8192))
    pixels = 16 * 2768 * 8192
    needs = {size: pixels + 100 * size * size for size in (1024, 512)}
    for free, index in ((10**12, 0), (needs[1024] / 0.69, 1), (needs[512] / 0.69, 2), (0, 4)):
        assert first_that_fits(plans, (2768, 8192), False, lambda size: 100 * size[0] * size[1], int(free)) == index
    assert first_that_fits(plans, (2768, 8192), False, lambda size: None, 10**12) == 1  # not known: windows
    assert first_that_fits(plans, (2768, 8192), False, lambda size: 1, None) == 1


def test_where_memory_runs_out_the_next_smaller_windows_are_tried_and_remembered():
    said = []
    labeller = Labeller(small_student(limit=300 * 300), Mode(), 1, 10**8, Progress(report=said.append))
    pixels = np.random.default_rng(0).integers(0, 256, (600, 1200, 3), np.uint8)
    labels, how = labeller.label(pixels, 'a.png')
    assert how == 'in windows of 256x256 with stride 192x192'
    assert [text.partition('; ')[0] for text in said] == [
        'warning: a.png: not enough memory to label it whole',
        'warning: a.png: not enough memory to label it in windows of 1024x1024 with stride 768x768',
        'warning: a.png: not enough memory to label it in windows of 512x512 with stride 384x384',
    ]
    assert np.array_equal(labels, label_in_windows(small_student(), pixels, WindowSettings((256, 256), (192, 192))))
    labeller.label(pixels, 'b.png')
    assert len(said) == 3
    with pytest.raises(OutOfMemory, match=r'c\.png: not enough memory to label it, not even in windows of 128x128'):
        Labeller(small_student(limit=1), Mode(), 1, 10**8).label(pixels, 'c.png')


def test_free_memory_is_the_least_of_machine_and_limits(monkeypatch):
    cpu = torch.device('cpu')
    monkeypatch.setattr(memory, '_machine_left', lambda: 1000)
    monkeypatch.setattr(memory, '_group_left', lambda: 800)
    monkeypatch.setattr(memory, '_own_left', lambda: [700])
    assert memory.free_memory(cpu) == 700
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    assert memory.free_memory(cpu) == 200
    for name in ('_machine_left', '_group_left'):
        monkeypatch.setattr(memory, name, lambda: None)
    monkeypatch.setattr(memory, '_own_left', list)
    assert memory.free_memory(cpu) is None
    assert memory.free_memory(torch.device('meta')) is None


def test_a_limit_of_the_process_counts():
    before = memory.resource.getrlimit(memory.resource.RLIMIT_AS)
    memory.resource.setrlimit(memory.resource.RLIMIT_AS, (2**40, before[1]))
    try:
        assert any(2**38 < left < 2**40 for left in memory._own_left())
    finally:
        memory.resource.setrlimit(memory.resource.RLIMIT_AS, before)


# --- the command line, in this process ---


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch, student):
    """Every run has the student that is loaded already, and asks for its memory once per size; both take time."""
    monkeypatch.setattr(Student, 'load', lambda *_: student)
    monkeypatch.setattr(predictor, 'needed_bytes', NEEDED)


def run(capsys, *arguments, status=0):
    """Run predict.py; return what it printed."""
    assert predict.main([CONFIG, WEIGHTS, *map(str, arguments), '--device', 'cpu']) == status
    printed = capsys.readouterr()
    return printed.out + printed.err


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (64, 128)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (4, 8, 3), np.uint8)
    Image.fromarray(colours).resize(size[::-1]).save(path)
    return path


def film(path: Path, frames: int, size: tuple[int, int] = (64, 96)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, size[::-1])
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((*size, 3), 40 * number, np.uint8))
    writer.release()
    return path


def files_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob('*.png'))}


def test_a_mixed_folder_is_labelled_and_all_that_is_refused_has_a_reason(tmp_path, capsys):
    folder = tmp_path / 'in'
    for seed, name in enumerate(('ok.png', 'sub/deep.jpg', 'dup.png', 'dup.jpg', 'large.png')):
        draw(folder / name, seed, (200, 300) if name == 'large.png' else (64, 128))
    draw(folder / 'thumb.png', size=(16, 16))
    (folder / 'broken.png').write_bytes(b'no picture')
    (folder / 'gone.png').symlink_to('nowhere.png')
    film(folder / 'ride.avi', 2)
    (folder / 'empty.mp4').write_bytes(b'')
    out = tmp_path / 'out'
    said = run(capsys, '--images', folder, '--out', out, '--max-pixels', 50_000, status=1)
    assert '4 of 11 images (4 failed, 3 refused): ids in' in said
    for line in (
        f"refused: {folder}/dup.png: has the same id as 'dup.jpg'",
        f"refused: {folder}/dup.jpg: has the same id as 'dup.png'",
        f'refused: {folder}/gone.png: a link that leads nowhere',
        f'failed: {folder}/thumb.png: 16x16 pixels are too few for this network, which needs at least 29x29',
        f'failed: {folder}/broken.png: not an image',
        f'failed: {folder}/large.png: 300x200 is more than 50000 pixels; --max-pixels admits larger images',
        f'failed: {folder}/empty.mp4: not a video that OpenCV can read',
    ):
        assert line in said
    made = ['ok', 'ride.avi/000000', 'ride.avi/000001', 'sub/deep']
    assert list(files_of(out / 'labels')) == list(files_of(out / 'overlays')) == [f'{name}.png' for name in made]
    assert np.asarray(Image.open(out / 'labels/ride.avi/000001.png')).shape == (64, 96)
    assert json.loads((out / 'predictions.json').read_text())['classes'][13] == 'car'
    tiny = run(capsys, '--images', folder / 'ok.png', '--scale', '0.1', '--out', out, status=1)
    assert 'ok.png: 6x13 pixels are too few' in tiny
    assert 'it was resized by --scale 0.1' in tiny


def test_finished_files_are_kept_and_those_of_another_student_image_or_mode_are_made_again(tmp_path, capsys):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    for seed, name in enumerate(('a', 'b', 'c')):
        draw(folder / f'{name}.png', seed)
    film(folder / 'v.avi', 2)
    command = ('--images', folder, '--out', out)
    assert '5 of 5 images: ids' in run(capsys, *command)
    first = files_of(out)
    (out / 'labels/a.png').unlink()
    (out / 'overlays/v.avi/000001.png').unlink()
    draw(folder / 'b.png', 7)
    kept = out / 'labels/c.png'
    stamp = kept.stat().st_mtime_ns
    assert '5 of 5 images (2 already there)' in run(capsys, *command)
    assert kept.stat().st_mtime_ns == stamp
    second = files_of(out)
    assert [name for name in first if first[name] != second[name]] == ['labels/b.png', 'overlays/b.png']
    assert '5 of 5 images: ids' in run(capsys, *command, '--wrap')
    assert '5 of 5 images (5 already there)' in run(capsys, *command, '--wrap')
    assert '5 of 5 images: ids' in run(capsys, *command, '--wrap', '--overwrite')
    kept.write_bytes(b'of another program')
    said = run(capsys, *command, '--wrap', status=1)
    assert f'{kept} exists and does not say what made it; give another --out, or replace it by --overwrite' in said
    assert kept.read_bytes() == b'of another program'
    assert '4 of 5 images (4 already there, 1 failed)' in said


def test_shards_make_the_files_of_one_process(tmp_path, capsys, monkeypatch):
    folder = tmp_path / 'in'
    for seed, name in enumerate(('a', 'b', 'x/c')):
        draw(folder / f'{name}.png', seed)
    film(folder / 'v.avi', 3)
    run(capsys, '--images', folder, '--out', tmp_path / 'one')
    assert 'shard 0/2 (--shard): 4 of 4' in run(capsys, '--images', folder, '--out', tmp_path / 'two', '--shard', '0/2')
    for name, value in {'ID': 1, 'MIN': 0, 'MAX': 1, 'STEP': 1, 'COUNT': 2}.items():
        monkeypatch.setenv(f'SLURM_ARRAY_TASK_{name}', str(value))
    assert 'shard 1/2 (SLURM array): 2 of 2' in run(capsys, '--images', folder, '--out', tmp_path / 'two')
    assert files_of(tmp_path / 'one') == files_of(tmp_path / 'two')


def test_its_own_output_is_never_labelled(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / '1.png')
    for _ in range(2):
        assert '1 of 1 images' in run(capsys, '--images', '.')
    shutil.copytree('predictions', 'older')
    for file in (tmp_path / 'older').rglob('*.png'):  # as versions wrote them that left no note
        Image.open(file).save(file)
    (tmp_path / 'older/predictions.json').unlink()
    shutil.copy('predictions/overlays/1.png', 'moved.png')
    said = run(capsys, '--images', '.', '--out', 'new')
    assert 'left out: 4 files that tools/predict.py has written, in ' in said
    assert '1 of 1 images (1 left out, as tools/predict.py has made them)' in said
    assert list(files_of(tmp_path / 'new')) == ['labels/1.png', 'overlays/1.png']
    from stage1_sam_cache.errors import DatasetError

    with pytest.raises(DatasetError, match='all 2 images are the output of'):
        predict.main([CONFIG, WEIGHTS, '--images', 'predictions'])


def test_files_globs_lists_and_folders_together_keep_their_folders(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(('a/1.png', 'a/2.jpg', 'b/x/1.png', 'c/1.png', 'c/9.png')):
        draw(tmp_path / name, seed)
    (tmp_path / 'list.txt').write_text('# some\nc/1.png\nmissing.png\n')
    out = tmp_path / 'out'
    said = run(capsys, '--images', 'a', 'b/**/*.png', 'list.txt', 'a/1.png', 'no/*.png', '--out', out, status=1)
    assert 'refused: missing.png: does not exist' in said
    assert 'refused: no/*.png: no file matches' in said
    assert list(files_of(out / 'labels')) == ['a/1.png', 'a/2.png', 'b/x/1.png', 'c/1.png']
    skipped = run(capsys, '--images', 'a/1.png', 'nothing.png', '--out', tmp_path / 'single', '--skip-refused')
    assert '1 of 2 images (1 refused)' in skipped
    assert list(files_of(tmp_path / 'single/labels')) == ['1.png']


def test_globs_take_links_as_folders_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / 'elsewhere/far.png')
    draw(tmp_path / 'in/sub/a.png')
    for name, target in (('sub/loop', '..'), ('far', '../elsewhere'), ('far.png', '../elsewhere/far.png')):
        (tmp_path / 'in' / name).symlink_to(target)
    (tmp_path / 'in/gone.png').symlink_to('nowhere.png')
    for pattern in ('in/**/*.png', f'{tmp_path}/in/**/*.png'):
        sources = find_sources([pattern])
        assert [source.id for source in sources.images] == ['sub/a']
        reasons = {Path(name).name: reason for name, reason in sources.refused}
        assert len(reasons) == len(sources.refused) == 4
        assert reasons['far'] == 'a link to a folder'
        assert reasons['far.png'].startswith('a link that leads out of')
        assert reasons['gone.png'] == 'a link that leads nowhere'
        followed = find_sources([pattern], follow_links=True)
        assert [source.id for source in followed.images] == ['far', 'far/far', 'sub/a']
        assert {Path(name).name for name, _ in followed.refused} == {'loop', 'gone.png'}
    assert [source.id for source in find_sources(['in/far.png']).images] == ['far']  # named itself


def test_a_path_that_is_no_file_has_its_own_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / 'a.png')
    (tmp_path / 'gone.png').symlink_to('nowhere.png')
    os.mkfifo(tmp_path / 'pipe.png')
    sources = find_sources(['a.png', 'gone.png', 'pipe.png', 'a.png/b.png', 'x' * 300, 'no.png'])
    assert [reason for _, reason in sources.refused] == [
        'a link that leads nowhere',
        'not a regular file',
        "can't be read: Not a directory",
        "can't be read: File name too long",
        'does not exist',
    ]


def test_globs_in_a_list_are_looked_for_beside_it(tmp_path):
    for name in ('set [1]/a.png', 'set [1]/b.png'):
        draw(tmp_path / name)
    (tmp_path / 'set [1]/list.txt').write_bytes(b'\xef\xbb\xbf# some\r\n\r\n*.png\r\na.png\r\n')
    sources = find_sources([str(tmp_path / 'set [1]/list.txt')])
    assert [source.id for source in sources.images] == ['a', 'b']
    assert not sources.refused


def test_a_list_of_comments_alone_is_called_that(tmp_path):
    (tmp_path / 'list.txt').write_text('# nothing\n')
    with pytest.raises(DatasetError, match=r'list.txt names no images; write one path per line'):
        find_sources([str(tmp_path / 'list.txt')])


def test_videos_that_differ_in_their_extension_are_two(tmp_path):
    for name in ('ride.avi', 'ride.mp4', 'ride.png'):
        (tmp_path / name).touch()
    sources = find_sources([str(tmp_path)])
    assert [video.id for video in sources.videos] == ['ride.avi', 'ride.mp4']
    assert [image.id for image in sources.images] == ['ride']


def test_a_video_that_cannot_be_read_is_one_line(tmp_path, run_tool):
    draw(tmp_path / 'a.png')
    (tmp_path / 'text.mp4').write_text('no video')
    finished = run_tool('predict.py', CONFIG, WEIGHTS, '--images', tmp_path, '--out', tmp_path / 'out')
    assert finished.returncode == 1
    said = finished.stdout + finished.stderr
    assert 'text.mp4: not a video that OpenCV can read' in said
    assert 'moov' not in said
    assert 'cap.cpp' not in said


def test_the_note_of_a_label_says_how_it_was_made(tmp_path, capsys, monkeypatch):
    draw(tmp_path / 'p.png', size=(128, 400))
    command = ('--images', tmp_path / 'p.png', '--out', tmp_path / 'out', '--window', '128x128')
    run(capsys, *command)
    label = tmp_path / 'out/labels/p.png'
    assert read_note(label)['how'] == 'whole'
    monkeypatch.setattr('stage2_distill.deployment.predictor.free_memory', lambda device: 20_000_000)
    run(capsys, *command, '--overwrite')
    note = read_note(label)
    assert note['how'] == 'in windows of 128x128 with stride 96x96'
    assert note['mode'] == 'auto'
    assert note['student'] == json.loads((tmp_path / 'out/predictions.json').read_text())['student']


@pytest.mark.parametrize(
    ('flags', 'part'),
    [
        (['--scale', 'nan'], '--scale has to be above 0'),
        (['--scale', '1e308'], '--scale has to be above 0 and at most'),
        (['--window', '64x64', '--stride', '65x64'], 'stride (65, 64) is larger than the window'),
        (['--mode', 'tile', '--stride', '32x32'], 'tiles lie side by side'),
        (['--window', '0x10'], 'two positive whole numbers'),
        (['--max-pixels', '0'], 'not a whole number above 0'),
        (['--shard', '2/2'], 'i from 0 to n-1'),
        (['--split', 'val'], 'go with --dataset'),
    ],
)
def test_flags_that_make_no_sense_are_usage_errors(tmp_path, capsys, flags, part):
    with pytest.raises(SystemExit, match='2'):
        predict.main([CONFIG, WEIGHTS, '--images', str(draw(tmp_path / 'a.png')), *flags])
    assert part in capsys.readouterr().err


def test_windows_too_small_for_the_student_are_refused_at_once(tmp_path):
    with pytest.raises(InputSizeError, match='16x16 pixels are too few'):
        predict.main(
            [CONFIG, WEIGHTS, '--images', str(draw(tmp_path / 'a.png')), '--mode', 'slide', '--window', '16x16']
        )


def test_an_output_that_is_not_finite_is_refused(tmp_path, student, monkeypatch):
    monkeypatch.setattr(type(student.network), 'forward', lambda self, image, mode: image * torch.nan)
    with pytest.raises(NotFiniteError, match="the student's output is not finite"):
        student.label(np.zeros((64, 64, 3), np.uint8))
