"""The wheel: what it holds, and that its commands work where there is no checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, made_once
from fork_server import ForkServer
from PIL import Image
from test_project import read_pyproject

from stage1_sam_cache.commands import entry
from stage1_sam_cache.commands.names import CONSOLE_COMMANDS

PACKAGES = ('stage1_sam_cache', 'stage2_distill')
SIZE = (64, 256)
WINDOWS = ('--window', '64x64', '--stride', '32', '--wrap')
CONFIG = 'mmseg_configs/goodsam_b0_toypass.py'  # as the documents name it


@pytest.fixture(scope='session')
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the checkout, in which building leaves files behind."""

    def make(folder: Path) -> None:
        source = folder / 'source'
        for name in (*PACKAGES, 'mmseg_configs'):
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
        for name in ('pyproject.toml', 'README.md', 'LICENSE'):
            shutil.copy(ROOT / name, source)
        pip('wheel', '--no-build-isolation', '--wheel-dir', folder, source)

    folder, _ = made_once(tmp_path_factory, 'wheel', make)
    return next(folder.glob('goodsam-*.whl'))


def pip(command: str, *arguments: object) -> None:
    """Run pip without an index and without dependencies."""
    words = [sys.executable, '-m', 'pip', command, '--quiet', '--no-deps', '--no-index', *map(str, arguments)]
    subprocess.run(words, check=True, timeout=120)


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory) -> Path:
    """The folder in which the wheel is installed; its console commands are in bin/."""
    target = tmp_path_factory.mktemp('installed')
    pip('install', '--target', target, wheel)
    return target


