"""What was measured beside what the paper reports: as records for programs, and as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stage1_sam_cache.commands.names import as_typed
from stage2_distill.commands.paper.figures import Figure, Row
from stage2_distill.evaluation.coverage import Coverage

POINTS = 1.0  # largest difference of mIoU that counts as equal
ROUNDING = 0.05  # the same for millions of parameters, which the paper gives with one decimal


@dataclass
class Result:
    """The result of a row: a value with all scores behind it and the images they are of, or why there is none."""

    value: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    missing: str | None = None
    coverage: Coverage | None = None


def compare(row: Row, value: float | None, paper: float | None) -> tuple[float | None, bool | None]:
    """Return the difference from the paper, and whether it is more than one point, or than rounding explains."""
    if value is None or paper is None:
        return None, None
    difference = round(value - paper, 4)
    return difference, abs(difference) > (ROUNDING if row.predictor is None else POINTS)


def make_records(
    rows: Sequence[Row], results: Mapping[str, Result], figures: Mapping[str, Figure]
) -> list[dict[str, Any]]:
    """Return one record per row, of values that JSON has."""
    records = []
    for row in rows:
        figure, result = figures.get(row.name), results.get(row.name, Result(missing='stopped before it was measured'))
        away, differs = compare(row, result.value, figure and figure.value)
        records.append(
            {'row': row.name, 'what': row.what, 'unit': 'M' if row.predictor is None else 'mIoU in %'}
            | {'config': row.config, 'paper': figure and figure.value, 'source': figure and figure.source}
            | {'ours': result.value, 'difference': away, 'differs': differs, 'missing': result.missing}
            | {'scores': {name: None if x != x else x for name, x in result.scores.items()}}  # JSON has no NaN
        )
    return records


def coverage_lines(results: Mapping[str, Result]) -> list[str]:
    """Return how many images the scores are of: one line, or one for each set of rows that differ."""
    rows: dict[str, list[str]] = {}
    for name, result in results.items():
        if result.coverage:
            rows.setdefault(result.coverage.line, []).append(name)
    return list(rows) if len(rows) < 2 else [f'{", ".join(names)}: {line}' for line, names in rows.items()]


def print_table(records: Sequence[Mapping[str, Any]]) -> None:
    """Print all records, then those that differ from the paper, then those without a value, one line per cause."""
    print('| row | what | paper | ours | ours - paper | in the paper |')
    print('|---|---|---|---|---|---|')
    for record in records:
        paper, ours, away = record['paper'], record['ours'], record['difference']
        cells = [
            '-' if paper is None else f'{paper:.{1 if record["unit"] == "M" else 2}f}',
            'not run' if ours is None else f'{ours:.2f}',
            '-' if away is None else f'{away:+.2f}',
            record['source'] or '-',
        ]
        print(f'| {record["row"]} | {record["what"]} | {" | ".join(cells)} |')
    print()
    compared = [record for record in records if record['differs'] is not None]
    if compared:
        differing = [record for record in compared if record['differs']]
        rule = f'by more than {POINTS:g} point, or for parameters by more than rounding explains'
        print(f'{len(differing)} of {len(compared)} differ from the paper {rule}')
        for record in differing:
            print(f'- {record["row"]} {record["difference"]:+.2f}')
    causes: dict[str, list[str]] = {}
    for record in records:
        if record['missing']:
            causes.setdefault(record['missing'], []).append(record['row'])
    for cause, names in causes.items():
        print(as_typed(f'not run: {", ".join(names)}: {cause}'))
