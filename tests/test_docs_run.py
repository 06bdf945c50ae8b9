"""Every command of README.md and docs/*.md runs as it is printed, block by block, on tiny data with tiny networks."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import document_world as world
import pytest
from conftest import made_once
from test_docs_commands import DOCUMENTS, shell_commands

# Commands that are not run, by how they begin, and why.
NOT_RUN = {
    'make demo': 'a quarter of an hour; the workflow of .github runs it',
    'make test': 'runs ruff, mypy and the short tests',
    'make faults': 'runs this test',
    'conda env create': 'downloads an environment of several GB',
    'conda activate': 'needs that environment',
    'make sam2': 'installs SAM 2, as make test does',
    'SAM2_BUILD_CUDA=0 pip install': 'the same',
    'tools/run_ablation.py': 'hours, with the smallest networks too; test_run_ablation.py makes tables of a few rows',
    'docker': 'needs an engine; the workflow of .github builds the image, test_dockerfile.py reads its file',
    'pip install': 'test_package.py installs the project from a wheel',
    'tools/export_student.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/iter_40000.pth --push': (
        'test_model_card.py pushes to a stub of the hub'
    ),
}
# The Python of the others is run by test_docs.py.
WITH_PYTHON = {'usage.md'}

# What stands in the folder before a document's first block (key without a heading), or is done before the first block
# below a heading: functions of document_world, and commands that the text asks for there.
DENSEPASS = ('data', world.densepass), ('data', world.densepass_train)
CACHED_OWN = """
tools/cache_sam.py --images my_panoramas --generator felzenszwalb
tools/train.py mmseg_configs/goodsam_b0_own.py --cfg-options train_dataloader.dataset.images=my_panoramas \\
    train_dataloader.dataset.cache=cache/my_panoramas
