"""The documents: their Python runs, their links lead somewhere, and the flags they name exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

TOPS = ('docs', 'mmseg_configs', 'stage1_sam_cache', 'stage2_distill', 'tests', 'tools')
DOCUMENTS = sorted([*ROOT.glob('*.md'), *(file for top in TOPS for file in (ROOT / top).rglob('*.md'))])
NAMES = [file.relative_to(ROOT).as_posix() for file in DOCUMENTS]
every_document = pytest.mark.parametrize('document', DOCUMENTS, ids=NAMES)

# Other names under which a tool's flags are documented.
SAME_FLAGS = {
    'slurm_cache.sh': 'cache_sam.py',
    'slurm_train.sh': 'train.py',
    'dist_train.sh': 'train.py',
    'goodsam-cache': 'cache_sam.py',
    'goodsam-inspect': 'inspect_cache.py',
    'goodsam-browse-dataset': 'browse_dataset.py',
    'goodsam-level': 'level_panoramas.py',
    'goodsam-adapt': 'adapt_sam.py',
    'goodsam-train': 'train.py',
    'goodsam-test': 'test.py',
    'goodsam-predict': 'predict.py',
    'goodsam-export': 'export_student.py',
    'goodsam-browse-labels': 'browse_pseudo_labels.py',
    'goodsam-export-labels': 'export_labels.py',
    'goodsam-report': 'report.py',
    'goodsam-judge': 'judge_unlabelled.py',
    'goodsam-check-paper': 'check_paper.py',
    'goodsam-convert': 'convert_weights.py',
}
SUBCOMMANDS = {'inspect_cache.py': ('status', 'verify', 'repair', 'stats', 'quality', 'show', 'export')}
COMMAND = re.compile(r'(?<![\w/.])(?:tools/)?(\w+\.(?:py|sh)|goodsam-[a-z-]+)(?![\w.])')
FLAG = re.compile(r'(?<![\w-])--[a-z][a-z0-9-]*')


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


def without_code(text: str) -> str:
    return re.sub(r'`[^`\n]*`', '', re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL))


def links(text: str) -> Iterator[str]:
    """Targets of all links and pictures that are not addresses."""
    plain = without_code(text)
    targets = re.findall(r'\]\(([^)\s]+)\)', plain) + re.findall(r'^\[[^\]]+\]: (\S+)', plain, re.MULTILINE)
    yield from (target for target in targets if not re.match(r'[a-z]+:', target))


def commands(text: str) -> Iterator[str]:
    """Every command that a document names: lines of shell blocks, and code within the text."""
    for block in re.findall(r'^```sh\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
        for line in block.replace('\\\n', ' ').splitlines():
            yield line.split(' #')[0]
    outside = re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r'`([^`]+)`', outside):
        yield code.replace('\n', ' ')


def named_flags(text: str) -> Iterator[tuple[str, str, str]]:
    """``(tool, subcommand, flag)`` of every flag that a document gives a tool; the subcommand may be empty."""
    for command in commands(text):
        calls = list(COMMAND.finditer(command))
        ends = [call.start() for call in calls[1:]] + [len(command)]
        for call, end in zip(calls, ends[: len(calls)], strict=True):
            tool = SAME_FLAGS.get(call[1], call[1])
            if not (ROOT / 'tools' / tool).is_file():
                continue
            arguments = command[call.end() : end]
            words = arguments.split()
            subcommand = words[0] if words and words[0] in SUBCOMMANDS.get(tool, ()) else ''
            for flag in FLAG.findall(arguments):
                yield tool, subcommand, flag


@pytest.fixture(scope='session')
def help_of(run_tool) -> Callable[[str, str], str]:
    @cache
    def read(tool: str, subcommand: str) -> str:
        finished = run_tool(tool, *filter(None, [subcommand]), '--help')
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return read


def test_the_readme_fits_a_page():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 150


@every_document
def test_no_line_is_wider_than_120_columns(document):
    wide = [number for number, line in enumerate(document.read_text().splitlines(), 1) if len(line) > 120]
    assert not wide, f'{document}: lines {wide}'


@every_document
def test_every_relative_link_leads_to_a_file_and_a_heading(document):
    missing = []
    for target in links(document.read_text()):
        path, _, anchor = target.partition('#')
        file = (document.parent / path).resolve() if path else document
        if not file.exists():
            missing.append(target)
        elif anchor:
            headings = re.findall(r'^#+ (.+)$', file.read_text(), re.MULTILINE)
            if anchor not in map(slug, headings):
                missing.append(target)
    assert not missing


def test_every_flag_that_the_documents_name_exists(help_of):
    named = {
        (name, *flag) for name, file in zip(NAMES, DOCUMENTS, strict=True) for flag in named_flags(file.read_text())
    }
    assert len(named) > 50
    unknown = [
        (name, tool, flag)
        for name, tool, subcommand, flag in sorted(named)
        if not re.search(rf'(?<![\w-]){flag}(?![\w-])', help_of(tool, subcommand))
    ]
    assert not unknown


def test_every_command_that_the_documents_name_exists():
    unknown = []
    for name, file in zip(NAMES, DOCUMENTS, strict=True):
        for command in commands(file.read_text()):
            paths = re.findall(r'(?<![\w/.-])(?:tools|mmseg_configs)/[\w/.-]+\.(?:py|sh)\b', command)
            unknown += [(name, path) for path in paths if not (ROOT / path).is_file()]
            scripts = re.findall(r'\bgoodsam-[a-z-]+\b', command)
            unknown += [(name, script) for script in scripts if script not in SAME_FLAGS]
    assert not unknown


def test_every_row_of_the_file_map_names_files():
    text = (ROOT / 'README.md').read_text()
    start = text.index('## The method, file by file')
    assert text[:start].count('\n') < 60
    rows = [line for line in text[start : text.index('\n## ', start)].splitlines() if line.startswith('|')][2:]
    assert len(rows) >= 12
    for row in rows:
        named = list(links(row))
        assert named, row
        assert all((ROOT / path).exists() for path in named), row


# --- the examples ---


@pytest.fixture
def readme(tmp_path, image_folder, run_tool) -> None:
    """What README.md says exists: a cache of DensePASS."""
    images = image_folder('Amsterdam/1', size=(400, 2048))
    quick = ('--generator', 'felzenszwalb', '--scales', '300', '--overlap-source', 'window')
    run_tool('cache_sam.py', '--images', images, *quick, '--out', tmp_path / 'cache/densepass').check_returncode()


@pytest.fixture
def api(tmp_path, image_folder, run_tool) -> None:
    """What docs/api.md says exists: its cache, its image, and a training run's checkpoint (of random weights)."""
    images = image_folder('street/1', 'street/2')
    quick = ('--generator', 'felzenszwalb', '--window', '40x64', '--stride', '32')
    run_tool('cache_sam.py', '--images', images, *quick, '--out', tmp_path / 'cache/streets').check_returncode()
    (tmp_path / 'street.png').write_bytes((images / 'street/1.png').read_bytes())
    (tmp_path / 'mmseg_configs').symlink_to(ROOT / 'mmseg_configs')
    student = Config.fromfile(ROOT / 'mmseg_configs/goodsam_b0.py').model.student
    init_default_scope('mmseg')
    weights = MODELS.build({**student, 'init_cfg': None}).state_dict()
    checkpoint = tmp_path / 'work_dirs/goodsam_b0/iter_40000.pth'
    checkpoint.parent.mkdir(parents=True)
    torch.save({'state_dict': {f'student.{name}': value for name, value in weights.items()}}, checkpoint)


