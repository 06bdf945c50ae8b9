"""What a work dir holds of a run: its config, logged values and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stage2_distill.errors import ConfigError

Curves = dict[str, list[tuple[int, float]]]  # (iteration, value) by the name in the log


def config_file(work_dir: Path) -> Path:
    """Return the config that MMEngine keeps in a work dir; the newest, where runs of several configs shared it.

    Raises:
        ConfigError: If there is none.
    """
    files = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not files:
        problem = f'{work_dir} holds no config of a training run' if work_dir.is_dir() else f'there is no {work_dir}'
        raise ConfigError(problem, 'name the work dir of tools/train.py, for example work_dirs/goodsam_b0')
    return files[-1]


def read_curves(work_dir: Path, folder: str = '*') -> Curves:
    """Read all that a run has logged.

    A resumed run has several logs; where they say different things of an iteration, the newer one counts. A line that a
    killed run left unfinished is skipped.

    Args:
        work_dir: Its work dir.
        folder: Of one log, the time at which a run or its continuation began; all by default.
    """
    values: dict[str, dict[int, float]] = {}
    for file in sorted(work_dir.glob(f'{folder}/vis_data/scalars.json')):
        for line in file.read_text(encoding='utf-8').splitlines():
            try:
                logged = json.loads(line)
            except json.JSONDecodeError:
                continue
            if not isinstance(logged, dict):
                continue
            step = logged.get('step')
            for name, value in logged.items():
                if isinstance(step, int) and isinstance(value, (int, float)) and name not in ('step', 'iter', 'epoch'):
                    values.setdefault(name, {})[step] = float(value)
    return {name: sorted(steps.items()) for name, steps in values.items()}


def read_scores(work_dir: Path) -> dict[str, dict[str, Any]]:
    """Read the files that ``tools/test.py`` wrote into a work dir, by name; other JSON files are skipped."""
    found = {}
    for file in sorted(work_dir.glob('*.json')):
        try:
            content = json.loads(file.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            continue
        rows = content.get('scores') if isinstance(content, dict) else None
        if isinstance(rows, list) and rows and all(isinstance(row, dict) and 'mIoU' in row for row in rows):
            found[file.name] = content
    return found
