"""The commands of README.md and docs/*.md as they are printed: parsers take all, and two sequences of usage.md run.

What is not run here needs a GPU, SAM's weights, a download or hours; of these commands the parser takes the arguments.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from test_docs import SAME_FLAGS
from test_quick_answers import module_of
from test_source_training import load_tool

DOCUMENTS = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
# First words of commands that are not the project's.
FOREIGN = {
    'make',
    'pip',
    'conda',
    'docker',
    'mkdir',
    'ln',
    'cd',
    'for',
    'do',
    'done',
    'export',
    'git',
    'python',
    'source',
    'cp',
}


def commands_of(document: Path) -> list[list[str]]:
    """The words of every command in the shell blocks of a document."""
    return shell_commands(document.read_text())


def shell_commands(text: str) -> list[list[str]]:
    """The words of every command in shell blocks, as a shell reads them."""
    blocks = re.findall(r'^```sh\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    # In a loop, a variable stands for a number; what a loop does is a command of its own.
    lines = [re.sub(r'\$\{?\w+\}?', '1', part) for line in lines for part in re.split(r'; (?:do|done)\b|;$', line)]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def tool_call(words: list[str]) -> tuple[str, list[str]] | None:
    """The tool and its arguments in a command, behind launchers and their flags; None in one of other programs."""
    for place, word in enumerate(words):
        name = word.rpartition('/')[2]
        tool = SAME_FLAGS.get(name, name)
        if word.startswith(('tools/', 'goodsam-')) and (ROOT / 'tools' / tool).is_file():
            arguments = [argument.rstrip(';') for argument in words[place + 1 :]]
            if name == 'dist_train.sh':  # CONFIG GPUS [flags of train.py]
                assert arguments[1].isdecimal()
                del arguments[1]
            return tool, arguments
    return None


@pytest.mark.parametrize('document', DOCUMENTS, ids=[file.name for file in DOCUMENTS])
def test_parsers_take_every_command_of_the_documents(document):
    for words in commands_of(document):
        call = tool_call(words)
        if call is None:
            assert words[0] in FOREIGN or '=' in words[0], words
            continue
        tool, arguments = call
        module = load_tool(tool.removesuffix('.py'))
        described = tool == 'cache_sam.py'
        parser = module.build_parser(module.__doc__) if described else module.build_parser()
        try:
            args = parser.parse_args(arguments)
        except SystemExit:
            pytest.fail(f'{document.name}: {shlex.join(words)}')
        config = getattr(args, 'config', None)
        if config and config.startswith('mmseg_configs/'):
            assert (ROOT / config).is_file(), words


OVERLAY = """
_base_ = '{base}'
# Sizes that train in seconds, from random weights.
narrow = dict(
    backbone=dict(embed_dims=8, num_layers=[1, 1, 1, 1]),
    decode_head=dict(in_channels=[8, 16, 40, 64], channels=32),
    init_cfg=dict(_delete_=True),
)
model = dict(student=narrow, teacher_assistant=narrow)
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=1)
"""


@pytest.fixture
def scratch(tmp_path: Path, picture) -> Path:
    """A folder as the documents assume it, with two panoramas and a small copy of the config."""
    (tmp_path / 'tools').symlink_to(ROOT / 'tools')
    (tmp_path / 'mmseg_configs').mkdir()
    name = 'mmseg_configs/goodsam_b0_own.py'
    (tmp_path / name).write_text(OVERLAY.format(base=ROOT / name))
    (tmp_path / 'my_panoramas').mkdir()
    for seed, image in enumerate(('street_7', 'street_8')):
        Image.fromarray(np.ascontiguousarray(picture(400, 768, seed))).save(tmp_path / f'my_panoramas/{image}.png')
    return tmp_path


# Commands of the sections below that are not run, and why.
NOT_RUN = {
    'torchrun': 'starts several processes; test_predict.py has shards',
    '--dry-run': "needs SAM's weights",
    '--dataset wildpass': 'the same as with DensePASS, with other images',
    'cache_sam.py --dataset densepass --split val': "needs SAM's weights",
    '--push': 'test_model_card.py pushes to a stub of the hub',
}


def section(title: str, end: str) -> list[list[str]]:
    """The commands of docs/usage.md from one heading to another that can be run here."""
    text = (ROOT / 'docs/usage.md').read_text()
    blocks = text[text.index(f'# {title}\n') : text.index(f'# {end}\n')]
    return [words for words in shell_commands(blocks) if not any(part in shlex.join(words) for part in NOT_RUN)]


def run_all(commands: list[list[str]], scratch: Path, run_tool) -> list[str]:
    """Run commands one after the other; return the last lines that they print."""
    last = []
    for words in commands:
        call = tool_call(words)
        assert call is not None, words
        finished = run_tool(call[0], *call[1], cwd=scratch)
        assert finished.returncode == 0, f'{words}\n{finished.stdout[-1000:]}\n{finished.stderr[-3000:]}'
        assert 'UserWarning' not in finished.stderr, finished.stderr
        last.append((finished.stdout.strip().splitlines() or [''])[-1])
    return last


def test_custom_panoramas_from_masks_to_scores_as_the_documents_print_it(scratch, run_tool):
    by_sam, *rest = section('Custom panoramas', 'From a folder of photographs and any network to a student')
    assert '--generator' not in by_sam  # needs SAM's weights
    *making, predicting = [[*by_sam, '--generator', 'felzenszwalb'], *rest]
    assert [tool_call(words)[0] for words in rest] == ['inspect_cache.py', 'train.py', 'predict.py']
    run_all(making, scratch, run_tool)
    work = scratch / 'work_dirs/goodsam_b0_own'
    shutil.copy(work / 'iter_1.pth', work / 'iter_40000.pth')  # the run was 1 iteration long, not 40000
    run_all([predicting], scratch, run_tool)
    assert (scratch / 'street_7.png').is_file()
    for image in ('street_7', 'street_8'):
        with Image.open(scratch / f'predictions/labels/{image}.png') as labels:
            assert labels.size == (768, 400)
    (scratch / 'my_labels').mkdir()
    ids = np.random.default_rng(0).integers(0, 3, (400, 768), dtype=np.uint8)
    Image.fromarray(ids).save(scratch / 'my_labels/street_7.png')
    (scratch / 'my_ids.json').write_text('{"0": "ignore", "1": "road", "2": "car"}')
    scoring = section('Own labels', "The paper's figures")
    assert len(scoring) == 2
    for line in run_all(scoring, scratch, run_tool):
        assert line == '1 of 2 images scored; skipped: 1 (no label: street_8)'


def test_densepass_from_a_cache_to_an_exported_student_as_the_documents_print_it(scratch, run_tool, picture):
    name = 'mmseg_configs/goodsam_b0.py'
    more = "expected_cache = dict(generator=dict(name='felzenszwalb'))\n"
    more += ''.join(f'{part}_dataloader = dict(num_workers=0, persistent_workers=False)\n' for part in ('val', 'test'))
    (scratch / name).write_text(OVERLAY.format(base=ROOT / name) + more)
    data = scratch / 'data/DensePASS'
    for file in ('leftImg8bit/train/Amsterdam/1.png', 'leftImg8bit/val/cs/1.png'):
        (data / file).parent.mkdir(parents=True)
        Image.fromarray(np.ascontiguousarray(picture(400, 768, len(file)))).save(data / file)
    (data / 'gtFine/val/cs').mkdir(parents=True)
    Image.fromarray(np.ones((400, 768), np.uint8)).save(data / 'gtFine/val/cs/1_labelTrainIds.png')
    for split in ('train', 'val'):
        felzenszwalb = ['tools/cache_sam.py', '--dataset', 'densepass', '--split', split]
        run_all([[*felzenszwalb, '--generator', 'felzenszwalb', '--scales', '200']], scratch, run_tool)
    training = section('Stage 2: training', 'When labels drift')[0]
    commands = [*section('Inspecting a cache', 'Stage 2: training'), training]
    run_all(commands, scratch, run_tool)
    work = scratch / 'work_dirs/goodsam_b0'
    shutil.copy(work / 'iter_1.pth', work / 'iter_40000.pth')
    looking = [words for words in section('Stage 2: training', 'When labels drift') if 'browse' in words[0]]
    run_all(looking, scratch, run_tool)
    assert (scratch / 'look.png').is_file() and (scratch / 'labels.png').is_file()
    scores = run_all(section('Scoring', 'Own labels'), scratch, run_tool)
    assert scores == ['1 of 1 images scored'] * 2
    run_all(section('Using and exporting a student', 'Labelling images and videos'), scratch, run_tool)
    assert {'student.safetensors', 'student.py', 'student.onnx'} <= {file.name for file in scratch.iterdir()}
    for folder in ('other', 'photos/a'):
        (scratch / folder).mkdir(parents=True)
        Image.open(scratch / 'my_panoramas/street_7.png').save(scratch / folder / 'a.jpg')
    (scratch / 'list.txt').write_text('my_panoramas/street_8.png\n')  # named twice, labelled once
    video = cv2.VideoWriter(str(scratch / 'ride.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 5, (768, 400))
    for seed in range(2):
        video.write(np.ascontiguousarray(picture(400, 768, seed)))
    video.release()
    shutil.rmtree(scratch / 'predictions')
    run_all(section('Labelling images and videos', 'Initial weights'), scratch, run_tool)
    made = {
        str(file.relative_to(scratch / 'predictions/labels')) for file in scratch.glob('predictions/labels/**/*.png')
    }
    assert {'my_panoramas/street_7.png', 'photos/a/a.png', 'ride.mp4/000000.png', 'ride.mp4/000001.png'} <= made


def test_every_tool_of_the_documents_is_known():
    tools = {call[0] for document in DOCUMENTS for words in commands_of(document) if (call := tool_call(words))}
    assert {'cache_sam.py', 'train.py', 'test.py', 'predict.py', 'export_student.py', 'inspect_cache.py'} <= tools
    assert all(module_of(tool) for tool in tools)