"""
MASKS_OF_OTHERS = """
tools/cache_sam.py --images my_panoramas --generator felzenszwalb --out cache/others
tools/inspect_cache.py export cache/others --out masks --format sa1b --merged
"""
BEFORE: dict[str, dict[str, tuple]] = {
    'README.md': {'': (*DENSEPASS, ('', world.own_panoramas))},
    'ablations.md': {'': ('tools/make_toypass.py --out data/ToyPASS --preset demo',)},
    'api.md': {'': (('', lambda scratch: world.panoramas(scratch / 'streets', 'street/1.png', (40, 160))),)},
    'exchange.md': {
        '': (('', world.own_panoramas), MASKS_OF_OTHERS),
        'Label files': (
            *DENSEPASS,
            'tools/cache_sam.py --dataset densepass',
            'tools/train.py mmseg_configs/goodsam_b0.py',
        ),
    },
    'omnisam.md': {
        '': (('', world.for_omnisam),),
    },
    'reproduce.md': {
        '': (('data', world.densepass), ('data', world.wildpass)),
        '3. What needs no training': ('tools/make_toypass.py --out data/ToyPASS --preset demo',),
        'Scoring': ('tools/train.py mmseg_configs/goodsam_b0_wildpass.py',),
    },
    'usage.md': {
        '': (*DENSEPASS, ('data', world.wildpass), ('data', world.cityscapes), ('', world.own_panoramas)),
        'Installation': ('tools/cache_sam.py --dataset densepass',),
        'Stage 1: masks': ('rm -r cache work_dirs checkpoints',),
        'Own labels': (CACHED_OWN,),
        'Custom panoramas': ('rm -r cache/my_panoramas work_dirs/goodsam_b0_own',),
        'From a folder of photographs and any network to a student': (
            'rm -r my_panoramas cache/my_panoramas predictions',
            ('', world.photographs),
        ),
        'A student elsewhere': (('', lambda scratch: world.panoramas(scratch, 'street.png')),),
        'Labelling images and videos': (('', world.other_inputs),),
        'SegFormers of Hugging Face and NVIDIA': ('tools/train.py mmseg_configs/goodsam_b0_nvidia.py',),
    },
    'wesam.md': {'': DENSEPASS},
}


class Block(NamedTuple):
    """A block of a document: the heading above it, its language, and its text."""

    heading: str
    language: str
    text: str


def blocks_of(document: Path) -> Iterator[Block]:
    """Blocks of shell commands, and of Python where this test runs it, in their order."""
    heading = ''
    pattern = r'^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<text>.*?)^```$'
    for match in re.finditer(pattern, document.read_text(), re.MULTILINE | re.DOTALL):
        heading = match['heading'] or heading
        if match['language'] == 'sh' or (match['language'] == 'python' and document.name in WITH_PYTHON):
            yield Block(heading, match['language'], match['text'])


def not_run(words: list[str]) -> str | None:
    """The entry of ``NOT_RUN`` that a command belongs to, if any."""
    return next((name for name in NOT_RUN if shlex.join(words).startswith(name)), None)


def runnable(text: str) -> str:
    """A shell block without the commands of ``NOT_RUN``."""
    lines = text.replace('\\\n', ' ').splitlines(keepends=True)
    return ''.join(line for line in lines if not any(not_run(words) for words in shell_commands(f'```sh\n{line}```')))


def run_shell(text: str, scratch: Path, environment: dict[str, str]) -> str:
    """Run commands as a shell does; return nothing, or the command that failed with what it printed."""
    trap = """trap 'echo "FAILED: $BASH_COMMAND" >&2' ERR\n"""
    finished = subprocess.run(
        ['bash', '-euc', trap + text], cwd=scratch, env=environment, capture_output=True, text=True, timeout=1800
    )
    return '' if finished.returncode == 0 else f'{text}\n{finished.stdout[-1500:]}\n{finished.stderr[-3000:]}'


def prepare(steps: tuple, scratch: Path, environment: dict[str, str]) -> str:
    for step in steps:
        if isinstance(step, str):
            failed = run_shell(step, scratch, environment)
            if failed:
                return failed
        else:
            step[1](scratch / step[0])
    return ''


@pytest.mark.long
@pytest.mark.parametrize('document', [file for file in DOCUMENTS if list(blocks_of(file))], ids=lambda file: file.name)
def test_every_block_of_a_document_runs_as_it_is_printed(document, tmp_path, tmp_path_factory, request):
    if document.name == 'omnisam.md':
        pytest.importorskip('sam2')
    begun, ran, failures = time.monotonic(), 0, []
    weights, _ = made_once(tmp_path_factory, 'tiny_weights', world.make_weights)
    environment = world.make_world(tmp_path, weights)
    before = dict(BEFORE.get(document.name, {}))
    with world.tool_server(environment) as server:
        world.make_tools(tmp_path, server)
        failures.append(prepare(before.pop('', ()), tmp_path, environment))
        for block in blocks_of(document):
            failures.append(prepare(before.pop(block.heading, ()), tmp_path, environment))
            text = runnable(block.text)
            if block.language == 'python':
                text = f'python - <<"END"\n{block.text}END\n'
            else:
                ran += len(shell_commands(f'```sh\n{text}```'))
            failures.append(run_shell(text, tmp_path, environment))
    assert not before, f'no block stands below {list(before)}'
    failures = [failure for failure in failures if failure]
    figures = ('documents, commands as printed', ran, len(failures), time.monotonic() - begun)
    request.node.user_properties.append(('faults', figures))
    assert not failures, '\n\n'.join(failures)


def test_every_command_of_the_documents_is_run_or_has_a_reason_not_to_be():
    ran, left_out = 0, set()
    for document in DOCUMENTS:
        commands = shell_commands(document.read_text())
        left_out |= {name for words in commands if (name := not_run(words))}
        blocks = [block for block in blocks_of(document) if block.language == 'sh']
        run = [words for block in blocks for words in shell_commands(f'```sh\n{runnable(block.text)}```')]
        assert run == [words for words in commands if not not_run(words)], document.name
        ran += len(run)
    assert left_out == NOT_RUN.keys()
    assert ran >= 90
