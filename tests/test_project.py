"""The project's own promises: pins, layers, layout."""

import ast
import re
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.config import Config
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_pyproject():
    return tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))


def requirements():
    """What pyproject.toml asks for, with all extras: the allowed versions by name."""
    project = read_pyproject()['project']
    lines = project['dependencies'] + [line for extra in project['optional-dependencies'].values() for line in extra]
    parsed = [Requirement(line) for line in lines]
    return {requirement.name: requirement.specifier for requirement in parsed if requirement.name != project['name']}


def pins():
    """The versions in constraints.txt by name; a line that is no exact pin is an error."""
    lines = [line.partition('#')[0].strip() for line in (ROOT / 'constraints.txt').read_text().splitlines()]
    return dict(re.fullmatch(r'([A-Za-z0-9_.-]+)==([^\s=<>*]+)', line).groups() for line in lines if line)


def test_every_requirement_is_pinned_within_its_range():
    allowed, pinned = requirements(), pins()
    assert set(pinned) == set(allowed)
    assert len(pinned) >= 25
    assert [name for name, version in pinned.items() if version not in allowed[name]] == []
    assert [name for name, versions in allowed.items() if not any(part.operator == '>=' for part in versions)] == []


def test_make_and_conda_install_the_pins():
    for name, package in (('requirements.txt', '.'), ('requirements-dev.txt', '.[dev]')):
        lines = (ROOT / name).read_text().splitlines()
        assert [line for line in lines if not line.startswith('#')] == ['-c constraints.txt', f'-e {package}']
    conda = (ROOT / 'environment.yml').read_text()
    assert conda.endswith('- pip:\n      - -r requirements-dev.txt\n')
    assert '==' not in conda
    makefile = (ROOT / 'Makefile').read_text()
    sam2 = 'SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install --no-build-isolation -r requirements-sam2.txt'
    assert makefile.count('pip install') == 2
    assert makefile.count('pip install -r requirements-dev.txt') == makefile.count(sam2) == 1
    lines = [line for line in (ROOT / 'requirements-sam2.txt').read_text().splitlines() if not line.startswith('#')]
    assert f'sam2=={pins()["sam2"]} ' in lines[0]
    assert all(re.fullmatch(r'[\w-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}', line) for line in lines)
    assert read_pyproject()['build-system']['requires'] == [f'setuptools=={pins()["setuptools"]}']


# The rooms of each stage from the bottom up: a module imports its own room and rooms below it, never one above.
ROOMS = {
    'stage1_sam_cache': [
        ['errors'],
        ['system'],
        ['geometry'],
        ['data', 'masks'],
        ['sam'],
        ['cache'],
        ['exchange'],
        ['build'],
        ['adaptation'],
        ['commands'],
    ],
    'stage2_distill': [
        ['errors', 'libraries'],
        ['checkpoints'],
        ['geometry'],
        ['fusion', 'boundaries'],
        ['losses', 'data'],
        ['heads'],
        ['models'],
        ['training'],
        ['omnisam'],
        ['evaluation', 'wesam'],
        ['components'],
        ['deployment'],
        ['exchange'],
        ['report'],
        ['commands'],
    ],
    'toypass': [
        ['knobs'],
        ['things'],
        ['world'],
        ['render'],
        ['dataset'],
        ['truth', 'training'],
    ],
    'ablation': [
        ['rows'],
        ['jobs'],
        ['collapse'],
        ['tables'],
        ['report'],
        ['pictures'],
        ['ensembles', 'running'],
    ],
}
STAGES = ('stage1_sam_cache', 'stage2_distill')
SAM_PACKAGES = {'segment_anything', 'sam2', 'sam3', 'mobile_sam'}


def modules_of(package: str) -> dict[str, Path]:
    folder = ROOT if (ROOT / package).is_dir() else ROOT / 'tools'
    return {
        '.'.join(file.relative_to(folder).with_suffix('').parts).removesuffix('.__init__'): file
        for file in (folder / package).rglob('*.py')
    }


def imports_of(file: Path, known: Collection[str] = ()) -> set[str]:
    """What a file imports, wherever in it: modules of ``known`` by their whole names, anything else too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f'{file}: relative import'
            names = {f'{node.module}.{alias.name}' for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return found


def packages(names: Collection[str]) -> set[str]:
    return {name.split('.')[0] for name in names}


def test_data_flows_one_way():
    for name, file in modules_of('stage1_sam_cache').items():
        assert not packages(imports_of(file)) & {'stage2_distill', 'mmseg', 'mmcv', 'mmengine'}, name
    for name, file in modules_of('stage2_distill').items():
        room = name.startswith('stage2_distill.omnisam')
        assert packages(imports_of(file)) & SAM_PACKAGES <= ({'sam2'} if room else set()), name
        if not name.startswith(('stage2_distill.wesam', 'stage2_distill.commands.adapt_sam', 'stage2_distill.omnisam')):
            rooms = ('stage1_sam_cache.sam.', 'stage1_sam_cache.adaptation.')
            through = {other for other in imports_of(file) if other.startswith(rooms)}
            assert through <= {'stage1_sam_cache.sam.settings', 'stage1_sam_cache.sam.felzenszwalb'}, name
    assert any('segment_anything' in packages(imports_of(file)) for file in modules_of('stage1_sam_cache').values())


def test_omnisam_is_used_by_configs_alone():
    """So everything else runs without the package ``sam2``; of stage 1's rooms of SAM it needs two."""
    for package in (*STAGES, 'toypass', 'ablation'):
        for name, file in modules_of(package).items():
            imported = imports_of(file)
            if not name.startswith('stage2_distill.omnisam'):
                assert not any(other.startswith('stage2_distill.omnisam') for other in imported), name
            else:
                rooms = {other.split('.')[1] for other in imported if other.startswith('stage1_sam_cache.')}
                assert rooms <= {'errors', 'system', 'geometry', 'data', 'sam', 'adaptation'}, name


