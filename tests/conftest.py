"""Shared pieces: a small SAM with random weights, pictures, and the command lines as a user runs them.

Large libraries are imported where they are used: pytest-xdist imports this file once more, in a process without tests.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # there is a test process per core

import pytest
from fork_server import STAGE_2, ForkServer, Started, leave_configs_unformatted

if TYPE_CHECKING:
    import numpy as np
    from segment_anything.modeling import Sam

ROOT = Path(__file__).resolve().parent.parent
# For toypass, ablation and benchmarks; at the end, so that tools/test.py does not hide the standard library's test.
sys.path.append(str(ROOT / 'tools'))


def build_tiny_sam() -> Sam:
    """SAM's own modules at toy size (128 px input); untrained, so its masks mean nothing."""
    import torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(0)
    size, patch, width = 128, 16, 16
    embedding = size // patch
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=size,
            patch_size=patch,
            embed_dim=32,
            depth=2,
            num_heads=2,
            mlp_ratio=2,
            out_chans=width,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=(1,),
            window_size=4,
        ),
        prompt_encoder=PromptEncoder(width, (embedding, embedding), (size, size), mask_in_chans=4),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=32, num_heads=2),
            transformer_dim=width,
            iou_head_depth=2,
            iou_head_hidden_dim=16,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    ).eval()


@pytest.fixture
def tiny_sam() -> Sam:
    return build_tiny_sam()


@pytest.fixture
def picture():
    """Draw a small picture: blocks of random colours, so that there are regions to segment."""
    import numpy as np

    def draw(height: int, width: int, seed: int = 0) -> np.ndarray:
        blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
        return blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]

    return draw


@pytest.fixture
def image_folder(tmp_path: Path, picture):
    """Make a folder of PNG panoramas; names may contain folders and any characters."""
    from PIL import Image

    def make(*names: str, size: tuple[int, int] = (40, 160)) -> Path:
        folder = tmp_path / 'images'
        for seed, name in enumerate(names):
            path = folder / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(*size, seed=seed)).save(path)
        return folder

    return make


@pytest.fixture(scope='session')
def tool_server() -> Iterator[ForkServer]:
    """Runs Python files in processes that have this project and mmseg imported already."""
    server = ForkServer(STAGE_2, quick_exit=True)
    yield server
    server.stop()


