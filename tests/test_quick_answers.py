"""Every tool answers --help and wrong flags at once: its parser needs neither PyTorch nor MMSegmentation."""

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

TOOLS = sorted(path.name for path in (ROOT / 'tools').glob('*.py'))

# In one process, where large libraries can't be imported: what each tool answers to --help and to a wrong flag.
ASKS = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module

LARGE = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmseg', 'segment_anything')

class Refuse:
    def find_spec(name, path=None, target=None):
        if name.split('.')[0] in LARGE:
            raise ModuleNotFoundError(f'{name} is imported')

sys.meta_path.insert(0, Refuse)
sys.path.insert(0, sys.argv[1])
answers = {}
for tool, module in json.loads(sys.argv[2]).items():
    sys.argv[0] = tool
    answers[tool] = []
    for flag in ('--help', '--no-such-flag'):
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            try:
                status = import_module(module).main([flag])
            except SystemExit as end:
                status = end.code
            except ModuleNotFoundError as imported:
                status = str(imported)
        answers[tool].append((status, out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""


def module_of(tool):
    """The module that a script hands its arguments to; it does nothing else."""
    (module,) = re.findall(r"^    run\('(.+)'\)$", (ROOT / 'tools' / tool).read_text(), re.M)
    return module


@pytest.fixture(scope='module')
def answers():
    modules = {tool: module_of(tool) for tool in TOOLS}
    command = [sys.executable, '-c', ASKS, str(ROOT / 'tools'), json.dumps(modules)]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


@pytest.mark.parametrize('tool', TOOLS)
def test_help_and_wrong_flags_are_answered_without_large_imports(answers, tool):
    helped, refused = answers[tool]
    assert helped[0] == 0 and helped[1].startswith(f'usage: {tool} ') and helped[2] == ''
    assert refused[0] == 2 and refused[1] == '' and len(refused[2].splitlines()) == 1


STARTS = """
import sys
missing = sys.argv[1]
class Missing:
    def find_spec(name, path=None, target=None):
        if name.split('.')[0] == missing:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
if missing:
    sys.meta_path.insert(0, Missing)
from stage1_sam_cache.commands import entry
command, sys.argv = sys.argv[2], ['goodsam-' + sys.argv[2], *sys.argv[3:]]
getattr(entry, command)() if hasattr(entry, command) else entry.run(command)
"""


def start(missing, *words, **options):
    """Start a console command where a package is missing; or any module, by its name."""
    command = [sys.executable, '-c', STARTS, missing, *map(str, words)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize(
    ('missing', 'words'),
    [
        ('numpy', ('inspect', 'status', 'cache')),
        ('PIL', ('predict', 'x', 'y', '--images', ROOT)),
        ('mmseg', ('train', 'x.py')),
    ],
)
def test_a_missing_library_is_one_line_that_says_what_to_do(missing, words):
    finished = start(missing, *words)
    line = f"error: No module named '{missing}'; run `make venv` and `source .venv/bin/activate` first\n"
    assert (finished.returncode, finished.stderr) == (1, line)


def test_an_interrupt_while_modules_are_imported_is_one_word(tmp_path, monkeypatch):
    (tmp_path / 'slow_imports.py').write_text('raise KeyboardInterrupt\n')
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}:{ROOT}')
    finished = start('', 'slow_imports')
    assert (finished.returncode, finished.stderr) == (130, 'interrupted\n')


def test_help_that_cannot_be_written_is_no_traceback():
    with open('/dev/full', 'w') as full:  # noqa: PTH123
        finished = start('', 'train', '--help', stdout=full)
    assert (finished.returncode, len(finished.stderr.splitlines())) == (1, 1)
    assert finished.stderr.startswith('error: ') and 'No space left' in finished.stderr
    with subprocess.Popen(['true'], stdin=subprocess.PIPE) as reader:
        reader.wait()
        finished = start('', 'train', '--help', stdout=reader.stdin)
        assert (finished.returncode, finished.stderr) == (1, '')
