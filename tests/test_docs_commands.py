"""The commands of README.md and docs/*.md as they are printed: parsers take them, and a whole sequence runs.

What is not run here needs a GPU, SAM's weights, a download or hours; of these commands the parser takes the arguments.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from test_docs import SAME_FLAGS
from test_quick_answers import module_of
from test_source_training import load_tool

DOCUMENTS = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
# First words of commands that are not the project's.
FOREIGN = {'make', 'pip', 'conda', 'mkdir', 'ln', 'cd', 'for', 'do', 'done', 'export', 'git', 'python', 'source', 'cp'}


def commands_of(document: Path) -> list[list[str]]:
    """The words of every command in the shell blocks of a document, as a shell reads them."""
    blocks = re.findall(r'^```sh\n(.*?)^```', document.read_text(), re.MULTILINE | re.DOTALL)
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
model = dict(
    student=dict(init_cfg=dict(_delete_=True)),
    teacher_assistant=dict(
        backbone=dict(embed_dims=32, num_layers=[2, 2, 2, 2]),
        decode_head=dict(in_channels=[32, 64, 160, 256]),
        init_cfg=dict(_delete_=True),
    ),
)
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


def test_custom_panoramas_from_masks_to_labels_as_the_documents_print_it(scratch, run_tool):
    text = (ROOT / 'docs/usage.md').read_text()
    part = text[text.index('\n## Custom panoramas') : text.index('\n### From a folder of photographs')]
    (scratch / 'part.md').write_text(part)
    calls = [tool_call(words) for words in commands_of(scratch / 'part.md')]
    by_sam, *rest = calls
    assert '--generator' not in by_sam[1]  # needs SAM's weights
    assert [tool for tool, _ in rest] == ['cache_sam.py', 'inspect_cache.py', 'train.py', 'predict.py']
    for tool, arguments in rest:
        if tool == 'predict.py':  # the run was 1 iteration long, not 40000
            work = scratch / 'work_dirs/goodsam_b0_own'
            shutil.copy(work / 'iter_1.pth', work / 'iter_40000.pth')
        finished = run_tool(tool, *arguments, cwd=scratch)
        assert finished.returncode == 0, f'{tool} {arguments}\n{finished.stdout[-1000:]}\n{finished.stderr[-3000:]}'
        assert 'Could not import' not in finished.stdout + finished.stderr
        assert 'UserWarning' not in finished.stderr, finished.stderr
    assert (scratch / 'street_7.png').is_file()
    for image in ('street_7', 'street_8'):
        with Image.open(scratch / f'predictions/labels/{image}.png') as labels:
            assert labels.size == (768, 400)


def test_every_tool_of_the_documents_is_known():
    tools = {call[0] for document in DOCUMENTS for words in commands_of(document) if (call := tool_call(words))}
    assert {'cache_sam.py', 'train.py', 'test.py', 'predict.py', 'export_student.py', 'inspect_cache.py'} <= tools
    assert all(module_of(tool) for tool in tools)
