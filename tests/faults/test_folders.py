"""Work dirs that are copied, moved, shared or locked, and folders that change while a run reads them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from faults.conftest import draw_panoramas
from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.progress import Summary
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.reader import entry_name
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.errors import FolderInUseError, GoodSAMError, WriteError
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator, FelzenszwalbSettings
from stage1_sam_cache.system.folder_lock import LOCK_FILE, hold
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint
from stage2_distill.data.datasets import CatalogueDataset
from stage2_distill.errors import CheckpointError
from stage2_distill.training.experiment import plain_errors
from stage2_distill.training.resuming import find_latest, has_resumable

SAVED_OFTEN = ('default_hooks.checkpoint.interval=1', 'default_hooks.checkpoint.max_keep_ckpts=1')


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def iterations(count: int) -> tuple[str, ...]:
    """Flags of a run of this length with a score at its end."""
    return ('--cfg-options', *SAVED_OFTEN, f'train_cfg.max_iters={count}', f'train_cfg.val_interval={count}')


@pytest.fixture(scope='module')
def run(run_tool, tiny_goodsam, tmp_path_factory):
    """A work dir after two iterations; each test takes a copy of it, the original is to stay as it is."""
    work = tmp_path_factory.mktemp('folders') / 'original'
    finished = run_tool('train.py', tiny_goodsam, '--work-dir', work, *iterations(2))
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert {'iter_2.pth', 'best_mIoU_iter_2.pth', 'last_checkpoint'} <= {path.name for path in work.iterdir()}
    return work


def test_a_copied_work_dir_is_a_run_of_its_own(trials, run_tool, run, tmp_path):
    """Also by the config in it. Checkpoints name whole paths, and would lead to the original."""
    before = contents(run)
    copy = shutil.copytree(run, tmp_path / "Ann's copy")
    options = (*iterations(4), 'train_dataloader.dataset.limit=1')
    resumed = run_tool('train.py', copy / 'tiny_goodsam.py', '--resume', *options)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert re.search(r'was trained on another list of images: \d+ then, 1 now', resumed.stdout)
    assert f'Auto resumed from the latest checkpoint {copy / "iter_2.pth"}' in resumed.stdout
    trials.count('work dir, copied', 1, contents(run) != before)
    assert {path.name for path in copy.glob('iter_*')} == {'iter_4.pth'}  # the outdated one of the copy is removed
    assert len(list(copy.glob('best_*'))) == 1
    remembered = check_checkpoint(str(copy / 'iter_4.pth'))['message_hub']['runtime_info']
    assert {Path(remembered[key]).parent for key in ('best_ckpt', 'last_ckpt')} == {copy}
    assert (copy / 'last_checkpoint').read_text() == str(copy / 'iter_4.pth')


@pytest.mark.long
@pytest.mark.parametrize('how', ['moved', 'copied in part', 'linked'])
def test_a_moved_work_dir_continues_as_if_made_there(trials, run_tool, run, tmp_path, monkeypatch, how):
    before, place = contents(run), tmp_path / 'there'
    if how == 'linked':
        shutil.copytree(run, place, copy_function=os.link)  # as cp -al does
    else:
        shutil.copytree(run, place)
    if how == 'moved':
        place = place.rename(tmp_path / 'elsewhere')
    if how == 'copied in part':
        next(place.glob('best_*')).unlink()
    monkeypatch.chdir(tmp_path)
    resumed = run_tool('train.py', place / 'tiny_goodsam.py', '--work-dir', place.name, '--resume', *iterations(4))
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert ('the next score counts as the best' in resumed.stdout) == (how == 'copied in part')
    well = contents(run) == before and {path.name for path in place.glob('iter_*')} == {'iter_4.pth'}
    trials.count(f'work dir, {how}', 1, not well or len(list(place.glob('best_*'))) != 1)


def test_pointers_lead_to_files_of_their_own_folder(trials, tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        for step in (2, 4):
            (tmp_path / name / f'iter_{step}.pth').write_bytes(b'')
    (tmp_path / 'a/iter_6.pth').write_bytes(b'')
    before = contents(tmp_path / 'a')
    for text, found in (
        ('a/iter_2.pth', 'iter_2.pth'),
        ('a/iter_6.pth', 'iter_4.pth'),
        ('../a/iter_4.pth', 'iter_4.pth'),
    ):
        (tmp_path / 'b/last_checkpoint').write_text(str(tmp_path / text))
        right = (
            find_latest(tmp_path / 'b') == tmp_path / 'b' / found == Path((tmp_path / 'b/last_checkpoint').read_text())
        )
        trials.count('pointer to another folder', 1, not right or contents(tmp_path / 'a') != before)


def test_a_damaged_checkpoint_says_what_there_is_without_it(trials, tmp_path):
    for name in ('iter_2.pth', 'iter_4.pth'):
        (tmp_path / name).write_bytes(b'no checkpoint')
    with pytest.raises(CheckpointError, match=r'iter_4\.pth is .*; without it, --resume continues from iter_2\.pth$'):
        has_resumable(tmp_path)
    (tmp_path / 'iter_2.pth').unlink()
    with pytest.raises(CheckpointError, match=r'iter_4\.pth is .*; without it, there is none to resume from$'):
        has_resumable(tmp_path)
    trials.count('damaged checkpoint')


def test_nothing_to_resume_is_one_line_and_makes_no_folder(trials, run_tool, tiny_goodsam, tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    for work, state in ((tmp_path / 'mistyped', 'does not exist'), (empty, 'holds no checkpoint')):
        refused = run_tool('train.py', tiny_goodsam, '--work-dir', work, '--resume')
        assert refused.returncode == 2
        assert refused.stderr.strip().splitlines()[-1].startswith(f'error: there is nothing to resume: {work} {state}')
        trials.count('nothing to resume', 1, bool(list(tmp_path.rglob('*')) != [empty]))
    both = run_tool('train.py', tiny_goodsam, '--work-dir', empty, '--resume', '--load-from', 'x.pth')
    assert both.returncode == 2
    assert 'continues with its own weights, and x.pth was given to begin from; leave one' in both.stderr


HOLDER = """
import sys, time
from stage1_sam_cache.system.folder_lock import hold
with hold(sys.argv[1]):
    print('held', flush=True)
    time.sleep(600)
