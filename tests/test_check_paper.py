"""The paper's figures without training: what is measured on tiny ToyPASS, what differs, and what is told as missing."""

import io
import json
import re
import shutil
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmseg.registry import MODELS
from PIL import Image
from test_source_training import complaint, load_tool

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.system import weight_sources
from stage2_distill.checkpoints.hub_folder import save_hub_folder
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint
from stage2_distill.commands.paper.figures import NETWORKS, SCORES, Figure, Row, all_rows, figures_of
from stage2_distill.commands.paper.report import Result, compare, make_records, print_table
from stage2_distill.commands.paper.weights import published_address
from stage2_distill.deployment.student import Student

SHIPPED = ROOT / 'stage2_distill/weights/segformer_b0.safetensors'
# All assistants become B0s, so that the small weights serve where the paper has a B5.
SMALL = ('--cfg-options', 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')
SMALL += ('model.teacher_assistant.backbone.embed_dims=32', 'model.teacher_assistant.backbone.num_layers=[2,2,2,2]')
SMALL += ('model.teacher_assistant.decode_head.in_channels=[32,64,160,256]',)
ONE_PASS = ('student_b0', 'whole_b0', 'tile_b0', 'slide_b0', 'ctcf_b0')
MORE = ('ssa_b0', 'sepl_b0', 'window_512', 'window_128')


@pytest.fixture(autouse=True)
def _no_folder_of_weights(monkeypatch):
    monkeypatch.setenv(weight_sources.FOLDER, '')  # which --weights-dir sets, and which is set back afterwards


def run(*words, status=0, options=SMALL):
    """The tool's ``main`` in this process; returns what it prints."""
    with redirect_stdout(io.StringIO()) as text:
        assert load_tool('check_paper').main([*map(str, words), *options]) == status
    return text.getvalue()


def line_of(text, start):
    """The only line that begins so."""
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line


@pytest.fixture(scope='module')
def check(tiny_toypass, tiny_caches, tmp_path_factory):
    """Runs the tool on tiny ToyPASS; returns the records by row and what was printed."""
    work = tmp_path_factory.mktemp('check_paper')
    for size in (0, 5):
        shutil.copy(SHIPPED, work / f'segformer_b{size}.safetensors')

    def check(*rows, **changed):
        given = {'data_root': tiny_toypass[0], 'cache': tiny_caches['val'], 'weights': work, 'work_dir': work}
        given |= {'json': work / 'rows.json', 'limit': 1, **changed}
        flags = [word for name, value in given.items() for word in (f'--{name.replace("_", "-")}', value)]
        text = run('--dataset', 'toypass', *flags, '--rows', *rows)
        return {record['row']: record for record in json.loads((work / 'rows.json').read_text())['rows']}, text

    return check


@pytest.fixture(scope='module')
def measured(check):
    return check('params_b0', *ONE_PASS, *MORE)


def test_every_row_is_measured_without_training(measured, tiny_toypass):
    records, text = measured
    ours = {name: record['ours'] for name, record in records.items()}
    assert set(ours) == {'params_b0', *ONE_PASS, *MORE}
    assert None not in ours.values()
    assert ours['params_b0'] == pytest.approx(3.72, abs=0.01)
    # The same weights on the same pixels, by different ways through the tool.
    assert ours['student_b0'] == ours['whole_b0']
    assert ours['tile_b0'] == ours['window_512']
    assert len({ours[name] for name in (*ONE_PASS[1:], *MORE)}) == 7  # all others differ
    assert ours['student_b0'] == pytest.approx(score_by_hand(tiny_toypass[0] / 'target', 1), abs=0.01)
    assert records['ctcf_b0']['scores']['IoU.road'] > 0
    # The paper says nothing about ToyPASS, but a network's size is no matter of data.
    assert [name for name, record in records.items() if record['paper'] is not None] == ['params_b0']
    assert '| params_b0 | SegFormer-B0, millions of parameters | 3.7 | 3.72 | +0.02 | Table 1, GoodSAM-M |' in text
    assert f'| ctcf_b0 | CTCF of assistant B0 | - | {ours["ctcf_b0"]:.2f} | - | - |' in text
    assert 'note: scored on the first 1 of 4 images' in text
    assert 'by felzenszwalb: not SAM, so not the fusion that the paper measured' in text
    assert 'not run' not in text


def score_by_hand(target, images):
    """mIoU of the student on whole panoramas, from one confusion matrix; classes that are nowhere don't count."""
    student = Student.load(str(ROOT / 'mmseg_configs/goodsam_b0_toypass.py'), str(SHIPPED))
    counts = np.zeros((19, 19), np.int64)
    for image in sorted((target / 'leftImg8bit/val').rglob('*.png'))[:images]:
        label = target / 'gtFine/val' / image.parent.name / f'{image.stem}_labelTrainIds.png'
        true, found = np.asarray(Image.open(label)), student.label(np.asarray(Image.open(image).convert('RGB')))
        np.add.at(counts, (true[true < 19], found[true < 19]), 1)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    return 100 * np.mean(counts.diagonal()[union > 0] / union[union > 0])


@pytest.mark.long
def test_the_input_scale_is_the_assistants_and_is_noted(measured, check):
    before, (after, text) = measured[0], check('student_b0', 'whole_b0', input_scale=2)
    assert after['student_b0']['ours'] == before['student_b0']['ours']
    assert after['whole_b0']['ours'] != before['whole_b0']['ours']
    assert 'note: what the assistant sees is enlarged by 2' in text


def test_made_up_figures_differ_and_are_listed(measured, check, monkeypatch):
    value = measured[0]['student_b0']['ours']
    figures = {'params_b0': 3.6, 'params_b1': 13.7, 'student_b0': value + 1.01, 'whole_b0': value - 1}
    monkeypatch.setitem(SCORES, 'toypass', {name: Figure(figure, 'made up') for name, figure in figures.items()})
    records, text = check(*figures)
    assert {name: record['differs'] for name, record in records.items()} == {
        'params_b0': True, 'params_b1': False, 'student_b0': True, 'whole_b0': False
    }  # fmt: skip
    assert records['student_b0']['difference'] == -1.01
    assert f'| student B0, whole panoramas | {value + 1.01:.2f} | {value:.2f} | -1.01 | made up |' in text
    assert '\n2 of 4 differ from the paper by more than 1 point, ' in text
    assert '\n- params_b0 +0.12\n- student_b0 -1.01\n' in text


@pytest.mark.parametrize(
    ('predictor', 'ours', 'paper', 'expected'),
    [
        ('student', 54.86, 53.86, (1.0, False)),  # one point is not more than one
        ('student', 52.85, 53.86, (-1.01, True)),
        (None, 3.75, 3.7, (0.05, False)),
        (None, 13.68, 14.0, (-0.32, True)),
        ('student', None, 53.86, (None, None)),
        ('student', 53.86, None, (None, None)),
    ],
)
def test_differences(predictor, ours, paper, expected):
    assert compare(Row('a_b0', 'a', 0, 'a.py', predictor), ours, paper) == expected


def test_a_class_that_is_nowhere_is_null_and_what_was_not_reached_is_said(capsys):
    rows = [Row('tile_b0', 'a', 0, 'a.py', 'ta_tile'), Row('tile_b1', 'b', 1, 'b.py', 'ta_tile')]
    records = make_records(rows, {'tile_b0': Result(30.0, {'IoU.train': float('nan')})}, {})
    assert records[0]['scores'] == {'IoU.train': None}
    print_table(records)
    assert 'not run: tile_b1: stopped before it was measured' in capsys.readouterr().out


# --- what is missing ---


def test_what_is_missing_is_told_in_one_line_a_cause_and_the_rest_runs(check, tmp_path):
    shutil.copy(SHIPPED, tmp_path)
    (tmp_path / 'segformer_b5.safetensors').write_bytes(b'no weights')
    rows = ('student_b0', 'ctcf_b0', 'sepl_b0', 'whole_b1', 'tile_b1', 'whole_b5')
    records, text = check(*rows, weights=tmp_path, cache=tmp_path / 'none')
    assert [name for name, record in records.items() if record['ours'] is not None] == ['student_b0']
    masks = line_of(text, f'not run: sepl_b0, ctcf_b0: {tmp_path}/none: no mask cache here; run tools/cache_sam.py ')
    assert '--split val' in masks
    assert '--window 100x128 --stride 64 --wrap' in masks
    train = line_of(text, f'not run: whole_b1, tile_b1: {tmp_path}/segformer_b1.safetensors does not exist; run ')
    assert 'tools/train.py mmseg_configs/source/segformer_b1_toypass.py --amp' in train
    line_of(text, f'not run: whole_b5: {tmp_path}/segformer_b5.safetensors: damaged')
    assert text.count('not run: ') == 3


def test_without_images_parameters_are_still_counted(check, tmp_path):
    records, text = check('params_b0', 'tile', 'window', data_root=tmp_path)
    assert [name for name, record in records.items() if record['ours'] is not None] == ['params_b0']
    line = line_of(text, 'not run: tile_b0, tile_b1, ')
    assert "toypass has no images of split 'val'" in line
    assert 'tools/make_toypass.py' in line


def test_weights_of_both_sources_are_looked_for_and_scored(tiny_toypass, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weight_sources, '_SAME', ())
    monkeypatch.setattr(weight_sources, '_fetch', lambda *_: 'no network')
    # ToyPASS lies as DensePASS does, so it can play its part.
    words = ('--data-root', tiny_toypass[0] / 'target', '--limit', 1, '--work-dir', tmp_path, '--rows', 'student_b0')
    name = published_address(0, 'openmmlab').rpartition('/')[2]
    missing = run(*words, '--weights-dir', tmp_path, status=1)
    assert 'none of the 1 rows could be measured' in capsys.readouterr().err
    line = line_of(missing, f'not run: student_b0: checkpoint {name} is not there')
    assert f'tried: {tmp_path}/{name} (no such file), ' in line
    assert f'/{name} (no network); fetch it elsewhere and put it at ' in line
    torch.save({'state_dict': check_checkpoint(str(SHIPPED))['state_dict']}, tmp_path / name)
    text = run(*words, '--weights-dir', tmp_path)
    row = r'\| student_b0 \| .* \| 15\.88 \| \d+\.\d\d \| [+-]\d+\.\d\d \| Table 3, rows 1 to 3 \|'
    assert re.search(row, text)
    # The same of NVIDIA's, in a folder as Hugging Face has it.
    weights = MODELS.build({'type': 'SegFormer', 'size': 'b0', 'layout': 'authors'}).state_dict()
    folder = tmp_path / published_address(0, 'nvidia').removeprefix('hf:')
    save_hub_folder(weights, LABEL_SPACES['cityscapes19'].classes, folder)
    theirs = run(*words, 'params_b2', '--source', 'nvidia', '--weights', tmp_path, options=SMALL[:3])
    assert re.search(row, theirs)
    assert re.search(r'\| params_b2 \| .* \| 25\.4 \| 27\.36 \|', theirs)  # ours is 24.7
    assert 'note: SegFormers of nvidia, whose heads' in theirs


def test_mistakes_are_told(monkeypatch, capsys):
    for flags, message in (
        (('--rows', 'tile', 'tiles'), '--rows: there is no tiles'),
        (('--source', 'nvidia', '--dataset', 'toypass'), '--source nvidia is not for ToyPASS'),
        (('--source', 'nvidia', *SMALL), '--source nvidia takes the network from there, so --cfg-options model.teach'),
        (('--limit', '0'), '--limit has to be at least 1'),
        (('--input-scale', '0'), '--input-scale must be above 0'),
        (('--input-scale', 'nan'), '--input-scale must be above 0'),
        (('--input-scale', '0.001'), '--input-scale must be above 0'),
    ):
        assert complaint('check_paper', monkeypatch, *flags) == '2'
        assert message in capsys.readouterr().err
    changed = complaint('check_paper', monkeypatch, '--rows', 'params_b0', '--cfg-options', 'model.student.a.b.c=1')
    assert 'cannot be used' in changed or 'cannot be built' in changed


# --- the figures ---


def test_every_figure_of_the_paper_belongs_to_a_row_and_stands_in_the_guide():
    names = {row.name for row in all_rows()}
    guide = (ROOT / 'docs/reproduce.md').read_text(encoding='utf-8')
    for dataset in SCORES:
        for name, figure in figures_of(dataset).items():
            assert name in names
            assert f' {figure.value:.{1 if name.startswith("params") else 2}f} ' in guide, name
    assert all((ROOT / 'mmseg_configs' / row.config).is_file() for row in all_rows())


def test_fusion_is_reported_of_every_assistant():
    figures = figures_of('densepass')
    for group in ('ssa', 'ctcf'):
        scores = [figures[f'{group}_b{size}'].value for size in NETWORKS]
        assert scores == sorted(scores)
    assert not any(name.startswith('sepl') for name in figures)
