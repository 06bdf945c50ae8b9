"""What the paper reports of networks without training on panoramas: rows and figures of tools/check_paper.py.

All figures are from GoodSAM's main text (CVPR 2024, arXiv 2403.16370); scores are mIoU in %, rows of Table 3 count from
1. A row without a figure is not in the paper, or is not legible in the text that was used: all of SEPL in Table 5, and
the B2 "source only" of Table 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SOURCES = ('openmmlab', 'nvidia')  # of the SegFormers; the paper does not say whose it started from
STUDENTS, NETWORKS = range(3), range(6)  # SegFormer-B0 to B2, and to B5


class Figure(NamedTuple):
    """A figure and its place in the paper."""

    value: float
    source: str


# In millions; they belong to the networks, whatever is scored.
PARAMETERS = {
    'params_b0': Figure(3.7, 'Table 1, GoodSAM-M'),
    'params_b1': Figure(14.0, 'Table 1, GoodSAM-T'),
    'params_b2': Figure(25.4, 'Table 1, GoodSAM-S'),
}
# The text that was used has one line of numbers for the two baselines of Table 5; its position says that it is SSA's.
_SSA = {'b0': 39.28, 'b1': 40.28, 'b2': 47.93, 'b3': 49.13, 'b4': 52.19, 'b5': 54.32}
_CTCF = {'b0': 40.68, 'b1': 41.75, 'b2': 49.70, 'b3': 52.89, 'b4': 54.13}
_WINDOWS = {'1024': 52.45, '512': 53.86, '256': 53.29, '128': 52.79}
SCORES: dict[str, dict[str, Figure]] = {
    'densepass': {
        'student_b0': Figure(15.88, 'Table 3, rows 1 to 3'),
        'whole_b0': Figure(15.88, 'text on Table 3'),
        'whole_b5': Figure(27.62, 'Table 3, row 1'),
        'tile_b0': Figure(39.35, 'text on Table 3'),
        'tile_b5': Figure(53.86, 'Table 3, rows 2 and 3'),
        **{f'window_{width}': Figure(score, 'Table 4, windows') for width, score in _WINDOWS.items()},
        **{f'ssa_{size}': Figure(score, 'Table 5, SSA by position') for size, score in _SSA.items()},
        **{f'ctcf_{size}': Figure(score, 'Table 5, CTCF') for size, score in _CTCF.items()},
        'ctcf_b5': Figure(55.88, 'Table 5, CTCF; Table 3, row 3'),
    },
    'wildpass': {'student_b1': Figure(47.90, 'Table 2, source only')},
    'toypass': {},  # not in the paper
}


def figures_of(dataset: str) -> dict[str, Figure]:
    """Return the paper's figures by row, for one data set of the catalogue."""
    return {**PARAMETERS, **SCORES[dataset]}


@dataclass(frozen=True)
class Row:
    """One figure to measure.

    Args:
        name: Group and variant, the key of the paper's figure.
        what: Description.
        size: Size of its SegFormer, 0 to 5.
        config: File below ``mmseg_configs``.
        predictor: Predictor of GoodSAM to score; None counts parameters.
    """

    name: str
    what: str
    size: int
    config: str
    predictor: str | None = None

    @property
    def group(self) -> str:
        """The first part of the name, which rows of one kind share."""
        return self.name.partition('_')[0]


def all_rows() -> list[Row]:
    """Return every row, in the order of the table."""
    plain = {size: f'ablations/table5_ctcf_b{size}.py' for size in NETWORKS}
    # Students are counted as their own configs build them.
    counted = plain | {n: f'goodsam_b{n}.py' for n in STUDENTS}
    rows = [Row(f'params_b{n}', f'SegFormer-B{n}, millions of parameters', n, counted[n]) for n in NETWORKS]
    rows += [Row(f'student_b{n}', f'student B{n}, whole panoramas', n, plain[n], 'student') for n in STUDENTS]
    for group, words in (
        ('whole', 'whole panoramas'),
        ('tile', 'windows side by side'),
        ('slide', 'windows averaged'),
    ):
        rows += [Row(f'{group}_b{n}', f'assistant B{n}, {words}', n, plain[n], f'ta_{group}') for n in NETWORKS]
    for width in (1024, 512, 256, 128):
        what, config = f'assistant B5, windows of 400x{width}', f'ablations/table4_window{width}.py'
        rows.append(Row(f'window_{width}', what, 5, config, 'ta_tile'))
    for group in ('ssa', 'sepl', 'ctcf'):
        for n in NETWORKS:
            what, config = f'{group.upper()} of assistant B{n}', f'ablations/table5_{group}_b{n}.py'
            rows.append(Row(f'{group}_b{n}', what, n, config, 'ensemble'))
    return rows
