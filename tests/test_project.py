"""The project's own promises: pins, layers, layout."""

import ast
import re
from pathlib import Path

from conftest import ROOT
from mmengine.config import Config


def pins(text):
    return sorted(re.findall(r'^[\s-]*([A-Za-z0-9_.-]+==[^\s#]+)', text, re.MULTILINE))


def test_environment_yml_and_the_requirements_pin_the_same():
    pip = pins((ROOT / 'requirements.txt').read_text()) + pins((ROOT / 'requirements-dev.txt').read_text())
    conda = pins((ROOT / 'environment.yml').read_text())
    assert sorted(pip) == conda
    assert len(conda) >= 15


def imports_of(package: str) -> set[str]:
    found = set()
    for file in (ROOT / package).rglob('*.py'):
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split('.')[0])
    return found


def test_data_flows_one_way():
    stage1, stage2 = imports_of('stage1_sam_cache'), imports_of('stage2_distill')
    assert not stage1 & {'stage2_distill', 'mmseg', 'mmcv', 'mmengine'}
    assert 'segment_anything' in stage1
    assert 'segment_anything' not in stage2


def test_stage_2_gets_geometry_and_reader_without_sam():
    script = (
        'import sys; import stage1_sam_cache; '
        'assert stage1_sam_cache.WindowGrid and stage1_sam_cache.open_cache; '
        "assert not {'segment_anything', 'torch'} & set(sys.modules), 'heavy imports'"
    )
    import subprocess
    import sys

    assert subprocess.run([sys.executable, '-c', script], check=False).returncode == 0


def test_every_base_config_loads():
    configs = sorted((ROOT / 'mmseg_configs').rglob('*.py'))
    assert configs
    for config in configs:
        assert Config.fromfile(config).to_dict()


def test_the_top_level_is_the_agreed_one():
    agreed = {'stage1_sam_cache', 'stage2_distill', 'mmseg_configs', 'tools', 'tests', 'environment.yml', 'README.md'}
    agreed |= {'Makefile', 'pyproject.toml', 'requirements.txt', 'requirements-dev.txt', 'LICENSE', '.gitignore', '.ci'}
    assert [name for name in sorted(agreed) if not (ROOT / name).exists()] == []
    assert (Path(ROOT) / 'LICENSE').read_text().split()[:2] == ['Apache', 'License']
