"""Lessons of a frozen assistant: made once, turned with the panorama, and the same as those made in every iteration."""

import copy
import dataclasses
import json
import re

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from test_goodsam import GRID, batch, build, masks, optimizers, weights

from stage2_distill.data.stored_lesson import StoredLesson, encode, is_of, read
from stage2_distill.errors import TrainingError
from stage2_distill.heads.lesson import Lesson
from stage2_distill.training.experiment import read_config

DIGEST = '0' * 64


def frozen(**options):
    return build(update_ta=False, **options)


def lesson_of(model, panoramas):
    with torch.no_grad():
        return model.lesson_of(panoramas)


def same(one: StoredLesson, other: StoredLesson) -> bool:
    parts = [(getattr(one, name), getattr(other, name)) for name in ('labels', 'reliable', 'assistant_labels')]
    parts += zip(one.refined, other.refined, strict=True)
    return one.grid == other.grid and one.entropy == other.entropy and all(torch.equal(*pair) for pair in parts)


def test_a_file_gives_back_what_was_stored(tmp_path):
    (stored,) = lesson_of(frozen(), batch()).stored()
    path = tmp_path / 'a.npz'
    path.write_bytes(encode(stored, DIGEST))
    assert same(read(path, DIGEST), stored)


def test_a_stored_lesson_trains_the_student_as_the_assistant_itself_does():
    live, stored = frozen(), frozen()
    panoramas = batch(2)
    lessons = lesson_of(stored, copy.deepcopy(panoramas)).stored()
    expected = live.train_step(copy.deepcopy(panoramas), optimizers(live))
    for sample, lesson in zip(panoramas['data_samples'], lessons, strict=True):
        del sample.cached_masks
        sample.lesson = lesson
    asked = []
    stored.teacher_assistant.register_forward_hook(lambda *_: asked.append(1))
    log = stored.train_step(panoramas, optimizers(stored))
    assert not asked
    assert list(log) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(log[name], value, msg=name)
    torch.testing.assert_close(weights(stored.student), weights(live.student))


def test_a_rolled_lesson_is_that_of_the_rolled_panorama():
    model, steps = frozen(), 3
    panorama, cached = batch(), masks()
    turned = copy.deepcopy(panorama)
    turned['inputs'] = [image.roll(-steps * GRID.strides[1], -1) for image in panorama['inputs']]
    turned['data_samples'][0].cached_masks = cached.rolled(steps)
    (plain,), (expected,) = (lesson_of(model, one).stored() for one in (panorama, turned))
    assert same(plain.rolled(0), plain)
    rolled = plain.rolled(steps)
    assert torch.equal(rolled.labels, expected.labels)
    assert torch.equal(rolled.assistant_labels, expected.assistant_labels)
    assert all(torch.equal(*pair) for pair in zip(rolled.refined, expected.refined, strict=True))


def test_a_mirrored_lesson_shows_the_mirrored_windows():
    (plain,) = lesson_of(frozen(), batch()).stored()
    mirrored = plain.flipped()
    assert same(mirrored.flipped(), plain)
    for i, window in enumerate(GRID.windows):
        left = (GRID.width - window.left - window.width) % GRID.width
        j = next(k for k, other in enumerate(GRID.windows) if other.left == left)
        assert torch.equal(mirrored.labels[j], plain.labels[i].flip(-1))
        assert torch.equal(mirrored.assistant_labels[j], plain.assistant_labels[i].flip(-1))
    for i, overlap in enumerate(GRID.overlaps):
        left = (GRID.width - overlap.box.left - overlap.box.width) % GRID.width
        j = next(k for k, other in enumerate(GRID.overlaps) if other.box.left == left)
        assert torch.equal(mirrored.refined[j], plain.refined[i].flip(-1))


def test_stored_lessons_have_no_soft_targets():
    lesson = Lesson.from_stored(lesson_of(frozen(), batch()).stored())
    with pytest.raises(ValueError, match='set store_lessons=False'):
        _ = lesson.whole


