"""The Dockerfile, read by a parser: two stages, an unprivileged user, and only files and extras that exist."""

import re
from fnmatch import fnmatch

from conftest import ROOT
from dockerfile_parse import DockerfileParser
from test_project import read_pyproject


def test_the_image_is_made_of_what_exists_and_runs_without_privileges():
    steps = DockerfileParser(str(ROOT / 'Dockerfile')).structure
    begins = [index for index, step in enumerate(steps) if step['instruction'] == 'FROM']
    assert len(begins) == 2
    first, last = steps[begins[0] : begins[1]], steps[begins[1] :]
    base = next(step['value'] for step in steps if step['instruction'] == 'ARG')
    assert re.fullmatch(r'BASE=nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu\d+\.\d+', base)
    assert [steps[index]['value'] for index in begins] == ['${BASE} AS build', '${BASE}']
    users = [step['value'] for step in last if step['instruction'] == 'USER']
    assert users and int(users[-1].partition(':')[0]) > 0  # root is 0
    allowed = [line[1:] for line in (ROOT / '.dockerignore').read_text().splitlines() if line.startswith('!')]
    for step in first:
        if step['instruction'] == 'COPY':
            *sources, _ = step['value'].split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source, pattern) for pattern in allowed), f'.dockerignore hides {source}'
    for step in last:
        if step['instruction'] == 'COPY':
            assert step['value'].startswith('--from=build /opt/')
    runs = ' '.join(step['value'] for step in first if step['instruction'] == 'RUN')
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", runs)
    assert set(extras.split(',')) <= set(read_pyproject()['project']['optional-dependencies'])
    assert runs.count('pip install') == runs.count('-c constraints.txt')
