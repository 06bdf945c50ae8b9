"""The scores of all jobs as a Markdown table."""

from __future__ import annotations

import json
from functools import reduce
from operator import getitem

import numpy as np

from ablation.jobs import Job
from ablation.rows import Row

# What a column calls a predictor, by its mode in scores.json.
NAMES = {
    'student': 'student',
    'ta_whole': 'assistant, whole',
    'ta_tile': 'assistant, windows',
    'ta_slide': 'assistant, sliding',
    'ensemble': 'ensemble',
    'source': 'source',
    'target': 'target',
    'labels': 'labels',
}
# The columns of a row's masks and of their ensembles without training, by the path of their figure in masks.json.
MEASURES = {
    'masks, mean IoU': ('mean_iou',),
    'masks, coverage': ('coverage',),
    'assistant': ('assistant',),
    'ensemble, CTCF': ('ensembles', 'CTCF', 'miou'),
    'ensemble, CTCF, level means': ('ensembles', 'CTCF, level means', 'miou'),
    'ensemble, SSA': ('ensembles', 'SSA', 'miou'),
}
# Further scores of the student, or of OmniSAM on panoramas, that get a column.
REGIONS = ('boundary_mIoU', 'seam_mIoU', 'top_mIoU', 'middle_mIoU', 'bottom_mIoU')


def lines_of(rows: list[Row], jobs: list[Job]) -> list[tuple[str, dict[str, np.ndarray]]]:
    """List the table's lines: a row's name and scores, or one line for each of its scorings."""
    lines = []
    for row in rows:
        lines += [(f'{row.name}: {way}', collect(row, jobs, way)) for way in row.scorings]
        if not row.scorings:
            lines.append((row.name, collect(row, jobs)))
    return [(name, scores) for name, scores in lines if scores]


def collect(row: Row, jobs: list[Job], scoring: str | None = None) -> dict[str, np.ndarray]:
    """Collect the scores of a row by predictor and measure (``student mIoU``), one value per seed; and its masks'."""
    scores: dict[str, list[float]] = {}
    measures = next((job.measures for job in jobs if job.row == row and job.measures.exists()), None)
    if measures is not None:
        found = json.loads(measures.read_text())['scores']
        for column, path in MEASURES.items():
            value = reduce(getitem, path, found)
            scores[column] = [100 * value if column.startswith('masks') else value]
    for job in jobs:
        if job.row == row and job.scores.exists():
            found = json.loads(job.scores.read_text())['scores']
            for entry in [each for each in found if each.get('scoring') == scoring]:
                mode = entry['mode'] if entry['mode'] in NAMES else 'student'
                for measure, value in entry.items():
                    if isinstance(value, float):
                        scores.setdefault(f'{mode} {measure}', []).append(value)
    return {name: np.array(values) for name, values in scores.items()}


def columns_of(scores: list[dict[str, np.ndarray]]) -> list[str]:
    """List the columns that any row has: masks, mIoU of each predictor, regions, pseudo-labels."""
    names = list(MEASURES)
    names += [f'{mode} mIoU' for mode in ('ensemble', 'ta_whole', 'ta_tile', 'ta_slide', 'student', 'source', 'target')]
    names += [f'{mode} {measure}' for mode in ('student', 'target') for measure in REGIONS]
    names += [f'labels {measure}' for measure in ('coverage', 'accuracy', 'mIoU')]
    return [name for name in names if any(name in row for row in scores)]


def heading(column: str) -> str:
    """Return the heading of a column."""
    if column in MEASURES:
        return column
    mode, measure = column.split(' ')
    plain = measure == 'mIoU' and mode != 'labels'
    return NAMES[mode] + ('' if plain else f', {measure.removesuffix("_mIoU")}')


def spread(values: np.ndarray | None) -> str:
    """Format the mean, and the standard deviation where there are several seeds."""
    if values is None:
        return ''
    text = f'{values.mean():.2f}'
    return f'{text} ± {values.std(ddof=1):.2f}' if len(values) > 1 else text


def markdown(rows: list[Row], jobs: list[Job]) -> str:
    """Format the table."""
    found = lines_of(rows, jobs)
    columns = columns_of([scores for _, scores in found])
    lines = ['| | ' + ' | '.join(map(heading, columns)) + ' |', '|---' * (len(columns) + 1) + '|']
    for name, values in found:
        lines.append(f'| {name} | ' + ' | '.join(spread(values.get(column)) for column in columns) + ' |')
    return '\n'.join(lines)