"""


def test_two_runs_in_one_work_dir_are_refused_until_the_first_has_ended_however(
    trials, run_tool, tiny_goodsam, tmp_path
):
    work = tmp_path / 'work'
    holder = subprocess.Popen([sys.executable, '-c', HOLDER, str(work)], stdout=subprocess.PIPE, text=True)
    holder.stdout.readline()
    (work / 'iter_1.pth').write_bytes(b'')
    before = contents(work)
    for flags in ((), ('--resume',), ('--resume-or-start',)):
        refused = run_tool('train.py', tiny_goodsam, '--work-dir', work, *flags)
        assert refused.returncode == 2
        (line,) = refused.stderr.strip().splitlines()
        assert f'{work} is in use by another run (process {holder.pid} on ' in line
        trials.count('work dir, locked', 1, contents(work) != before)
    shutil.copytree(work, tmp_path / 'copy')
    with hold(tmp_path / 'copy'):
        pass
    with pytest.raises(FolderInUseError), hold(work):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with hold(work):
        assert (work / LOCK_FILE).exists()
    assert [path.name for path in work.iterdir()] == ['iter_1.pth']
    trials.count('work dir, its holder killed')


def test_a_folder_that_was_only_held_is_gone_again(tmp_path):
    with hold(tmp_path / 'a/b'):
        assert (tmp_path / 'a/b').is_dir()
    assert not list(tmp_path.iterdir())


def test_a_place_where_nothing_can_be_made_is_told(trials, tmp_path):
    """Such answers also come for a moment from a folder that its holder removes at its end."""
    (tmp_path / 'dangling').symlink_to(tmp_path / 'gone/away')
    for place in (Path('/proc/none'), tmp_path / 'dangling'):
        with (
            pytest.raises(WriteError, match=f'cannot write in the folder {place}: .*; give another folder'),
            hold(place),
        ):
            pass
        trials.count('folder that cannot be made')


@pytest.mark.long
def test_many_processes_hold_a_folder_one_after_the_other(trials, tmp_path):
    """Each removes the file that the others wait for."""
    code = """
