"""OmniSAM's tables: what its memory gives, what the adaptation gives, and OmniSAM as GoodSAM's assistant.

In the first a row is a network; how it is scored are lines of that row, by one training run. Adaptations start from the
models of its first row, GoodSAM's assistants from these or from adapted ones, each of the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ablation.rows import CONFIGS, GOODSAM_13, GOODSAM_13_SEGFORMER, Row

OMNISAM = CONFIGS / 'omnisam/source_toypass.py'
ADAPTATION = CONFIGS / 'omnisam/adapt_toypass.py'
ADAPTATION_BY_MASKS = CONFIGS / 'omnisam/adapt_toypass_ctcf.py'
DEFAULT = 'class_ids (default)'
START = ('omnisam', DEFAULT)
ADAPTED = ('omnisam_adaptation', 'default')
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
    rows = [Row(DEFAULT, config=OMNISAM, scorings=tuple(SCORINGS), kept=True)]
    rows.append(Row('trained without memory', {'model': {'memory_slots': 0}}, config=OMNISAM, scorings=(BOTH_LAPS,)))
    for kind in ('confidence', 'embedding', 'none'):
        changes = {'model': {'mask_input': kind}}
        ways = (BOTH_LAPS, 'both laps, without memory')
        rows.append(Row(f'mask_input={kind}', changes, config=OMNISAM, scorings=ways))
    return rows


def _rounds(**settings: Any) -> dict[str, Any]:
    return {'default_hooks': {'rounds': settings}}


def _prototypes(**settings: Any) -> dict[str, Any]:
    return {'model': {'prototypes': settings}}


_ADAPTATIONS: dict[str, dict[str, Any]] = {
    ADAPTED[1]: {},
    'static labels': _rounds(relabel=False),
    'one round': _rounds(rounds=1),
    "rule='vote'": _rounds(labelling={'rule': 'vote'}),
    "rule='mean', 0.85": _rounds(labelling={'rule': 'mean', 'threshold': 0.85}),
    'fpa_weight=0': {'model': {'fpa_weight': 0.0}},
    'fpa_weight=0.1': {'model': {'fpa_weight': 0.1}},
    "index='step'": _prototypes(index='step'),
    "index='class'": _prototypes(index='class'),
    'literal=True': _prototypes(literal=True),
    'rate 1e-5': {'optim_wrapper': {'optimizer': {'lr': 1e-5}}},
    'norm_eval=False': {'model': {'norm_eval': False}},
    'source images alone': {'model': {'target_weight': 0.0, 'fpa_weight': 0.0}},
}


def adaptation() -> list[Row]:
    """Return the rows of OmniSAM's adaptation to ToyPASS's panoramas: each is one change of the default."""
    common: dict[str, Any] = {'config': ADAPTATION, 'scorings': (BOTH_LAPS,), 'start': START, 'predictors': ()}
    rows = [Row('before', trained=False, **common)]
    rows += [Row(name, changes, kept=name == ADAPTED[1], **common) for name, changes in _ADAPTATIONS.items()]
    by_masks: dict[str, Any] = {**common, 'config': ADAPTATION_BY_MASKS, 'own_masks': True}
    for masks, what in (('toy-sam', ''), ('truth', ', true masks')):
        for rule in ('ctcf', 'ssa'):
            rows.append(Row(f"rule='{rule}'{what}", _rounds(labelling={'rule': rule}), masks, **by_masks))
    return rows


def assistants() -> list[Row]:
    """Return the rows of GoodSAM in 13 classes with OmniSAM as assistant, and with the SegFormer of its own configs."""
    common: dict[str, Any] = {'masks': 'toy-sam', 'predictors': ('student', 'ta_tile')}
    frozen = {'model': {'update_ta': False}}
    return [
        Row('OmniSAM', frozen, config=GOODSAM_13, start=START, **common),
        Row('OmniSAM, adapted', frozen, config=GOODSAM_13, start=ADAPTED, **common),
        Row('SegFormer-B2', frozen, config=GOODSAM_13_SEGFORMER, **common),
    ]
