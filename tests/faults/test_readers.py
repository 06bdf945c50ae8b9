"""The cache read by loaders of every make: the same content, and no handles that pile up."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.config import Config

from faults.read_digests import Digests

READER = ROOT / 'tests/faults/read_digests.py'


@dataclass(frozen=True)
class Sample:
    """A line of the reader's."""

    epoch: int
    image: str
    digest: str
    files: int


def samples(text: str) -> list[Sample]:
    """Of the reader's lines; imports print others."""
    found = []
    for line in filter(lambda line: line[:1].isdigit(), text.splitlines()):
        epoch, image, digest, files = line.split()
        found.append(Sample(int(epoch), image, digest, int(files)))
    return found


@pytest.fixture(scope='module')
def config(tmp_path_factory, tiny_toypass, tiny_caches) -> Path:
    data, _ = tiny_toypass
    config = tmp_path_factory.mktemp('readers') / 'readers.py'
    config.write_text(
        f"""
_base_ = '{ROOT}/mmseg_configs/goodsam_b0_toypass.py'
train_dataloader = dict(dataset=dict(
    root='{data}', cache='{tiny_caches['train']}',
    expect=dict(grid=dict(window=(100, 128), stride=(100, 64), wrap=True))))
"""
    )
    return config


@pytest.fixture(scope='module')
def expected(config) -> dict[str, str]:
    """Digests of the images, read here one after the other."""
    dataset = Digests(Config.fromfile(config))
    found = dict(dataset[i].split()[:2] for i in range(len(dataset)))
    assert len(set(found.values())) == len(found) >= 4
    return found


@pytest.mark.parametrize(
    ('workers', 'method', 'persistent'),
    [
        (0, None, False),
        (1, 'fork', True),
        (2, 'fork', True),
        (4, 'fork', False),
        pytest.param(1, 'spawn', True, marks=pytest.mark.long),  # their imports take long
        pytest.param(2, 'spawn', False, marks=pytest.mark.long),
        pytest.param(4, 'spawn', True, marks=pytest.mark.long),
    ],
)
def test_any_loader_reads_the_same_and_opens_no_more_files(
    trials, run_tool, config, expected, workers, method, persistent
):
    flags = ['--method', method] if method else []
    flags += ['--persistent'] if persistent else []
    finished = run_tool(READER, config, '--workers', workers, *flags)
    assert finished.returncode == 0, finished.stderr[-3000:]
    read = samples(finished.stdout)
    epochs = [[sample for sample in read if sample.epoch == epoch] for epoch in range(3)]
    for epoch in epochs:
        lost = len(epoch) != len(expected) or {sample.image: sample.digest for sample in epoch} != expected
        trials.count(f'loader, {method or "this process"}', len(epoch), lost)
    first, *later = (max(sample.files for sample in epoch) for epoch in epochs)
    assert max(later) <= first + 1, (first, later)  # a socket of the loader itself, perhaps


@pytest.mark.long
def test_two_ranks_read_their_shares_of_the_same_content(trials, config, expected):
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    command += [str(READER), str(config), '--workers', '2']
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr[-3000:]
    read = samples(finished.stdout)
    for epoch in range(3):
        lines = [sample for sample in read if sample.epoch == epoch]
        assert len(lines) >= len(expected)  # an odd one is read twice, so that both have as many
        trials.count('loader, two ranks', len(lines), {sample.image: sample.digest for sample in lines} != expected)