def value_in_comment(line: str) -> tuple[str, Any] | None:
    """An expression and the value that the comment behind it states, where there is both."""
    code, sign, comment = line.partition('  # ')
    try:
        ast.parse(code, mode='eval')
        return (code, ast.literal_eval(comment)) if sign else None
    except (SyntaxError, ValueError):
        return None


def run_examples(document: Path, namespace: dict[str, Any]) -> int:
    """Runs a document's Python, and compares expressions with the values in the comments behind them."""
    text, compared = document.read_text(), 0
    for block in re.finditer(r'^```python\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
        first = text[: block.start(1)].count('\n')
        exec(compile('\n' * first + block[1], str(document), 'exec'), namespace)
        for number, line in enumerate(block[1].splitlines(), first + 1):
            stated = value_in_comment(line)
            if stated is not None:
                assert eval(stated[0], namespace) == stated[1], f'{document}, line {number}'
                compared += 1
    return compared


@pytest.mark.usefixtures('readme')
def test_the_python_in_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    assert run_examples(ROOT / 'README.md', namespace) == 1
    assert namespace['labels'].shape == namespace['weight'].shape == (400, 512)


@pytest.mark.usefixtures('api')
def test_the_python_in_the_api_document_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    assert run_examples(ROOT / 'docs/api.md', namespace) >= 20
    for name in ('eq1', 'eq2', 'eq4', 'eq5', 'eq6', 'eq7'):
        assert namespace[name].dtype == torch.float32
        assert torch.isfinite(namespace[name])
    assert namespace['student'].grad.abs().sum() > 0


# --- metadata ---


def test_the_citation_has_the_keys_of_its_format():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert {'cff-version', 'message', 'title', 'authors', 'type', 'version', 'license'} <= set(citation)
    assert citation['cff-version'] == '1.2.0'
    assert citation['type'] == 'software'
    paper = citation['preferred-citation']
    assert {'type', 'title', 'authors', 'year', 'collection-title'} <= set(paper)
    assert [author['family-names'] for author in paper['authors']] == ['Zhang', 'Liu', 'Zheng', 'Wang']
    assert f'version = "{citation["version"]}"' in (ROOT / 'pyproject.toml').read_text()


def test_workflow_and_hooks_run_the_projects_own_commands():
    workflow = yaml.safe_load((ROOT / '.github/workflows/test.yml').read_text())
    steps = [step.get('run', '') for job in workflow['jobs'].values() for step in job['steps']]
    assert {'make test', 'make demo'} <= set(steps)
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    names = {hook['id'] for repo in hooks['repos'] for hook in repo['hooks']}
    assert {'ruff-check', 'ruff-format', 'mypy'} <= names
