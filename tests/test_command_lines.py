"""The tools as a user runs them: in processes of their own, with their texts and exit statuses."""

import filecmp
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from stage1_sam_cache import open_cache
from stage1_sam_cache.commands import cli, installation

FAST = ('--generator', 'felzenszwalb', '--scales', '50', '--window', '40x64', '--stride', '32')


def cache_of(root):
    return next(path for path in Path(root).iterdir() if path.is_dir())


def assert_one_error_line(finished, *parts, status=2):
    assert finished.returncode == status, finished.stderr
    assert 'Traceback' not in finished.stderr
    lines = [line for line in finished.stderr.splitlines() if not line.startswith('warning: ')]
    assert len(lines) == 1, finished.stderr
    assert 'error: ' in lines[0]
    for part in parts:
        assert part in lines[0]


def test_cache_verify_stats_and_show_from_end_to_end(tmp_path, image_folder, run_tool):
    folder = image_folder('one', 'städte/zwei drei', 'städte/4')
    made = run_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache')
    assert made.returncode == 0, made.stderr
    assert '3 done, 0 already there, 0 failed' in made.stdout
    assert 'masks by felzenszwalb (not SAM) on cpu' in made.stdout
    for title in ('masks ', 'coverage', 'bytes per window', 'windows/s', 'fingerprint', str(tmp_path / 'cache')):
        assert title in made.stdout
    assert 'window/s' in made.stderr  # the progress bar
    again = run_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache')
    assert '0 done, 3 already there, 0 failed' in again.stdout

    cache = open_cache(tmp_path / 'cache', expect={'grid': {'window': [40, 64], 'stride': [40, 32], 'wrap': False}})
    assert set(cache) == {'one', 'städte/zwei drei', 'städte/4'}
    assert cache['one'].windows[0].masks.shape[1:] == (40, 64)

    for command in (('status',), ('verify',), ('verify', '--full'), ('stats',)):
        looked = run_tool('inspect_cache.py', command[0], tmp_path / 'cache', *command[1:])
        assert looked.returncode == 0, looked.stderr
    out = tmp_path / 'picture.png'
    shown = run_tool(
        'inspect_cache.py', 'show', tmp_path / 'cache', '--images', folder, '--id', 'städte/zwei drei', '--out', out
    )
    assert shown.returncode == 0, shown.stderr
    with Image.open(out) as sheet:
        assert sheet.width == 160
        assert sheet.height > 3 * 40


def test_killed_half_way_and_run_again_equals_an_uninterrupted_run(tmp_path, image_folder, run_tool, start_tool):
    names = [f'street {i}' for i in range(24)]
    folder = image_folder(*names, size=(40, 640))
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    assert run_tool('cache_sam.py', '--images', folder, *FAST, '--out', whole).returncode == 0
    kills = 0
    for least in (1, 3, 6):
        process = start_tool('cache_sam.py', '--images', folder, *FAST, '--out', killed)
        while process.poll() is None and len(list(killed.glob('*/*.h5'))) < least:
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 1
    partial = len(list(killed.glob('*/*.h5')))
    assert 1 <= partial < 24
    assert run_tool('inspect_cache.py', 'verify', killed, '--full').returncode == 0
    again = run_tool('cache_sam.py', '--images', folder, *FAST, '--out', killed)
    assert again.returncode == 0, again.stderr
    assert f'{24 - partial} done, {partial} already there, 0 failed' in again.stdout
    assert_same_folders(cache_of(whole), cache_of(killed))


def assert_same_folders(one, two):
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    assert filecmp.cmpfiles(one, two, names, shallow=False) == (names, [], [])


@pytest.mark.parametrize('sharded', [True, False])
def test_several_processes_fill_one_cache_together(tmp_path, image_folder, run_tool, start_tool, sharded):
    folder = image_folder(*(f'p{i}' for i in range(9)))
    assert run_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'one').returncode == 0
    command = ('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'many')
    shards = [['--shard', f'{i}/3'] if sharded else [] for i in range(3)]
    processes = [start_tool(*command, *shard) for shard in shards]
    texts = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], texts
    done = sum(int(re.search(r'(\d+) done', out)[1]) for out, _ in texts)
    assert done == 9 if sharded else done >= 9
    assert_same_folders(cache_of(tmp_path / 'one'), cache_of(tmp_path / 'many'))


