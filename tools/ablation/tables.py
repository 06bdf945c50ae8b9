"""The tables: the paper's Tables 3 to 5, the open choices of CTCF, and bounds and controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ablation.collapse import collapse
from ablation.omnisam import adaptation, assistants, omnisam
from ablation.rows import (
    FUSIONS,
    MASKS,
    ORACLE,
    SIMULATED,
    Row,
    assistant,
    assistant_sizes,
    by_class,
    fusion,
    halved_grid,
    paper_row,
    student_terms,
)

_WINDOWS = ('ta_tile', 'ensemble')
STUDENT_TERMS = (
    ('eq 4', (1.0, 0.0, 0.0)),
    ('eq 4, 5', (1.0, 1.0, 0.0)),
    ('eq 4, 5, 7', (1.0, 1.0, 1.0)),
)


def table3() -> list[Row]:
    """Return the rows of the paper's Table 3, and its student terms with a frozen assistant."""
    train = {'update_ta': True}
    terms = ['L_CE^{T,TA}, L_CE^{TA,S}', '+ L_CC', '+ L_bd^{T,TA}', '+ L_CE^{T,S}', '+ L_bd^{T,S}']
    return [
        Row('1: whole', trained=False, predictors=('student', 'ta_whole')),
        Row('2: windows', trained=False, predictors=('student', 'ta_tile')),
        Row('3: CTCF', trained=False),
        *(
            Row(f'{number}: {term}', {'model': {**paper_row(f'table3_row{number}'), **train}})
            for number, term in enumerate(terms, start=4)
        ),
        *(Row(f'{name}, assistant frozen', {'model': student_terms(*weights)}) for name, weights in STUDENT_TERMS),
    ]


# No flip and no roll: with some strides, the windows are not symmetric and do not close around the seam.
_PLAIN = [{'type': kind} for kind in ('LoadPanorama', 'LoadCachedMasks', 'PhotoMetricDistortion', 'PackPanorama')]


def table4() -> list[Row]:
    """Return the rows of the paper's Table 4 at half size: windows without training, then strides with training."""
    rows = []
    for width in (1024, 512, 256, 128):
        grid = halved_grid(paper_row(f'table4_window{width}').get('grid', {}))
        model = {'grid': {**grid, 'wrap': False}}
        rows.append(Row(f'window 200x{width // 2}', {'model': model}, trained=False, predictors=_WINDOWS))
    for stride in (512, 400, 320, 256):
        changes = paper_row(f'table4_stride{stride}')
        grid = halved_grid(changes.pop('grid', {}))
        model = {**changes, 'grid': {**grid, 'wrap': False}}
        loader = {'dataset': {'pipeline': _PLAIN}}
        rows.append(Row(f'stride {stride // 2}', {'model': model, 'train_dataloader': loader}))
    return rows


def table5() -> list[Row]:
    """Return the rows of the paper's Table 5: fusions and assistants, without training."""
    rows = []
    for size in assistant_sizes():
        for name in FUSIONS:
            model = {**fusion(name), **assistant(size)}
            rows.append(Row(f'{name}, assistant B{size}', {'model': model}, trained=False, predictors=_WINDOWS))
    return rows


_CTCF_CHOICES: dict[str, dict[str, Any]] = {
    'as in the paper': {},
    "entropy='mean_dist'": {'entropy': 'mean_dist'},
    "entropy='spatial'": {'entropy': 'spatial'},
    "entropy='binary'": {'entropy': 'binary'},
    'min_candidate_lcr=0.2': {'min_candidate_lcr': 0.2},
    "support='visible'": {'support': 'visible'},
    "uncovered='nearest'": {'uncovered': 'nearest'},
    "area_unit='sam_input'": {'area_unit': 'sam_input'},
    'theta_medium=0.5': {'theta_medium': 0.5},
    "theta='level_mean'": {'theta': 'level_mean'},
    "theta='level_mean', theta_clamp=None": {'theta': 'level_mean', 'theta_clamp': None},
    "theta='level_mean', theta_scope='window'": {'theta': 'level_mean', 'theta_scope': 'window'},
}


def choices() -> list[Row]:
    """Return the rows of the open choices of CTCF, without training, on three sources of masks."""
    rows = []
    for masks in ('felzenszwalb', 'toy-sam', 'truth'):
        for name, settings in _CTCF_CHOICES.items():
            model = {'ctcf_head': {'fusion': settings}} if settings else {}
            rows.append(Row(f'{masks}: {name}', {'model': model}, masks, trained=False, predictors=('ensemble',)))
        rows.append(Row(f'{masks}: SSA', {'model': fusion('SSA')}, masks, trained=False, predictors=('ensemble',)))
    return rows


def controls() -> list[Row]:
    """Return bounds and controls, at equal steps, with a frozen assistant unless the row says otherwise."""
    rows = [Row('source only, not trained further', trained=False)]
    rows += [Row(name, {'model': student_terms(*weights)}) for name, weights in STUDENT_TERMS if name != 'eq 4, 5']
    rows.append(Row('eq 5 alone', {'model': student_terms(0.0, 1.0, 0.0)}))
    for masks in MASKS:
        for name in ('SSA', 'CTCF'):
            model = {**student_terms(1.0, 1.0, 0.0), **fusion(name)}
            rows.append(Row(f'eq 4, 5, {name}, masks {masks}', {'model': model}, masks))
    for size in assistant_sizes()[1:]:
        model = {**student_terms(1.0, 1.0, 0.0), **assistant(size)}
        rows.append(Row(f'eq 4, 5, CTCF, assistant B{size}', {'model': model}))
    weightings: tuple[tuple[str, dict[str, Any]], ...] = (
        ('', {}),
        (', class weights', by_class()),
        (', roots of class weights', by_class(0.5)),
    )
    for masks in ('felzenszwalb', 'truth'):
        for name, weights in weightings:
            rows.append(
                Row(
                    f'all, assistant trained, labels by the pass that is trained{name}, masks {masks}',
                    {'model': {'update_ta': True, 'label_momentum': None, 'mka_head': weights}},
                    masks,
                )
            )
        for momentum in (1.0, 0.99):
            name = f'all, assistant trained, labels of a copy (momentum {momentum:g}), masks {masks}'
            rows.append(Row(name, {'model': {'update_ta': True, 'label_momentum': momentum}}, masks))
        frozen = student_terms(1.0, 1.0, 0.0)
        frozen['mka_head'] |= by_class()
        rows.append(Row(f'eq 4, 5, CTCF, class weights, masks {masks}', {'model': frozen}, masks))
    rows.append(Row('true labels (oracle)', config=ORACLE, predictors=('student',)))
    return rows


def mask_quality() -> list[Row]:
    """Return the rows that say how good masks must be: for each source of masks, true ones damaged more and more first,
    their quality, their ensembles, and a student taught by eq 4 and 5 with a frozen assistant.
    """
    changes = {'model': student_terms(1.0, 1.0, 0.0)}
    sources = ('truth', *SIMULATED, 'felzenszwalb', 'toy-sam')
    return [Row(masks, changes, masks, predictors=('student',), measured=True) for masks in sources]


TABLES: dict[str, Callable[[], list[Row]]] = {
    'table3': table3,
    'table4': table4,
    'table5': table5,
    'choices': choices,
    'controls': controls,
    'collapse': collapse,
    'mask_quality': mask_quality,
    'omnisam': omnisam,
    'omnisam_adaptation': adaptation,
    'omnisam_assistant': assistants,
}
