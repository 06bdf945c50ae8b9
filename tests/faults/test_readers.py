"""The cache read by loaders of every make: the same content, and no handles that pile up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config

from faults.read_digests import dataset_of, digest

pytestmark = pytest.mark.long


class Digests(torch.utils.data.Dataset):
    """Where a sample came from, its digest, and how many files its process has open."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[str, str, int]:
        sample = self.dataset[index]
        return sample['data_samples'].img_path, digest(sample), len(list(Path('/proc/self/fd').iterdir()))


@pytest.fixture(scope='module')
def dataset(tmp_path_factory, tiny_toypass, tiny_caches) -> tuple[Path, Any]:
    data, _ = tiny_toypass
    config = tmp_path_factory.mktemp('readers') / 'readers.py'
    config.write_text(
        f"""
_base_ = '{ROOT}/mmseg_configs/goodsam_b0_toypass.py'
train_dataloader = dict(dataset=dict(
    root='{data}', cache='{tiny_caches['train']}', grid=dict(window=(100, 128), stride=(100, 64), wrap=True)))
"""
    )
    return config, dataset_of(Config.fromfile(config))


@pytest.fixture(scope='module')
def expected(dataset) -> dict[str, str]:
    _, own = dataset
    found = {path: text for path, text, _ in (Digests(own)[i] for i in range(len(own)))}
    assert len(set(found.values())) == len(found) >= 4
    return found


def epochs(loader: Any, count: int) -> Iterator[list[tuple[str, str, int]]]:
    for _ in range(count):
        yield [batch[0] for batch in loader]


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
def test_any_loader_reads_the_same_and_opens_no_more_files(trials, dataset, expected, workers, method, persistent):
    loader = torch.utils.data.DataLoader(
        Digests(dataset[1]),
        num_workers=workers,
        multiprocessing_context=method,
        persistent_workers=persistent,
        collate_fn=list,
        shuffle=True,
    )
    most = 0
    for seen in epochs(loader, 3):
        lost = {path: text for path, text, _ in seen} != expected
        trials.count(f'loader, {method or "this process"}', len(seen), lost * len(seen))
        handles = max(count for *_, count in seen)
        assert most in (0, handles) or handles <= most + 1  # a socket of the loader itself, perhaps
        most = max(most, handles)


@pytest.mark.long
def test_two_ranks_read_their_shares_of_the_same_content(trials, dataset, expected):
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    command += [str(ROOT / 'tests/faults/read_digests.py'), str(dataset[0])]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr[-3000:]
    lines = [line.rsplit(' ', 1) for line in finished.stdout.splitlines() if line.startswith('/')]
    found = dict(lines)
    assert len(lines) >= len(found) == len(expected)  # an odd one is read twice, so that both have as many
    trials.count('loader, two ranks', len(lines), found != expected)