def test_under_torchrun_one_bad_image_does_not_stop_the_other_processes(tmp_path, image_folder):
    folder = image_folder(*(f'p{i}' for i in range(7)), size=(40, 640))
    (folder / 'p0.png').write_bytes(b'')
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    command += [str(ROOT / 'tools/cache_sam.py'), '--images', str(folder), *FAST, '--out', str(tmp_path / 'cache')]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 1, finished.stderr
    assert 'failed: p0: ' in finished.stderr
    assert set(open_cache(tmp_path / 'cache')) == {f'p{i}' for i in range(1, 7)}


def test_torchrun_and_slurm_arrays_split_the_list(tmp_path, image_folder, run_tool):
    folder = image_folder(*(f'p{i}' for i in range(5)))
    run = ('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache')
    slurm = {'SLURM_ARRAY_TASK_ID': '2', 'SLURM_ARRAY_TASK_MIN': '1', 'SLURM_ARRAY_TASK_MAX': '2'}
    finished = run_tool(*run, env=os.environ | slurm)
    assert '2 done' in finished.stdout
    assert 'SLURM array' in finished.stdout
    assert 'not sealed' in finished.stdout
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    command += [str(ROOT / 'tools' / run[0]), *map(str, run[1:])]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    assert 'shard 0/2 (torchrun): 3 panoramas' in finished.stdout
    assert 'shard 1/2 (torchrun): 2 panoramas' in finished.stdout
    assert finished.stdout.count('sealed       all 5') == 1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_says_how_to_go_on(tmp_path, image_folder, start_tool, number):
    folder = image_folder(*(f'p{i}' for i in range(40)), size=(40, 640))
    process = start_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache')
    while process.poll() is None and not list((tmp_path / 'cache').glob('*/*.h5')):
        time.sleep(0.01)
    process.send_signal(number)
    time.sleep(0.005)
    process.send_signal(number)  # an impatient user
    out, errors = process.communicate()
    assert process.returncode == 130
    assert 'Traceback' not in errors
    assert 'run the same command again' in errors
    assert re.search(r'panoramas +\d+ done', out)
    assert not list((tmp_path / 'cache').glob('*/.claim-*'))


def test_child_processes_that_end_by_the_same_signal_raise_nothing(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'import os, signal, subprocess, time\n'
        'from stage1_sam_cache.system import interruption\n'
        'def fail(*_):\n    raise RuntimeError("DataLoader worker is killed by signal")\n'
        'interruption.listen()\n'
        'signal.signal(signal.SIGCHLD, fail)\n'
        'child = subprocess.Popen(["sleep", "60"])\n'
        'try:\n    os.killpg(0, signal.SIGTERM)\nexcept KeyboardInterrupt:\n    pass\n'
        'time.sleep(0.2)\n'
        'print("ended by", -child.wait())\n'
    )
    command = [sys.executable, str(script)]
    ended = subprocess.run(command, capture_output=True, text=True, start_new_session=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr) == (f'ended by {signal.SIGTERM.value}\n', '')