import os, sys
from stage1_sam_cache.errors import FolderInUseError
from stage1_sam_cache.system.folder_lock import hold
held = 0
while held < 200:
    try:
        with hold(sys.argv[1]):
            open(sys.argv[2], 'x').close()  # fails if another one holds it too
            os.unlink(sys.argv[2])
            held += 1
    except FolderInUseError:
        pass
"""
    command = [sys.executable, '-c', code, str(tmp_path / 'held'), str(tmp_path / 'alone')]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    trials.count('work dir, held in turns', 600)


def cache(images: Path, out: Path, change: Callable[[], None]) -> tuple[Summary, CacheBuilder]:
    """Cache a folder that changes after it was listed."""
    samples = list_folder(images).samples
    change()
    settings = CacheSettings(window=(40, 64), stride=32)
    builder = CacheBuilder(out, settings, FelzenszwalbMaskGenerator(FelzenszwalbSettings(scales=(50,))))
    return builder.run(samples, show_progress=False), builder


def test_images_that_change_after_they_were_listed_are_cached_as_they_are_or_named(trials, tmp_path):
    images = tmp_path / 'images'
    draw_panoramas(images, 6, 8)

    def change() -> None:
        (images / '0.png').unlink()
        shutil.copy(images / '5.png', images / '1.png')
        (images / '2.png').write_bytes((images / '2.png').read_bytes()[:-40])
        (images / '3.png').unlink()
        (images / '3.png').mkdir()
        shutil.copy(images / '5.png', images / 'added.png')

    summary, builder = cache(images, tmp_path / 'cache', change)
    failed = dict(summary.failed)
    assert (summary.done, sorted(failed)) == (3, ['0', '2', '3'])
    assert all(str(images / f'{name}.png') in reason and '\n' not in reason for name, reason in failed.items())
    cached = builder.writer.cache
    same = cached['1'].image_sha256 == cached['5'].image_sha256 == read_rgb(images / '1.png').sha256
    trials.count('stage 1, images changed after listing', 6, not same or 'added' in cached)


@pytest.mark.parametrize(
    ('name', 'change', 'told'),
    [
        ('image', lambda path: path.unlink(), 'cannot be read (No such file or directory)'),
        ('image', lambda path: path.write_bytes(path.read_bytes()[:-40]), 'damaged or truncated image'),
        ('image', lambda path: Image.new('RGB', (512, 100)).save(path), 'is not the image whose masks are in'),
        ('masks', lambda path: path.unlink(), 'run tools/cache_sam.py again'),
        (
            'masks',
            lambda path: path.write_bytes(path.read_bytes()[:-40]),
            'damaged: holds',
        ),
        ('label', lambda path: path.unlink(), 'No such file or directory'),
        ('label', lambda path: Image.new('L', (16, 16)).save(path), 'labels of (16, 16) pixels for an image of'),
    ],
)
def test_what_changes_while_a_training_reads_it_is_named(
    trials, tiny_toypass, tiny_caches, tmp_path, name, change, told
):
    """The loader has listed everything; then one file is another one."""
    data = tmp_path / 'data'
    shutil.copytree(tiny_toypass[0] / 'target', data / 'target')
    shutil.copytree(tiny_caches['val'], tmp_path / 'masks')
    steps = [{'type': kind} for kind in ('LoadPanorama', 'LoadCachedMasks', 'LoadLabel', 'PackPanorama')]
    init_default_scope('mmseg')
    dataset = CatalogueDataset('toypass', 'val', str(data), cache=str(tmp_path / 'masks'), pipeline=steps)
    info = dataset.get_data_info(0)
    assert dataset[0]['data_samples'].image_id == info['image_id']
    places = {'image': info['img_path'], 'label': info['seg_map_path']}
    places['masks'] = dataset.mask_cache.path / entry_name(info['image_id'])
    change(Path(places[name]))
    with pytest.raises((GoodSAMError, OSError), match=re.escape(told)) as raised:
        dataset[0]
    trials.count('training, files changed after listing', 1, '\n' in str(raised.value))


def test_a_missing_file_in_a_loaders_worker_is_one_line(trials):
    wrapped = (
        'Caught FileNotFoundError in DataLoader worker process 0.\nTraceback ...\nFileNotFoundError: x.png is gone'
    )
    with pytest.raises(FileNotFoundError, match=r'^x\.png is gone$'), plain_errors():
        raise FileNotFoundError(wrapped)
    trials.count('training, files changed after listing')