@pytest.fixture(scope='session')
def run_tool(tool_server):
    """Run ``tools/<name>``, or another file by its path, unchanged; return the finished process with its output."""

    def run(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return tool_server.run([str(ROOT / 'tools' / name), *map(str, arguments)], **options)

    return run


@pytest.fixture(scope='session')
def start_tool(tool_server):
    """As ``run_tool``, but the process runs meanwhile."""

    def start(name: str, *arguments: object, **options: Any) -> Started:
        return tool_server.start([str(ROOT / 'tools' / name), *map(str, arguments)], **options)

    return start


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
    """Return a folder that all test processes of a run share, filled by the first, and what ``make`` returned."""
    shared = factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        shared = shared.parent
    folder, result = shared / name, shared / f'{name}.json'
    with (shared / f'{name}.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            folder.mkdir(exist_ok=True)
            result.write_text(json.dumps(make(folder)))
    return folder, json.loads(result.read_text())


@pytest.fixture(scope='session')
def tiny_toypass(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """ToyPASS's preset ``tiny`` as the tool makes it, killed once on the way: its folder and the last run."""
    tool = str(ROOT / 'tools/make_toypass.py')

    def make(out: Path) -> dict[str, Any]:
        command = [sys.executable, tool, '--out', str(out), '--preset', 'tiny', '--workers', '2']
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        while process.poll() is None and len(list(out.rglob('*_instances.png'))) < 4:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        there = len(list(out.rglob('*_instances.png')))
        assert 4 <= there < 20
        finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        return vars(finished)

    out, finished = made_once(tmp_path_factory, 'ToyPASS', make)
    return out, subprocess.CompletedProcess(**finished)


# Windows over the 100x512 panoramas of preset tiny, of the paper's proportions.
TINY_WINDOWS = ('--window', '100x128', '--stride', '64', '--wrap')
TINY_GRID = {'window': (100, 128), 'stride': 64, 'wrap': True}


@pytest.fixture(scope='session')
def tiny_caches(tiny_toypass, run_tool, tmp_path_factory) -> dict[str, Path]:
    """Felzenszwalb masks of the tiny panoramas, by split."""
    data, _ = tiny_toypass
    fast = ('--generator', 'felzenszwalb', '--scales', '50', '--overlap-source', 'window', *TINY_WINDOWS)

    def make(folder: Path) -> None:
        for split in ('train', 'val'):
            images = ('--dataset', 'toypass', '--split', split, '--data-root', data)
            run_tool('cache_sam.py', *images, *fast, '--out', folder / split).check_returncode()

    folder, _ = made_once(tmp_path_factory, 'caches', make)
    return {split: folder / split for split in ('train', 'val')}


@pytest.fixture(scope='session')
def tiny_goodsam(tiny_toypass, tiny_caches, tmp_path_factory) -> Path:
    """A config that trains GoodSAM on tiny panoramas in seconds, from random weights, a quarter as wide as B0."""
    data, _ = tiny_toypass
    config = tmp_path_factory.mktemp('config') / 'tiny_goodsam.py'
    config.write_text(
        f"""
_base_ = '{ROOT}/mmseg_configs/goodsam_b0_toypass.py'
narrow = dict(
    backbone=dict(embed_dims=8, num_layers=[1, 1, 1, 1]),
    decode_head=dict(in_channels=[8, 16, 40, 64], channels=32),
    init_cfg=dict(_delete_=True),
)
model = dict(grid=dict(window=(100, 128), stride=64), update_ta=True, student=narrow, teacher_assistant=narrow)
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(root='{data}', cache='{tiny_caches['train']}')
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root='{data}'))
test_dataloader = val_dataloader
max_iters = 4
train_cfg = dict(max_iters=max_iters, val_interval=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=-1))
"""
    )
    return config


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--long', action='store_true', help='fault tests, 25 times the fuzzing, and what is marked long')
    parser.addoption('--faults-seed', type=int, default=0, help='of all that is random in tests/faults')


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption('--long'):
        os.environ['GOODSAM_TESTS_LONG'] = '1'  # for fuzz.py


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select tests: the long form has fault tests, fuzzing and what is marked ``long``, which the short form skips."""
    from hypothesis import is_hypothesis_test

    leave_configs_unformatted()
    marked = [item for item in items if item.get_closest_marker('long')]
    if config.getoption('--long'):
        chosen = [item for item in items if _injects_faults(item) or _is_fuzz(item) or item in marked]
        deselected = [item for item in items if item not in chosen]
    else:
        deselected = marked
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in deselected]
    for item in items:
        # Before Python 3.12 tracing costs what it traces: a third of a property test's time, and of a benchmark's.
        slow = _injects_faults(item) or item.path.stem == 'test_benchmarks'
        if slow or is_hypothesis_test(getattr(item, 'obj', None)):
            item.add_marker('no_cover')


def pytest_collection_finish() -> None:
    """Exempt the libraries from garbage collection, which takes a second: each data set of MMEngine asks for it."""
    gc.collect()
    gc.freeze()


def _injects_faults(item: pytest.Item) -> bool:
    return item.path.parent.name == 'faults'


def _is_fuzz(item: pytest.Item) -> bool:
    return hasattr(getattr(item, 'obj', None), 'fuzz_tried')


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """Count the examples of a property test for the table."""
    begun, before = time.monotonic(), item.obj.fuzz_tried[0] if _is_fuzz(item) else 0
    outcome = yield
    if _is_fuzz(item) and not _injects_faults(item) and item.config.getoption('--long'):
        kind = f'fuzz, {item.path.stem.removeprefix("test_").replace("_", " ")}'
        figures = (kind, item.obj.fuzz_tried[0] - before, int(outcome.excinfo is not None), time.monotonic() - begun)
        item.user_properties.append(('faults', figures))


_FAULTS: dict[str, list[float]] = {}  # tries, lost, seconds by kind


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up what fault tests have counted."""
    if report.when != 'teardown':
        return
    for name, value in report.user_properties:
        if name == 'faults':
            kind, *figures = value
            sums = _FAULTS.setdefault(kind, [0, 0, 0])
            _FAULTS[kind] = [one + other for one, other in zip(sums, figures, strict=True)]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of ``make faults``."""
    if not _FAULTS:
        return
    form = 'long' if config.getoption('--long') else 'short'
    terminalreporter.section(f'faults, {form} form, seed {config.getoption("--faults-seed")}')
    terminalreporter.write_line(f'{"kind":<62}{"tries":>9}{"survived":>10}{"lost":>6}{"time":>10}')
    for kind, (tries, lost, seconds) in sorted(_FAULTS.items()):
        terminalreporter.write_line(f'{kind:<62}{tries:>9.0f}{tries - lost:>10.0f}{lost:>6.0f}{seconds:>8.0f} s')