def test_a_log_that_cannot_be_written_is_one_line_and_so_is_a_full_disk(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'import logging\n'
        'from stage1_sam_cache.commands.cli import run_command\n'
        'def main():\n'
        '    logging.getLogger().addHandler(logging.FileHandler("/dev/full"))\n'
        '    for i in range(3):\n        logging.warning("line %d", i)\n'
        '    open("/dev/full", "w").write("x" * 9999)\n'
        'run_command(main)\n'
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    warning, error = ended.stderr.splitlines()
    assert warning.startswith('warning: /dev/full cannot be written ([Errno 28] No space left on device)')
    assert (ended.returncode, error) == (
        1,
        'error: [Errno 28] No space left on device; free some space where the command writes, or give another folder',
    )


LOSES_THE_SIGNAL = """
import os, signal, sys
from pathlib import Path
from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.commands.cli import run_command
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator
from stage1_sam_cache.data.listing import list_folder

class Ends:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

class Loses(FelzenszwalbMaskGenerator):
    def generate(self, image):
        if sys.argv[3] == 'in a destructor':
            Ends()
            return super().generate(image)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:  # as C code does
            if sys.argv[3] == 'made an error':
                raise ImageError('the file can not be read') from None
        return super().generate(image)

def main():
    builder = CacheBuilder(Path(sys.argv[2]), CacheSettings(window=(40, 64), stride=64), Loses())
    try:
        builder.run(list_folder(Path(sys.argv[1])).samples)
    finally:
        print(builder.summary.done, 'done', len(builder.summary.failed), 'failed')
    return 0

run_command(main)
"""


@pytest.mark.parametrize(('how', 'done'), [('dropped', 1), ('made an error', 0), ('in a destructor', 1)])
def test_a_signal_that_gets_lost_in_c_code_still_ends_the_run(tmp_path, image_folder, run_tool, how, done):
    folder = image_folder('a', 'b', 'c')
    (tmp_path / 'script.py').write_text(LOSES_THE_SIGNAL)
    finished = run_tool(tmp_path / 'script.py', folder, tmp_path / 'cache', how)
    assert finished.returncode == 130, finished.stderr
    assert f'{done} done 0 failed' in finished.stdout
    assert finished.stderr.endswith('interrupted\n')
    assert 'Traceback' not in finished.stderr


def test_failures_are_listed_at_the_end_and_the_status_is_1(tmp_path, image_folder, run_tool):
    folder = image_folder('good', 'empty', 'cut', 'also good')
    (folder / 'empty.png').write_bytes(b'')
    (folder / 'cut.png').write_bytes((folder / 'good.png').read_bytes()[:150])
    shutil.copy(folder / 'good.png', folder / 'twice.png')
    shutil.copy(folder / 'good.png', folder / 'twice.jpg')
    (folder / 'link.png').symlink_to('/etc/hostname')
    finished = run_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache')
    assert finished.returncode == 1
    assert '2 done, 0 already there, 5 failed' in finished.stdout
    failures = [line for line in finished.stderr.splitlines() if line.startswith('failed: ')]
    assert len(failures) == 5
    for name, reason in [('empty', '0 bytes'), ('cut', 'truncated'), ('twice', 'same id'), ('link', '--follow-links')]:
        assert any(name in line and reason in line for line in failures), failures


def test_a_terminal_obeys_no_name(tmp_path, image_folder, run_tool):
    folder = image_folder('a')
    (folder / 'x\x1b[2J\x07.png').write_bytes(b'')
    finished = run_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache')
    assert finished.returncode == 1
    assert r'x\x1b[2J\x07.png' in finished.stderr
    assert not {'\x1b', '\x07'} & set(finished.stdout + finished.stderr)


def test_a_list_entry_that_leaves_the_root_is_refused(tmp_path, image_folder, run_tool):
    folder = image_folder('a', 'b')
    names = tmp_path / 'list.txt'
    names.write_text('a.png\n../secret.png\n/etc/passwd\n')
    finished = run_tool('cache_sam.py', '--images', folder, '--list', names, *FAST, '--out', tmp_path / 'cache')
    assert finished.returncode == 1
    assert '1 done, 0 already there, 2 failed' in finished.stdout
    assert 'line 2 of' in finished.stderr


@pytest.mark.parametrize(
    ('arguments', 'parts'),
    [
        (['--images', 'missing'], ['missing', 'is not a folder']),
        (['--images', '.'], ['holds no images']),
        (['--dataset', 'densepass', '--data-root', '.'], ['densepass', '--data-root']),
        (['--dataset', 'densepass', '--split', 'nonsense'], ['nonsense', 'train, val']),
        (['--dataset', 'nonsense'], ['nonsense']),
        ([], ['required']),
        (['--images', ''], ['the path is empty']),
        (['--images', 'pictures', '--out', ''], ['the path is empty']),
        (['--images', 'pictures', '--generator', 'felzenszwalb', '--order', 'score'], ['--order score']),
        (['--images', 'pictures', '--generator', 'felzenszwalb', '--sigma', 'nan'], ['sigma']),
        (['--images', '.', '--window', '70000x70000'], ['65535']),
        (['--images', '.', '--split', 'val'], ['--split']),
        (['--images', '.', '--window', '400'], ['400x512']),
        (['--images', '.', '--stride', '600'], ['stride']),
        (['--images', '.', '--shard', '4/4'], ['0 to n-1']),
        (['--images', '.', '--limit', '0'], ['--limit']),
        (['--dataset', 'cityscapes', '--wrap'], ['borders do not join']),
        (['--images', 'pictures', '--scales', '3'], ['--scales is for --generator felzenszwalb']),
        (['--images', 'pictures', '--generator', 'felzenszwalb', '--sam', 'vit_b'], ['--sam is for --generator sam']),
        (['--images', 'pictures', '--generator', 'felzenszwalb', '--points-per-side', '3'], ['--points-per-side']),
        (['--images', 'pictures', '--generator', 'felzenszwalb', '--sigma', '-1'], ['sigma']),
        (['--images', 'pictures', '--points-per-side', '0'], ['at least 1']),
        (['--images', 'pictures', '--device', 'cpu', '--sam', 'vit_x'], ['vit_x', 'vit_b, vit_h, vit_l']),
        (['--images', 'pictures', '--device', 'nonsense', '--checkpoint', 'x.pth'], ['nonsense']),
        (['--images', 'pictures', '--device', 'cpu', '--checkpoint', 'missing.pth'], ['missing.pth']),
        (
            ['--images', 'pictures', '--device', 'cpu', '--checkpoint', 'pictures/a.png'],
            ['damaged or not a PyTorch file'],
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, run_tool, arguments, parts):
    (tmp_path / 'pictures').mkdir()
    if '.' not in arguments:
        Image.fromarray(np.zeros((40, 160, 3), np.uint8)).save(tmp_path / 'pictures/a.png')
    assert_one_error_line(run_tool('cache_sam.py', *arguments, cwd=tmp_path), *parts)
    assert not (tmp_path / 'cache').exists()


def test_evaluation_images_are_warned_of_and_training_images_are_the_default(tmp_path, picture, run_tool):
    for name in ('leftImg8bit/train/Amsterdam/1.png', 'leftImg8bit/val/cs/7.png'):
        path = tmp_path / 'DensePASS' / name
        path.parent.mkdir(parents=True)
        Image.fromarray(picture(40, 160)).save(path)
    run = ('cache_sam.py', '--dataset', 'densepass', '--data-root', tmp_path / 'DensePASS', *FAST)
    plain = run_tool(*run, '--out', tmp_path / 'train')
    assert 'warning' not in plain.stderr
    assert list(open_cache(tmp_path / 'train')) == ['Amsterdam/1']
    warned = run_tool(*run, '--split', 'val', cwd=tmp_path)  # and kept apart, in a folder of its own
    assert 'warning: densepass val holds the labelled evaluation images' in warned.stderr
    assert list(open_cache(tmp_path / 'cache' / 'densepass_val')) == ['cs/7']


def test_a_dry_run_foretells_and_writes_nothing(tmp_path, image_folder, run_tool):
    folder = image_folder('a', 'b')
    finished = run_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache', '--dry-run')
    assert finished.returncode == 0, finished.stderr
    assert re.search(r'2 panoramas of 7 crops: about \d+\.\d+ hours, \d+\.\d+ MB of disk', finished.stdout)
    assert not (tmp_path / 'cache').exists()
    closed = run_tool('cache_sam.py', '--images', folder, *FAST, '--dry-run', '--wrap')
    assert closed.returncode == 0, closed.stderr
    assert '2 panoramas of 10 crops' in closed.stdout
    empty = run_tool('cache_sam.py', '--images', folder, *FAST, '--dry-run', '--shard', '3/4')
    assert empty.returncode == 0
    assert 'no panoramas for this shard' in empty.stdout
    narrow = run_tool('cache_sam.py', '--images', folder, *FAST, '--dry-run', '--wrap', '--window', '40x200')
    assert narrow.returncode == 2
    assert 'cannot wrap around' in narrow.stderr
    assert 'Traceback' not in narrow.stderr


def test_other_settings_make_a_second_cache_beside_the_first(tmp_path, image_folder, run_tool):
    folder = image_folder('a')
    for extra in ((), ('--wrap',)):
        run_tool('cache_sam.py', '--images', folder, *FAST, *extra, '--out', tmp_path / 'cache')
    assert len(list((tmp_path / 'cache').iterdir())) == 2
    shown = run_tool('inspect_cache.py', 'show', tmp_path / 'cache', '--out', tmp_path / 'x.png')
    assert_one_error_line(shown, 'several caches would do', 'grid.wrap')


def test_repair_sets_damaged_files_aside_and_cache_sam_makes_them_again(tmp_path, image_folder, run_tool):
    folder = image_folder('a', 'b', 'c')
    run = ('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache')
    run_tool(*run)
    cache = open_cache(tmp_path / 'cache')
    sound = {file.name: file.read_bytes() for file in cache.files()}
    damaged = cache.files()[0]
    damaged.write_bytes(sound[damaged.name][:-40])
    verified = run_tool('inspect_cache.py', 'verify', tmp_path / 'cache')
    assert verified.returncode == 1
    assert damaged.name in verified.stderr
    assert 'inspect_cache.py repair' in verified.stderr
    repaired = run_tool('inspect_cache.py', 'repair', tmp_path / 'cache', '--drop', 'b')
    assert repaired.returncode == 0, repaired.stderr
    assert '2 files set aside' in repaired.stdout
    assert '2 done, 1 already there, 0 failed' in run_tool(*run).stdout
    assert {file.name: file.read_bytes() for file in cache.files()} == sound
    assert run_tool('inspect_cache.py', 'verify', tmp_path / 'cache').returncode == 0


def test_repair_restores_a_lost_description_and_a_damaged_manifest(tmp_path, image_folder, run_tool):
    folder = image_folder('a', 'b')
    run_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache')
    path = cache_of(tmp_path / 'cache')
    (path / 'fingerprint.json').unlink()
    (path / 'manifest.json').write_text('{}')
    repaired = run_tool('inspect_cache.py', 'repair', tmp_path / 'cache')
    assert repaired.returncode == 0, repaired.stderr
    assert 'restored fingerprint.json' in repaired.stdout
    assert 'manifest.json -> ' in repaired.stdout
    listed = run_tool('inspect_cache.py', 'status', tmp_path / 'cache', '--ids')
    assert re.findall(r'panorama     (\w+)', listed.stdout) == ['a', 'b']
    unknown = run_tool('inspect_cache.py', 'repair', tmp_path / 'cache', '--drop', 'nobody')
    assert unknown.returncode == 1
    assert 'nobody: is not in' in unknown.stderr


def test_showing_another_image_or_writing_nonsense_is_one_line(tmp_path, image_folder, picture, run_tool):
    folder = image_folder('a')
    run_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'cache')
    show = ('inspect_cache.py', 'show', tmp_path / 'cache')
    for out in ('x.foo', 'x', str(tmp_path)):
        assert_one_error_line(run_tool(*show, '--out', out), 'is not the name of a .png file')
    for name in ('x.foo', 'x', tmp_path):  # refused before anything is drawn
        drawn = run_tool('browse_dataset.py', '--dataset', 'toypass', '--data-root', tmp_path, '--out', name)
        assert_one_error_line(drawn, 'is not the name of a picture')
    assert_one_error_line(run_tool(*show, '--id', 'nobody'), 'nobody is not cached')
    Image.fromarray(picture(40, 170)).save(folder / 'a.png')
    other = run_tool(*show, '--images', folder, '--out', tmp_path / 'x.png')
    assert_one_error_line(other, 'is it the right one?')


@pytest.mark.parametrize('command', ['status', 'verify', 'repair', 'stats', 'show'])
def test_inspecting_a_folder_without_a_cache_is_one_line(tmp_path, run_tool, command):
    assert_one_error_line(run_tool('inspect_cache.py', command, tmp_path), 'no mask cache here')


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, image_folder, run_tool):
    folder = image_folder('a')
    (tmp_path / 'file').write_text('')
    finished = run_tool('cache_sam.py', '--images', folder, *FAST, '--out', tmp_path / 'file' / 'cache')
    assert_one_error_line(finished, 'cannot make the cache folder')


def test_sam_caches_from_end_to_end_with_a_small_random_model(tmp_path, image_folder, monkeypatch, capsys, tiny_sam):
    # In this process, because the small SAM is an architecture that only the tests know.
    from conftest import build_tiny_sam

    from stage1_sam_cache.commands import cache_sam
    from stage1_sam_cache.sam import weights as sam_weights

    monkeypatch.setitem(sam_weights.ARCHITECTURES, 'tiny', build_tiny_sam)
    folder = image_folder('a', 'b')
    checkpoint = tmp_path / 'tiny.pth'
    torch.save(tiny_sam.state_dict(), checkpoint)
    flags = ['--sam', 'tiny', '--checkpoint', str(checkpoint), '--device', 'cpu', '--points-per-side', '4']
    flags += ['--pred-iou-thresh', '-100', '--stability-score-thresh', '0', '--window', '40x64', '--stride', '32']
    assert cache_sam.main(['--images', str(folder), '--out', str(tmp_path / 'cache'), *flags]) == 0
    assert '2 done' in capsys.readouterr().out
    cache = open_cache(tmp_path / 'cache', expect={'generator': {'name': 'sam', 'model': 'tiny', 'points_per_side': 4}})
    windows = cache['a'].windows
    assert len(windows) == 4
    assert all(len(window) and np.isfinite(window.predicted_iou).all() for window in windows)
    assert cache['a'].made_with['device'] == 'cpu'


# --- how commands start and what they are called ---


@pytest.mark.parametrize(
    ('program', 'text', 'printed'),
    [
        ('tools/train.py', 'run tools/cache_sam.py --wrap', 'run tools/cache_sam.py --wrap'),
        ('/usr/bin/goodsam-train', 'run tools/cache_sam.py --wrap', 'run goodsam-cache --wrap'),
        ('goodsam-test', 'tools/inspect_cache.py, tools/export_student.py', 'goodsam-inspect, goodsam-export'),
        ('goodsam-test', 'make it with tools/make_toypass.py', 'make it with tools/make_toypass.py'),
        ('goodsam-test', '/my/tools/train.py and tools/train.pyc', '/my/tools/train.py and tools/train.pyc'),
        ('goodsam-other', 'tools/train.py', 'tools/train.py'),
    ],
)
def test_errors_name_commands_as_the_user_has_them(monkeypatch, capsys, program, text, printed):
    monkeypatch.setattr('sys.argv', [program])
    cli.report(f'error: {text}')
    assert capsys.readouterr().err == f'error: {printed}\n'


def test_help_and_usage_errors_name_the_console_command(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['/usr/bin/goodsam-cache'])
    parser = cli.Parser(description='tools/cache_sam.py --dataset densepass')
    assert 'goodsam-cache --dataset densepass' in parser.format_help()
    with pytest.raises(SystemExit, match='2'):
        parser.error('--order score goes with tools/cache_sam.py')
    assert capsys.readouterr().err.startswith('goodsam-cache: error: --order score goes with goodsam-cache ')


STARTS = """
import os, sys
from stage1_sam_cache.commands.entry import run
before = dict(os.environ)
import stage1_sam_cache.commands.entry
assert dict(os.environ) == before, 'importing the entry changes the environment'
assert 'torch' not in sys.modules
run(sys.argv[1])
"""


@pytest.mark.parametrize(('policy', 'expected'), [(None, 'passive'), ('active', 'active')])
def test_openmp_waits_passively_unless_the_user_says_otherwise(tmp_path, policy, expected):
    module = tmp_path / 'a_command.py'
    module.write_text('import os\nseen = os.environ["OMP_WAIT_POLICY"]\n\ndef main():\n    print(seen)\n    return 7\n')
    finished = start(tmp_path, 'a_command', OMP_WAIT_POLICY=policy)
    assert (finished.returncode, finished.stdout, finished.stderr) == (7, f'{expected}\n', '')


def test_a_missing_package_is_one_line(tmp_path):
    (tmp_path / 'a_command.py').write_text('import no_such_package\n')
    finished = start(tmp_path, 'a_command')
    assert finished.returncode == 1
    assert finished.stderr == (
        "error: No module named 'no_such_package'; run `make venv` and `source .venv/bin/activate` first\n"
    )


def test_outside_a_checkout_a_missing_package_is_installed_by_pip(tmp_path, monkeypatch):
    monkeypatch.setattr(installation, '_CHECKOUT', tmp_path)
    assert 'pip install' in installation.how_to_install()
    assert 'make venv' not in installation.how_to_install()


def start(folder, module, **variables):
    """Run a module of a folder by the entry of all commands."""
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    environment |= {name: value for name, value in variables.items() if value is not None}
    environment['PYTHONPATH'] = f'{folder}{os.pathsep}{environment.get("PYTHONPATH", "")}'
    command = [sys.executable, '-c', STARTS, module]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_every_tool_runs_as_it_stands():
    tools = [path for path in (ROOT / 'tools').iterdir() if path.is_file()]
    assert tools
    for tool in tools:
        assert tool.stat().st_mode & stat.S_IXUSR, f'{tool} is not executable'
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'

    def ask(tool):
        return subprocess.run([tool, '--help'], capture_output=True, text=True, env=os.environ | {'PATH': path})

    with ThreadPoolExecutor(2) as pool:  # each imports for seconds
        for helped in pool.map(ask, [tool for tool in tools if tool.suffix == '.py']):
            assert helped.returncode == 0, helped.stderr
            assert 'usage:' in helped.stdout