@pytest.fixture(scope='module')
def run(installed, tmp_path_factory):
    """Run a console command, or a Python file, in an empty folder; the checkout is not on its path."""
    work = tmp_path_factory.mktemp('work')
    commands = ForkServer(env={**os.environ, 'PYTHONPATH': str(installed)})

    def run(name: str | Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        return commands.run([str(installed / 'bin' / name), *map(str, arguments)], cwd=work)

    yield run
    commands.stop()


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_all_modules_configs_and_weights(wheel):
    packed = names_in(wheel)
    sources = [file for package in PACKAGES for file in (ROOT / package).rglob('*') if file.suffix in ('.py', '.pth')]
    expected = {str(file.relative_to(ROOT)) for file in sources if '.mim' not in file.parts}
    expected |= {f'{package}/py.typed' for package in PACKAGES}
    expected |= {f'{file.relative_to(ROOT)}' for package in PACKAGES for file in (ROOT / package).glob('weights/*')}
    configs = {f'stage2_distill/.mim/configs/goodsam/{file}' for file in relative_configs()}
    assert len(configs) > 50
    assert packed >= expected | configs | {'stage2_distill/.mim/model-index.yml'}
    assert not [name for name in packed if name.split('/')[0] in ('tools', 'tests', 'mmseg_configs')]


def relative_configs() -> list[Path]:
    return [file.relative_to(ROOT / 'mmseg_configs') for file in (ROOT / 'mmseg_configs').rglob('*.py')]


def test_each_console_command_is_the_code_of_its_tool():
    scripts = read_pyproject()['project']['scripts']
    assert set(scripts) == set(CONSOLE_COMMANDS.values())
    for tool, command in CONSOLE_COMMANDS.items():
        module, _, function = scripts[command].partition(':')
        assert module == entry.__name__
        (code,) = getattr(entry, function).args
        assert f"    run('{code}')\n" in (ROOT / tool).read_text()
        assert code.rpartition('.')[2] == Path(tool).stem


LOOKS_FOR_CONFIGS = """
from mmengine.hub import get_config
import stage1_sam_cache, stage2_distill
from stage2_distill.training.config_files import CONFIGS, register_configs
from stage2_distill.training.experiment import read_config
register_configs()
for name in ('goodsam_b0.py', 'ablations/table3_row1.py'):
    by_name, by_mmengine = read_config(name), get_config(f'stage2_distill::goodsam/{name}')
    assert by_name.to_dict() == by_mmengine.to_dict() and by_name.model.type == 'GoodSAM'
print(stage1_sam_cache.__file__, stage2_distill.__file__, CONFIGS, sep='\\n')
"""


def test_configs_are_found_by_name_and_in_the_way_of_mmengine(run, installed, tmp_path):
    (tmp_path / 'looks_for_configs.py').write_text(LOOKS_FOR_CONFIGS)
    finished = run(tmp_path / 'looks_for_configs.py')
    assert finished.returncode == 0, finished.stderr
    places = finished.stdout.strip().splitlines()[-3:]
    assert all(Path(place).is_relative_to(installed) for place in places), places


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """Random panoramas in the layout of ToyPASS: three to train on, one with labels."""
    root = tmp_path_factory.mktemp('data') / 'target'
    rng = np.random.default_rng(0)
    for split, count in (('train', 3), ('val', 1)):
        for i in range(count):
            blocks = rng.integers(0, 256, (SIZE[0] // 16, SIZE[1] // 16, 3), dtype=np.uint8)
            save(blocks.repeat(16, 0).repeat(16, 1), root / f'leftImg8bit/{split}/city/{i}.png')
    save(rng.integers(0, 19, SIZE, dtype=np.uint8), root / 'gtFine/val/city/0_labelTrainIds.png')
    return root.parent


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def options(data: Path, cache: Path) -> list[str]:
    """The config's changes for tiny images; the weights are those that the package brings."""
    changes = {'model.grid.window': '[64,64]', 'model.grid.stride': 32}
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        changes |= {f'{loader}.num_workers': 0, f'{loader}.persistent_workers': False, f'{loader}.dataset.root': data}
    changes |= {'train_dataloader.dataset.cache': cache, 'train_cfg.max_iters': 3, 'train_cfg.val_interval': 3}
    return ['--cfg-options', *(f'{key}={value}' for key, value in changes.items())]


def test_the_installed_commands_cache_train_score_and_predict(run, data, tmp_path):
    images, cache, work = data / 'target/leftImg8bit/train', tmp_path / 'cache', tmp_path / 'work'
    fast = ('--generator', 'felzenszwalb', '--scales', '50', '--overlap-source', 'window')
    cached = run('goodsam-cache', '--images', images, *fast, *WINDOWS, '--out', cache)
    assert cached.returncode == 0, cached.stderr
    assert '3 done, 0 already there, 0 failed' in cached.stdout

    changes = options(data, cache)
    trained = run('goodsam-train', CONFIG, '--work-dir', work, *changes)
    assert trained.returncode == 0, trained.stderr
    checkpoint = work / 'iter_3.pth'
    assert checkpoint.is_file()

    scored = run('goodsam-test', Path(CONFIG).name, checkpoint, '--work-dir', work, *changes)
    assert scored.returncode == 0, scored.stderr
    assert '| student |' in scored.stdout
    assert (work / 'scores.json').is_file()

    labelled = run('goodsam-predict', CONFIG, checkpoint, '--images', images, '--out', tmp_path / 'labels')
    assert labelled.returncode == 0, labelled.stderr
    with Image.open(tmp_path / 'labels/labels/city/0.png') as labels:
        assert labels.size == SIZE[::-1]

    # The others that need a trained network: each imports all that its config names.
    masks = ('--cache', cache, '--out')
    for command, *arguments in (
        ('goodsam-export', CONFIG, checkpoint, '--out', tmp_path / 'student.safetensors'),
        ('goodsam-judge', CONFIG, checkpoint, '--images', images, *masks, tmp_path / 'judged.json', *changes),
        ('goodsam-browse-labels', CONFIG, checkpoint, *masks, tmp_path / 'look.png', *changes),
        ('goodsam-export-labels', CONFIG, checkpoint, '--out', tmp_path / 'pseudo', *changes),
        ('goodsam-report', work, '--count', '0'),
    ):
        finished = run(command, *arguments)
        assert finished.returncode == 0, f'{command}\n{finished.stderr}'
        assert 'Could not import' not in finished.stdout + finished.stderr  # as MMSegmentation prints
        assert 'UserWarning' not in finished.stderr, finished.stderr


def test_an_installed_command_names_commands_and_places_as_the_user_has_them(run, installed):
    missing = run('goodsam-inspect', 'status', 'nothing')
    assert missing.returncode == 2
    make = 'make one with goodsam-cache --images DIR --out nothing, or with --dataset NAME'
    assert missing.stderr == f'error: nothing: no mask cache here; {make}\n'
    lost = run('goodsam-train', 'mmseg_configs/none.py')
    assert lost.returncode == 2
    last = lost.stderr.splitlines()[-1]
    assert last.startswith('error: config mmseg_configs/none.py does not exist; looked for ')
    assert str(installed / 'stage2_distill/.mim/configs/goodsam/none.py') in last
    helped = run('goodsam-inspect', '--help')
    assert 'goodsam-inspect status cache/densepass' in helped.stdout
    assert 'tools/' not in helped.stdout
