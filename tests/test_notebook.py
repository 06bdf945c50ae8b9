"""The notebook of the documents: it runs from top to bottom, and its pictures show something."""

import base64
import io
import json
import os
import shutil
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import ROOT
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = ROOT / 'docs/tour.ipynb'


def pictures(notebook):
    """Every picture of a notebook's outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    for output in outputs:
        for kind in {'image/png', 'image/jpeg'} & set(output.get('data', {})):
            yield Image.open(io.BytesIO(base64.b64decode(output.data[kind]))).convert('RGB')


def test_the_stored_notebook_is_valid_whole_and_small():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))  # run once, in order
    assert not any(output.output_type in ('error', 'stderr') for cell in cells for output in cell.outputs)
    assert len(list(pictures(notebook))) >= 5
    text = NOTEBOOK.read_text()
    assert len(text) < 2_000_000
    assert '/home/' not in text and str(ROOT) not in text


@pytest.mark.long
def test_the_notebook_runs_and_shows_pictures(tmp_path, monkeypatch):
    """In a folder of its own that has what the checkout has."""
    checkout = tmp_path / 'checkout'
    for name in ('tools', 'mmseg_configs', 'stage1_sam_cache', 'stage2_distill'):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).symlink_to(ROOT / name)
    (checkout / 'docs').mkdir()
    shutil.copy(NOTEBOOK, checkout / 'docs')
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    kernel = tmp_path / 'kernels/this'
    kernel.mkdir(parents=True)
    command = [sys.executable, '-m', 'ipykernel_launcher', '-f', '{connection_file}']
    (kernel / 'kernel.json').write_text(json.dumps({'argv': command, 'display_name': 'this', 'language': 'python'}))
    monkeypatch.setenv('JUPYTER_PATH', str(tmp_path))
    notebook = nbformat.read(checkout / 'docs/tour.ipynb', as_version=4)
    stored = len(list(pictures(notebook)))
    NotebookClient(
        notebook, timeout=1200, kernel_name='this', resources={'metadata': {'path': checkout / 'docs'}}
    ).execute()
    shown = [np.asarray(picture) for picture in pictures(notebook)]
    assert len(shown) == stored
    for picture in shown:
        assert (picture != 255).any(-1).mean() > 0.05  # no empty page
    assert (checkout / 'tour/work/report.html').is_file()
