"""What was measured beside what the paper has: as records for programs, and as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paper.figures import Figure, Row

POINTS = 1.0  # of mIoU that a score may be away from the paper's
ROUNDING = 0.05  # of a million parameters, which the paper gives with one decimal


@dataclass
class Found:
    """What became of a row: a value with all scores behind it, or the reason why there is none."""

    value: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    missing: str | None = None


def compare(row: Row, value: float | None, paper: float | None) -> tuple[float | None, bool | None]:
    """How far a value is above the paper's, and whether that is more than one point, or than rounding explains."""
    if value is None or paper is None:
        return None, None
    away = round(value - paper, 4)
    return away, abs(away) > (ROUNDING if row.predictor is None else POINTS)


def make_records(
    rows: Sequence[Row], found: Mapping[str, Found], figures: Mapping[str, Figure]
) -> list[dict[str, Any]]:
    """One record a row, of JSON's values."""
    records = []
    for row in rows:
        figure, result = figures.get(row.name), found.get(row.name, Found(missing='stopped before it was measured'))
        away, differs = compare(row, result.value, figure and figure.value)
        records.append(
            {'row': row.name, 'what': row.what, 'unit': 'M' if row.predictor is None else 'mIoU in %'}
            | {'config': row.config, 'paper': figure and figure.value, 'source': figure and figure.source}
            | {'ours': result.value, 'difference': away, 'differs': differs, 'missing': result.missing}
            | {'scores': {name: None if x != x else x for name, x in result.scores.items()}}  # JSON knows no nan
        )
    return records


def print_table(records: Sequence[Mapping[str, Any]]) -> None:
    """Prints all records, then those that differ from the paper, then those that are missing, a line for each cause."""
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
        print(f'not run: {", ".join(names)}: {cause}')
