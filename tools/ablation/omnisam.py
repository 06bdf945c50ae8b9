"""OmniSAM's table: what its memory gives, on pinhole images as trained and on panoramas.

A row is a network; how it is scored are lines of that row, by one training run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ablation.rows import CONFIGS, Row

OMNISAM = CONFIGS / 'omnisam/source_toypass.py'
TARGET = 'toypass'
SOURCE = 'toypass_source'


@dataclass(frozen=True)
class Scoring:
    """One way to score a network.

    Attributes:
        changes: Of the config.
        domains: Data sets that are scored so.
    """

    changes: dict[str, Any]
    domains: tuple[str, ...] = (SOURCE, TARGET)


def _test(**settings: str) -> dict[str, Any]:
    return {'model': {'test_cfg': settings}}


# The windows of a panorama across the seam; there are eleven in place of nine.
_CLOSED = [{'window': (256, 256), 'stride': 32}, {'window': (200, 256), 'stride': 96, 'wrap': True}]
_ACROSS = {'model': {'grid': _CLOSED}}
_RING = {'model': {'grid': _CLOSED, 'test_cfg': {'laps': 'ring'}}}
BOTH_LAPS = 'both laps'
SCORINGS: dict[str, Scoring] = {
    BOTH_LAPS: Scoring({}),
    'both laps, without memory': Scoring(_test(memory='off')),
    'both laps, memory shuffled': Scoring(_test(memory='shuffled')),
    "both laps, another image's memory": Scoring(
        {**_test(memory='other'), 'test_dataloader': {'batch_size': 2}},
    ),
    'one lap': Scoring(_test(laps='forward')),
    'both laps, across the seam': Scoring(_ACROSS, (TARGET,)),
    'ring, across the seam': Scoring(_RING, (TARGET,)),
}


def omnisam() -> list[Row]:
    """Return the rows of OmniSAM's source training on ToyPASS; the default is scored in every way."""
    rows = [Row('class_ids (default)', config=OMNISAM, scorings=tuple(SCORINGS))]
    rows.append(Row('trained without memory', {'model': {'memory_slots': 0}}, config=OMNISAM, scorings=(BOTH_LAPS,)))
    for kind in ('confidence', 'embedding', 'none'):
        changes = {'model': {'mask_input': kind}}
        ways = (BOTH_LAPS, 'both laps, without memory')
        rows.append(Row(f'mask_input={kind}', changes, config=OMNISAM, scorings=ways))
    return rows
