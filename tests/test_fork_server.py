"""The fork server of the tests: a command runs as Python would have started it, and leaves nothing behind."""

import json
import os
import signal

import pytest
from fork_server import LIBRARIES, ForkServer

SCRIPT = """
import atexit, json, os, sys
atexit.register(lambda: print('exit functions ran'))
print(json.dumps({
    'name': __name__, 'argv': sys.argv, 'cwd': os.getcwd(), 'path': sys.path[0], 'word': os.environ.get('WORD'),
    'leaked': hasattr(json, 'leaked'), 'preloaded': 'colorsys' in sys.modules, 'tty': sys.stdout.line_buffering,
}))
print('to the other stream', file=sys.stderr)
json.leaked = True
os.environ['WORD'] = 'leaked'
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(params=[False, True], ids=['full exit', 'quick exit'])
def server(request):
    server = ForkServer(('colorsys',), quick_exit=request.param)
    yield server
    server.stop()


def test_commands_run_as_python_starts_them_and_do_not_meet(server, tmp_path):
    script = tmp_path / 'folder' / 'script.py'
    script.parent.mkdir()
    script.write_text(SCRIPT)
    for status in (0, 3):
        finished = server.run([str(script), str(status)], env={**os.environ, 'WORD': str(status)}, cwd=tmp_path)
        assert finished.returncode == status
        assert finished.stderr == 'to the other stream\n'
        told, last = finished.stdout.splitlines()
        assert last == 'exit functions ran'
        assert json.loads(told) == {
            'name': '__main__',
            'argv': [str(script), str(status)],
            'cwd': str(tmp_path),
            'path': str(script.parent),
            'word': str(status),
            'leaked': False,
            'preloaded': True,
            'tty': False,
        }


def test_a_command_that_takes_too_long_is_ended_and_the_next_one_runs(server, tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import sys, time\nprint("begun", flush=True)\ntime.sleep(float(sys.argv[1]))')
    with pytest.raises(TimeoutError, match=r'(?s)took over 2 s\nbegun.*script\.py", line 3'):
        server.run([str(script), '600'], timeout=2)
    assert server.run([str(script), '0']).stdout == 'begun\n'


def test_commands_that_are_started_run_meanwhile_and_can_be_killed(server, tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import sys, time\nprint("begun", flush=True)\ntime.sleep(float(sys.argv[1]))')
    long, short = (server.start([str(script), seconds]) for seconds in ('600', '0'))
    assert short.communicate() == ('begun\n', '') and short.returncode == short.wait() == 0
    assert server.run([str(script), '0']).returncode == 0
    assert long.poll() is None
    long.send_signal(signal.SIGKILL)
    assert long.wait() == long.poll() == -signal.SIGKILL
    long.send_signal(signal.SIGKILL)  # to nobody: its number may be another process's


def test_a_tools_server_imports_nothing_of_the_project(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import sys\nprint(sorted(name for name in sys.modules if "." not in name))')
    server = ForkServer(LIBRARIES)
    names = set(json.loads(server.run([str(script)]).stdout.replace("'", '"')))
    server.stop()
    assert {'torch', 'mmengine', 'skimage'} <= names
    assert not names & {'stage1_sam_cache', 'stage2_distill', 'mmseg', 'segment_anything', 'toypass', 'conftest'}
