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
