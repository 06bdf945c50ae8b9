"""The rows of the ablation tables on ToyPASS, as changes of the config that ``make demo`` trains.

What belongs to the paper's tables is read from the files in mmseg_configs/ablations, so that a row means the same here
and on DensePASS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'mmseg_configs'
BASE = CONFIGS / 'goodsam_b0_toypass.py'
SOURCE = CONFIGS / 'source/segformer_b0_toypass.py'
ORACLE = CONFIGS / 'source/segformer_b0_toypass_oracle_whole.py'
_WINDOWS = ('ta_tile', 'ensemble')
_FINE = ('--generator', 'felzenszwalb', '--scales', '50', '--sigma', '0.5', '--min-size', '10')

# Where masks come from: the tool and its flags.
MASKS: dict[str, tuple[str, ...]] = {
    'felzenszwalb': ('cache_sam.py', *_FINE),
    'felzenszwalb-coarse': ('cache_sam.py', '--generator', 'felzenszwalb'),
    'toy-sam': ('cache_sam.py', '--sam', 'toy', '--level', 'fp32-fast', '--overlap-source', 'window'),
    'truth': ('cache_truth.py',),
    'truth-parts': ('cache_truth.py', '--kinds', 'instances', 'parts'),
}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: What the line says.
        changes: Of the config, nested; ``_delete_`` as in MMEngine.
        masks: Key of ``MASKS``; None takes the command line's.
        trained: Whether anything is learnt; what is not needs no seeds.
        config: What is changed.
        predictors: What is scored.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    masks: str | None = None
    trained: bool = True
    config: Path = BASE
    predictors: tuple[str, ...] = ('student', 'ta_tile', 'ensemble')


def difference(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """What has to be merged into ``old`` to get ``new``, leaving out what ``new`` lacks."""
    found: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key)
        if not isinstance(value, dict) or not isinstance(before, dict):
            if value != before:
                found[key] = value
        elif value.get('type') != before.get('type'):
            found[key] = {**value, '_delete_': True}
        elif changed := difference(value, before):
            found[key] = changed
    return found


def paper_row(name: str) -> dict[str, Any]:
    """The model's changes in one of the files of mmseg_configs/ablations, against the config for DensePASS."""
    read = [Config.fromfile(CONFIGS / file).model.to_dict() for file in (f'ablations/{name}.py', 'goodsam_b0.py')]
    changes = difference(*read)
    changes.pop('test_cfg', None)  # what is scored, this table decides
    return changes


def table3() -> list[Row]:
    """The paper's Table 3, and its student's terms with a frozen assistant."""
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


STUDENT_TERMS = (
    ('eq 4', (1.0, 0.0, 0.0)),
    ('eq 4, 5', (1.0, 1.0, 0.0)),
    ('eq 4, 5, 7', (1.0, 1.0, 1.0)),
)


def student_terms(whole_image: float, ensemble: float, boundary: float) -> dict[str, Any]:
    """Weights of Eq. 4, 5 and 7; the assistant is not trained."""
    weights = {'whole_image': whole_image, 'ensemble_student': ensemble, 'boundary_student': boundary}
    return {'update_ta': False, 'mka_head': weights}


def table4() -> list[Row]:
    """The paper's Table 4 at half the size: windows without training, then strides with it, the assistant frozen."""
    rows = []
    for width in (1024, 512, 256, 128):
        grid = _halved(paper_row(f'table4_window{width}').get('grid', {}))
        model = {'grid': {**grid, 'wrap': False}}
        rows.append(Row(f'window 200x{width // 2}', {'model': model}, trained=False, predictors=_WINDOWS))
    for stride in (512, 400, 320, 256):
        changes = paper_row(f'table4_stride{stride}')
        grid = _halved(changes.pop('grid', {}))
        model = {**changes, 'grid': {**grid, 'wrap': False}}
        loader = {'dataset': {'pipeline': _PLAIN}}
        rows.append(Row(f'stride {stride // 2}', {'model': model, 'train_dataloader': loader}))
    return rows


# Windows of some strides are no mirror images of each other and don't close around the seam.
_PLAIN = [{'type': kind} for kind in ('LoadPanorama', 'LoadCachedMasks', 'PhotoMetricDistortion', 'PackPanorama')]