@pytest.mark.parametrize('damage', ['missing', 'cut', 'flipped', 'other image'])
def test_a_damaged_file_is_one_clear_line(tmp_path, damage):
    (stored,) = lesson_of(frozen(), batch()).stored()
    path, content = tmp_path / 'a.npz', bytearray(encode(stored, DIGEST))
    if damage == 'flipped':
        content[len(content) // 2] ^= 16
    if damage != 'missing':
        path.write_bytes(content[: len(content) // 2] if damage == 'cut' else content)
    remedy = ' is missing: .*start the training again' if damage == 'missing' else ': .*\n?.*delete it and start'
    with pytest.raises(TrainingError, match=f'^{re.escape(str(path))}{remedy}'):
        read(path, '1' * 64 if damage == 'other image' else DIGEST)


def test_a_file_is_kept_only_for_the_image_that_it_was_made_of(tmp_path):
    (stored,) = lesson_of(frozen(), batch()).stored()
    path = tmp_path / 'a.npz'
    assert not is_of(path, DIGEST)
    path.write_bytes(encode(stored, DIGEST))
    assert is_of(path, DIGEST)
    assert not is_of(path, '1' * 64)
    path.write_bytes(b'')
    assert not is_of(path, DIGEST)


def test_lessons_of_different_sizes_ask_for_batches_of_one():
    (stored,) = lesson_of(frozen(), batch()).stored()
    other = dataclasses.replace(stored, grid=dataclasses.replace(GRID, width=GRID.width + GRID.strides[1]))
    with pytest.raises(TrainingError, match='batch_size=1'):
        Lesson.from_stored([stored, other])


@pytest.fixture(scope='module')
def frozen_run(run_tool, tiny_goodsam, tmp_path_factory):
    """Trains with a frozen assistant; without augmentation, so that stored and live lessons are the same."""
    folder = tmp_path_factory.mktemp('frozen')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    torch.save(MODELS.build(read_config(str(tiny_goodsam)).model.student).state_dict(), folder / 'initial.pth')
    config = folder / 'frozen.py'
    steps = ['LoadPanorama', 'LoadCachedMasks', 'PackPanorama']
    config.write_text(
        f"_base_ = '{tiny_goodsam}'\n"
        f'train_dataloader = dict(dataset=dict(pipeline={[{"type": step} for step in steps]}))\n'
        'val_dataloader = None\nval_cfg = None\nval_evaluator = None\n'
        'default_hooks = dict(checkpoint=dict(save_best=None))\n'
        f"initial = dict(init_cfg=dict(type='Pretrained', checkpoint='{folder}/initial.pth'))\n"
        'model = dict(update_ta=False, student=initial, teacher_assistant=initial)\n'
    )

    def run(work, *options, resume=False):
        flags = ['--resume'] if resume else []
        changes = ['--cfg-options', *options] if options else []
        return run_tool('train.py', config, '--work-dir', folder / work, *flags, *changes)

    return folder, run


def losses(work):
    (file,) = work.glob('*/vis_data/scalars.json')
    return [line['loss'] for line in map(json.loads, file.read_text().splitlines()) if 'loss' in line]


def test_a_run_with_stored_lessons_has_the_losses_of_one_without(frozen_run):
    folder, run = frozen_run
    stored, live = run('stored'), run('live', 'store_lessons=False')
    assert stored.returncode == live.returncode == 0, stored.stderr[-2000:] + live.stderr[-2000:]
    assert losses(folder / 'stored') == pytest.approx(losses(folder / 'live'), rel=1e-5)
    (home,) = (folder / 'stored/lessons').iterdir()
    assert len(list(home.rglob('*.npz'))) > 1
    assert not (folder / 'live/lessons').exists()


def test_lessons_are_reused_and_those_of_other_settings_made_anew(frozen_run):
    folder, run = frozen_run
    shared = f'lessons_dir={folder / "shared"}'
    assert run('first', shared).returncode == 0
    files = {file: file.stat().st_mtime_ns for file in (folder / 'shared').rglob('*.npz')}
    next(iter(files)).unlink()
    assert run('second', shared).returncode == 0
    again = {file: file.stat().st_mtime_ns for file in (folder / 'shared').rglob('*.npz')}
    assert set(again) == set(files)
    assert sum(again[file] != time for file, time in files.items()) == 1
    assert run('third', shared, 'model.ctcf_head.fusion.theta_medium=0.9').returncode == 0
    assert len(list((folder / 'shared').iterdir())) == 2


def test_a_trained_assistant_or_soft_targets_store_nothing(frozen_run):
    folder, run = frozen_run
    assert run('soft', 'model.mka_head.soft_target=True').returncode == 0
    assert run('trained', 'model.update_ta=True').returncode == 0
    assert not [work for work in ('soft', 'trained') if (folder / work / 'lessons').exists()]


def test_a_resumed_run_asks_the_assistant_of_its_checkpoint(frozen_run):
    folder, run = frozen_run
    assert run('resumed', 'train_cfg.max_iters=2').returncode == 0
    before = sorted(file.stat().st_mtime_ns for file in (folder / 'resumed/lessons').rglob('*.npz'))
    assert run('resumed', resume=True).returncode == 0
    assert sorted(file.stat().st_mtime_ns for file in (folder / 'resumed/lessons').rglob('*.npz')) == before


def test_the_checkpoint_of_another_assistant_is_one_line(frozen_run):
    folder, run = frozen_run
    assert run('small', 'train_cfg.max_iters=2').returncode == 0
    wider = ['model.teacher_assistant.backbone.embed_dims=16', 'model.teacher_assistant.init_cfg=None']
    wider.append('model.teacher_assistant.decode_head.in_channels=[16,32,80,128]')
    refused = run('wide', f'load_from={folder / "small/iter_2.pth"}', *wider)
    assert refused.returncode == 2
    line = refused.stderr.splitlines()[-1]
    assert 'does not fit the model' in line
    assert 'such as teacher_assistant.backbone.' in line


def test_a_folder_that_cannot_be_made_is_one_line(frozen_run):
    folder, run = frozen_run
    (folder / 'file').write_text('')
    refused = run('nowhere', f'lessons_dir={folder / "file"}')
    assert refused.returncode == 2
    assert 'give another lessons_dir' in refused.stderr.splitlines()[-1]


def test_a_run_that_trained_the_assistant_is_not_resumed_with_a_frozen_one(frozen_run):
    folder, run = frozen_run
    assert run('both', 'model.update_ta=True', 'train_cfg.max_iters=2').returncode == 0
    refused = run('both', resume=True)
    assert refused.returncode == 2
    line = refused.stderr.strip().splitlines()[-1]
    assert 'of a run that trained student and teacher_assistant, this one trains student' in line
    assert line.endswith(f'--load-from {folder / "both/iter_2.pth"}')
