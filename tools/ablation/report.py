"""The scores of all jobs as a Markdown table."""

from __future__ import annotations

import json

import numpy as np

from ablation.jobs import Job
from ablation.rows import Row

# Scores of the student that are worth a column of their own, by their name in scores.json.
NAMES = {
    'student': 'student',
    'ta_whole': 'assistant, whole',
    'ta_tile': 'assistant, windows',
    'ta_slide': 'assistant, sliding',
    'ensemble': 'ensemble',
}


REGIONS = ('boundary_mIoU', 'seam_mIoU', 'top_mIoU', 'middle_mIoU', 'bottom_mIoU')


def collect(row: Row, jobs: list[Job]) -> dict[str, np.ndarray]:
    """Scores of a row by predictor and measure, ``'student mIoU'``, one value a seed."""
    found: dict[str, list[float]] = {}
    for job in jobs:
        if job.row == row and job.scores.exists():
            for entry in json.loads(job.scores.read_text())['scores']:
                mode = entry['mode'] if entry['mode'] in NAMES else 'student'
                for measure, value in entry.items():
                    if isinstance(value, float):
                        found.setdefault(f'{mode} {measure}', []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def columns_of(scores: list[dict[str, np.ndarray]]) -> list[str]:
    """The columns that any row has: every predictor's mIoU, then the student's other measures."""
    names = [f'{mode} mIoU' for mode in ('ensemble', 'ta_whole', 'ta_tile', 'ta_slide', 'student')]
    names += [f'student {measure}' for measure in REGIONS]
    return [name for name in names if any(name in row for row in scores)]


def heading(column: str) -> str:
    """What stands above a column."""
    mode, measure = column.split(' ')
    return NAMES[mode] + (f', {measure.removesuffix("_mIoU")}' if measure != 'mIoU' else '')


def spread(values: np.ndarray | None) -> str:
    """Mean, and standard deviation of the seeds where there are several."""
    if values is None:
        return ''
    text = f'{values.mean():.2f}'
    return f'{text} ± {values.std(ddof=1):.2f}' if len(values) > 1 else text


def markdown(rows: list[Row], jobs: list[Job]) -> str:
    """The table."""
    scores = [collect(row, jobs) for row in rows]
    columns = columns_of(scores)
    lines = ['| | ' + ' | '.join(map(heading, columns)) + ' |', '|---' * (len(columns) + 1) + '|']
    for row, found in zip(rows, scores, strict=True):
        lines.append(f'| {row.name} | ' + ' | '.join(spread(found.get(column)) for column in columns) + ' |')
    return '\n'.join(lines)
