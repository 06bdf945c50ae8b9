"""tools/benchmark.py gpu at tiny sizes: all rows, their file, the time that is given, peers, and what is missing."""

import json
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from test_source_training import load_tool

from stage1_sam_cache.errors import GoodSAMError

PEER = """
class SamAutomaticMaskGenerator:
    def __init__(self, sam, points_per_side, points_per_batch, process_batch_size):
        assert points_per_side == 4 and points_per_batch > 4
    def generate(self, image):
        assert image.shape == (48, 64, 3)
        return []
class Sam:
    def to(self, device):
        return self
def build(checkpoint, compile_mode):
    assert checkpoint is None and compile_mode == 'default'
    return Sam()
sam_model_fast_registry = {'tiny': build}
"""


@pytest.fixture
def table(tmp_path, capsys, monkeypatch):
    """Runs the command, without warming up; returns what it wrote and printed."""
    monkeypatch.setattr('benchmarks.common.WARM_UPS', 0)

    def run(*flags, status=0):
        file = tmp_path / 'gpu.json'
        assert load_tool('benchmark').main(['gpu', '--device', 'cpu', '--small', '--out', str(file), *flags]) == status
        return json.loads(file.read_text()), capsys.readouterr().out

    return run


@pytest.mark.long
def test_every_row_is_measured_at_tiny_sizes_with_the_peer_that_is_there(table, tmp_path, monkeypatch):
    (tmp_path / 'segment_anything_fast.py').write_text(PEER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'segment_anything_fast', raising=False)
    monkeypatch.setitem(sys.modules, 'sam2', None)  # as if it were not installed
    monkeypatch.setattr('benchmarks.fusion._WINDOWS', 2)
    found, said = table('--times', '1')
    assert 'not installed, so not in this table: SAM 2\n' in said and found['absent'] == ['SAM 2']
    assert found['schema'] == 1 and found['small'] and {'torch', 'device'} <= set(found['machine'])
    rows = {row['row']: row for row in found['rows']}
    assert [row['row'] for row in found['rows'] if 'not_measured' in row] == []
    assert len(rows) == 23 and all(f'{name}: ' in said for name in rows)
    figures = {name: {figure['what']: figure for figure in row['figures']} for name, row in rows.items()}
    for name, row in figures.items():
        differences = 'step' in name or 'parts' in name  # of other figures, which noise can make negative
        assert all(figure['value'] >= 0 or differences for figure in row.values()), name
    for level in ('bf16', 'fp16', 'fp32-fast', 'exact'):
        row, stock = figures[f'window, {level}'], figures['window, stock']['one window']['value']
        assert row['stock takes']['value'] == pytest.approx(stock / row['one window']['value'])
    goals = [(f['least'], f['most']) for row in figures.values() for f in row.values() if f['least'] or f['most']]
    assert sorted(goals, key=str) == sorted(
        [(12, None), (12, None), (20, None), (90, None), *[(None, goal) for goal in (12, 12, 25, 25, 15, 5, 5)]],
        key=str,
    )
    kinds = [f for f in figures['profile of windows, bf16'].values() if f['unit'] == '% of the device time']
    assert sum(f['value'] for f in kinds) == pytest.approx(100) and all(f['value'] > 0 for f in kinds[1:])
    assert 'copy that labels' in figures['training step, assistant trained']


def test_rows_that_no_longer_fit_are_named(table):
    found, said = table('--minutes', '0')
    assert len(found['rows']) >= 20
    assert all(row['not_measured'].startswith('out of time: 0 s left, about ') for row in found['rows'])
    assert said.count(': not measured: out of time') == len(found['rows'])


def test_a_row_that_takes_too_long_or_fails_leaves_the_others(tmp_path, capsys, monkeypatch):
    from benchmarks.gpu_table import Figure, Missing, Row, run

    monkeypatch.setattr('benchmarks.gpu_table.gc.collect', int)  # takes a second beside all tests' objects
    out = tmp_path / 'table.json'

    def needs():
        raise Missing('something is needed')

    def breaks():
        assert [row['row'] for row in json.loads(out.read_text())['rows']] == ['fine', 'needs']
        raise RuntimeError('out of memory\nand a page of advice')

    rows = [
        Row('fine', 0, lambda: [Figure('a', 2.0, least=3), Figure('b', 2.0, 'x', most=2, note='n')]),
        Row('needs', 0, needs), Row('breaks', 0, breaks), Row('sleeps', 0, lambda: time.sleep(60)),
        Row('late', 1, needs),
    ]  # fmt: skip
    assert not run(rows, 0.01, {'schema': 1}, out)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith('fine: a 2 ms (goal: at least 3, missed); b 2 x (goal: at most 2, reached) [n] (')
    assert said[1:3] == [
        'needs: not measured: something is needed',
        'breaks: not measured: RuntimeError: out of memory',
    ]
    assert said[3].startswith('sleeps: not measured: out of time: stopped after ')
    assert said[4] == 'late: not measured: out of time: 0 s left, about 1 s needed'
    assert [row.get('failed', False) for row in json.loads(out.read_text())['rows']] == [False] * 2 + [True] + [
        False
    ] * 2


def test_it_needs_a_gpu_or_tiny_sizes_and_no_mmsegmentation(tmp_path, monkeypatch):
    with pytest.raises(GoodSAMError, match='--device cpu --small'):
        load_tool('benchmark').main(['gpu', '--device', 'cpu'])
    # The command starts without MMSegmentation, and says for which rows it is missing.
    (tmp_path / 'mmseg.py').write_text("raise ModuleNotFoundError('No module named mmseg')")
    code = (
        'import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import torch\n'
        'from benchmarks import gpu\n'
        "try: gpu.training_step(torch.device('cpu'), 1, True, True)\n"
        'except gpu.Missing as missing: print(missing)\n'
    )
    paths = os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / 'tools')))
    finished = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, 'PYTHONPATH': paths},
    )  # fmt: skip
    assert finished.stdout == 'MMSegmentation is needed, and there is none: No module named mmseg\n', finished.stderr
