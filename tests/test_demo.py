"""The demo reuses what an earlier one made only if that is what it would make itself."""

import json
import signal
import subprocess

import pytest

from commands import demo
from commands.demo import build_parser, keep_settings, read_json
from stage2_distill.errors import ConfigError


def settings(out, *flags):
    return keep_settings(out, build_parser().parse_args([str(flag) for flag in flags]))


def test_a_run_of_other_settings_is_not_continued(tmp_path):
    first = settings(tmp_path)
    assert read_json(tmp_path / 'settings.json') == json.loads(json.dumps(first))
    longer = settings(tmp_path, '--iterations', 600)  # nothing is trained yet
    assert longer != first
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work/iter_200.pth').write_bytes(b'')
    moved = tmp_path.rename(tmp_path.with_name('moved'))
    assert settings(moved, '--iterations', 600) == longer
    for flags, told in (((), 'iterations'), (('--masks', 'felzenszwalb', '--iterations', 600), 'masks')):
        with pytest.raises(ConfigError, match=rf'is a run of other settings.*: {told}; remove that folder or give'):
            settings(moved, *flags)
    (moved / 'settings.json').write_text('{"preset": ')  # or of a demo that wrote none
    with pytest.raises(ConfigError, match='of an older demo: preset, masks, config, iterations'):
        settings(moved, '--iterations', 600)


def test_a_tool_that_is_killed_is_one_line(tmp_path, monkeypatch, capsys):
    def killed(command, **_):
        raise subprocess.CalledProcessError(-signal.SIGKILL, command)

    monkeypatch.setattr('subprocess.run', killed)
    assert demo.main(['--out', str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith('error: tools/make_toypass.py was ended by SIGKILL')
