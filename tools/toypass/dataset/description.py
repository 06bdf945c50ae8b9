"""``toypass.json``: the knobs and the seed that a folder was made with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from stage1_sam_cache.errors import DatasetError
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned
from toypass.dataset.jobs import DatasetPlan, jobs, paths

DESCRIPTION = 'toypass.json'


def prepare(plan: DatasetPlan) -> None:
    """Write the description, or check that the folder was made with the same knobs and seed.

    Raises:
        DatasetError: If the folder was made with other knobs, or holds files that are not ToyPASS.
    """
    path = plan.out / DESCRIPTION
    description = json.loads(json.dumps(plan.knobs.describe(plan.seed)))
    if path.exists():
        try:
            earlier = json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError) as problem:
            raise DatasetError(
                f'{path} cannot be read ({problem}); remove the folder or give another --out'
            ) from problem
        if earlier != description:
            names = ', '.join(_differences(earlier, description))
            raise DatasetError(f'{path} was made with other knobs ({names})', 'remove the folder or give another --out')
    elif plan.out.exists() and any(plan.out.iterdir()):
        raise DatasetError(f'{plan.out} holds files, but no {DESCRIPTION}', 'give another --out')
    plan.out.mkdir(parents=True, exist_ok=True)
    commit(path, (json.dumps(description, indent=2) + '\n').encode(), replace=True)
    for folder in {path.parent for job in jobs(plan.knobs) for path in paths(plan, job).values()}:
        if folder.exists():
            remove_abandoned(folder)


def _differences(earlier: Any, description: Any, name: str = '') -> Iterator[str]:
    if isinstance(earlier, dict) and isinstance(description, dict):
        for key in sorted({*earlier, *description}):
            yield from _differences(earlier.get(key), description.get(key), f'{name}.{key}' if name else key)
    elif earlier != description:
        yield f'{name} {earlier} instead of {description}'