def _halved(grid: dict[str, Any]) -> dict[str, Any]:
    half = dict(grid)
    if 'window' in half:
        half['window'] = tuple(side // 2 for side in half['window'])
    if 'stride' in half:
        half['stride'] = half['stride'] // 2
    return half


FUSIONS = {'SSA': 'SSAFusion', 'SEPL': 'SEPLFusion', 'CTCF': 'CTCF'}


def fusion(name: str) -> dict[str, Any]:
    """The model's changes for one of ``FUSIONS``."""
    return {} if name == 'CTCF' else {'ctcf_head': {'fusion': {'type': FUSIONS[name], '_delete_': True}}}


def table5() -> list[Row]:
    """The paper's Table 5: fusions and assistants, without training."""
    rows = []
    for size in assistant_sizes():
        for name in FUSIONS:
            model = {**fusion(name), **assistant(size)}
            rows.append(Row(f'{name}, assistant B{size}', {'model': model}, trained=False, predictors=_WINDOWS))
    return rows


def assistant_sizes() -> list[int]:
    """Of the assistants that there are weights for; those of B0 come with the project."""
    return [0] + [size for size in range(1, 6) if (CONFIGS.parent / assistant_weights(size)).exists()]


def assistant_weights(size: int) -> str:
    """Where the initial weights of a larger assistant lie, once the user has trained and exported them."""
    return f'work_dirs/segformer_b{size}_toypass.safetensors'


def assistant(size: int) -> dict[str, Any]:
    """The model's changes for an assistant of this size; 0 is the base config's."""
    if not size:
        return {}
    network = Config.fromfile(CONFIGS / f'ablations/table5_ctcf_b{size}.py').model.teacher_assistant.to_dict()
    backbone = {key: network['backbone'][key] for key in ('embed_dims', 'num_layers')}
    channels = [backbone['embed_dims'] * factor for factor in (1, 2, 5, 8)]
    head = {'in_channels': channels, 'channels': network['decode_head']['channels']}
    weights = {'init_cfg': {'checkpoint': assistant_weights(size)}}
    return {'teacher_assistant': {'backbone': backbone, 'decode_head': head, **weights}}


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
}


def choices() -> list[Row]:
    """The open choices of CTCF, without training, on three sources of masks."""
    rows = []
    for masks in ('felzenszwalb', 'toy-sam', 'truth'):
        for name, settings in _CTCF_CHOICES.items():
            model = {'ctcf_head': {'fusion': settings}} if settings else {}
            rows.append(Row(f'{masks}: {name}', {'model': model}, masks, trained=False, predictors=('ensemble',)))
        rows.append(Row(f'{masks}: SSA', {'model': fusion('SSA')}, masks, trained=False, predictors=('ensemble',)))
    return rows


def by_class(power: float = 1.0) -> dict[str, Any]:
    """The class weights that the networks were first trained with, or a power of them, for Eq. 4 to 6 too."""
    weights = [weight**power for weight in Config.fromfile(SOURCE).class_weight]
    return {'class_weight': [round(weight, 3) for weight in weights]}


def controls() -> list[Row]:
    """Bounds and controls, at equal steps, with a frozen assistant unless the row says otherwise."""
    rows = [Row('source only, not trained further', trained=False)]
    rows += [Row(name, {'model': student_terms(*weights)}) for name, weights in STUDENT_TERMS if name != 'eq 4, 5']
    for masks in MASKS:
        for name in ('SSA', 'CTCF'):
            model = {**student_terms(1.0, 1.0, 0.0), **fusion(name)}
            rows.append(Row(f'eq 4, 5, {name}, masks {masks}', {'model': model}, masks))
    for size in assistant_sizes()[1:]:
        model = {**student_terms(1.0, 1.0, 0.0), **assistant(size)}
        rows.append(Row(f'eq 4, 5, CTCF, assistant B{size}', {'model': model}))
    weightings = (('', {}), (', class weights', by_class()), (', roots of class weights', by_class(0.5)))
    for masks in ('felzenszwalb', 'truth'):
        for name, weights in weightings:
            rows.append(
                Row(
                    f'all, assistant trained{name}, masks {masks}',
                    {'model': {'update_ta': True, 'mka_head': weights}},
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


TABLES: dict[str, Callable[[], list[Row]]] = {
    'table3': table3,
    'table4': table4,
    'table5': table5,
    'choices': choices,
    'controls': controls,
}