@pytest.mark.parametrize('package', ROOMS)
def test_no_import_runs_upwards(package):
    """From room to room; the package's own ``__init__`` is the roof."""
    modules = modules_of(package)
    level = {room: i for i, rooms in enumerate(ROOMS[package]) for room in rooms}
    rooms = {name.split('.')[1] for name in modules if '.' in name}
    assert rooms == set(level), 'rooms that ROOMS does not place, or places that are gone'
    for name, file in modules.items():
        if name == package:
            continue
        room = name.split('.')[1]
        for other in imports_of(file, modules):
            if other == package or not other.startswith(package + '.'):
                assert other != package, f'{name} imports the roof {package}'
                continue
            target = other.split('.')[1]
            assert target == room or level[target] < level[room], f'{name} imports {other}'


@pytest.mark.parametrize('package', ROOMS)
def test_no_circle_of_imports(package):
    modules = modules_of(package)
    graph = {name: imports_of(file, modules) & set(modules) for name, file in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_stage_2_gets_geometry_and_reader_without_sam():
    script = (
        'import sys; import stage1_sam_cache; '
        'assert all(hasattr(stage1_sam_cache, name) for name in stage1_sam_cache.__all__); '
        "assert not {'segment_anything', 'torch'} & set(sys.modules), 'heavy imports'"
    )
    assert subprocess.run([sys.executable, '-c', script], check=False).returncode == 0


def test_every_base_config_loads():
    configs = sorted((ROOT / 'mmseg_configs').rglob('*.py'))
    assert configs
    for config in configs:
        assert Config.fromfile(config).to_dict()


def test_the_library_does_not_import_the_tools():
    tools = {path.stem for path in (ROOT / 'tools').iterdir() if path.suffix == '.py' or path.is_dir()} - {'test'}
    for package, others in {**dict.fromkeys(STAGES, tools), 'toypass': {'ablation', 'benchmarks'}}.items():
        for name, file in modules_of(package).items():
            assert not packages(imports_of(file)) & others, name


def test_the_standard_librarys_test_is_not_hidden_by_the_tool():
    import test

    assert test.__path__ and ROOT / 'tools' not in Path(test.__file__).parents


CORE = {'stage1_sam_cache', 'stage2_distill', 'mmseg_configs', 'tools', 'tests', 'docs', 'README.md', 'LICENSE'}
CORE |= {'environment.yml', 'requirements.txt', 'requirements-dev.txt', 'pyproject.toml', 'Makefile'}
CORE |= {'.gitignore', '.ci'}
ALLOWED = CORE | {'constraints.txt', '.github', '.pre-commit-config.yaml', 'CONTRIBUTING.md', 'CHANGELOG.md'}
ALLOWED |= {'requirements-sam2.txt', 'CITATION.cff', 'SECURITY.md', 'Dockerfile', '.dockerignore'}


def top_level(folder: Path) -> set[str]:
    """What git tracks; where there is no git, what lies there and is not ignored."""
    command = ['git', '-C', str(folder), 'ls-files', '-z']
    with suppress(OSError, subprocess.CalledProcessError):
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if listed:  # nothing is tracked where the folder was unpacked into another repository
            return {name.split('/')[0] for name in listed.split('\0') if name}
    ignored = [line.strip('/') for line in (folder / '.gitignore').read_text().splitlines()]
    names = {path.name for path in folder.iterdir()} - {'.git'}
    return {name for name in names if not any(fnmatch(name, pattern) for pattern in ignored)}


def test_the_top_level_is_the_agreed_one():
    names = top_level(ROOT)
    assert CORE - names == set(), 'missing'
    assert names - ALLOWED == set(), 'not agreed on'
    assert [name for name in sorted(CORE) if not (ROOT / name).exists()] == []
    assert (ROOT / 'LICENSE').read_text().split()[:2] == ['Apache', 'License']


def test_without_git_the_top_level_is_what_is_not_ignored(tmp_path):
    for name in ('.git', '.venv', 'goodsam.egg-info', 'data', 'tools'):
        (tmp_path / name).mkdir()
    (tmp_path / '.gitignore').write_text('# written by tools\n.venv/\n*.egg-info/\n/data/\n')
    (tmp_path / 'notes.txt').touch()
    assert top_level(tmp_path) == {'.gitignore', 'tools', 'notes.txt'}


def test_the_public_names_of_stage_2_are_imported_when_they_are_asked_for():
    script = (
        'import sys; import stage2_distill; '
        "assert not {'torch', 'mmseg', 'mmengine'} & set(sys.modules), 'heavy imports'; "
        'assert all(getattr(stage2_distill, name).__name__ == name for name in stage2_distill.__all__); '
        'assert set(stage2_distill.__all__) <= set(dir(stage2_distill))'
    )
    subprocess.run([sys.executable, '-c', script], check=True)
