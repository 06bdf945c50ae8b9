"""A row of an ablation table, as changes of the config that ``make demo`` trains.

What belongs to the paper's tables is read from the files in mmseg_configs/ablations, so that a row means the same here
and on DensePASS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[2] / 'mmseg_configs'
BASE = CONFIGS / 'goodsam_b0_toypass.py'
SOURCE = CONFIGS / 'source/segformer_b0_toypass.py'
ORACLE = CONFIGS / 'source/segformer_b0_toypass_oracle_whole.py'
# GoodSAM in 13 classes, by its assistant.
GOODSAM_13 = CONFIGS / 'omnisam/goodsam_b0_toypass_13.py'
GOODSAM_13_SEGFORMER = CONFIGS / 'omnisam/goodsam_b0_toypass_13_segformer.py'
_FINE = ('--generator', 'felzenszwalb', '--scales', '50', '--sigma', '0.5', '--min-size', '10')
# Where masks come from: the tool and its flags.
MASKS: dict[str, tuple[str, ...]] = {
    'felzenszwalb': ('cache_sam.py', *_FINE),
    'felzenszwalb-coarse': ('cache_sam.py', '--generator', 'felzenszwalb'),
    'toy-sam': ('cache_sam.py', '--sam', 'toy', '--level', 'fp32-fast', '--overlap-source', 'window'),
    'truth': ('cache_truth.py',),
    'truth-parts': ('cache_truth.py', '--kinds', 'instances', 'parts'),
}

# True instances damaged on purpose (tools/toypass/truth/simulated_masks.py): by kind, and by all kinds together.
_AMOUNTS = {
    'merge': (0.1, 0.3, 0.6),
    'cut': (0.1, 0.3, 0.6),
    'rough': (1, 2, 4),
    'erode': (1, 2, 4),
    'drop': (0.1, 0.3, 0.6),
}
_TOGETHER = {'little': (0.1, 0.1, 1, 1, 0.1), 'some': (0.2, 0.2, 1.5, 1, 0.2), 'much': (0.4, 0.4, 2, 2, 0.4)}
SIMULATED: dict[str, tuple[str, ...]] = {
    f'{kind} {amount:g}': ('cache_truth.py', f'--{kind}', f'{amount:g}')
    for kind, amounts in _AMOUNTS.items()
    for amount in amounts
}
for _name, _amounts in _TOGETHER.items():
    _flags = [(f'--{kind}', f'{amount:g}') for kind, amount in zip(_AMOUNTS, _amounts, strict=True)]
    SIMULATED[f'all {_name}'] = ('cache_truth.py', *(word for pair in _flags for word in pair))


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: First cell of the line.
        changes: Of the config, nested; ``_delete_`` as in MMEngine.
        masks: Key of ``MASKS`` or ``SIMULATED``; None takes the command line's.
        trained: Whether anything is trained.
        config: File of the config that ``changes`` apply to.
        predictors: Predictors that are scored.
        measured: Whether the masks, and the ensembles they give without training, are scored as well.
        scorings: Keys of OmniSAM's ``SCORINGS``, in place of predictors: each is a line of the table.
        kept: Whether the last checkpoint is kept, because rows of other tables start from it.
        start: A row of another table, ``(table, name)``, whose model of the same seed is the OmniSAM of this one.
        own_masks: Whether an OmniSAM learns from masks of its own windows.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    masks: str | None = None
    trained: bool = True
    config: Path = BASE
    predictors: tuple[str, ...] = ('student', 'ta_tile', 'ensemble')
    measured: bool = False
    scorings: tuple[str, ...] = ()
    kept: bool = False
    start: tuple[str, str] | None = None
    own_masks: bool = False

    @property
    def is_goodsam(self) -> bool:
        """Whether it is GoodSAM, which has several predictors and needs masks to be trained."""
        return self.config in (BASE, GOODSAM_13, GOODSAM_13_SEGFORMER)

    @property
    def has_seeds(self) -> bool:
        """Whether its scores depend on a seed: of its training, or of the model that it starts from."""
        return self.trained or self.start is not None


def difference(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Return what has to be merged into ``old`` to get ``new``; keys that ``new`` lacks are skipped."""
    changes: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key)
        if not isinstance(value, dict) or not isinstance(before, dict):
            if value != before:
                changes[key] = value
        elif value.get('type') != before.get('type'):
            changes[key] = {**value, '_delete_': True}
        elif nested := difference(value, before):
            changes[key] = nested
    return changes


def paper_row(name: str) -> dict[str, Any]:
    """Return the changes of the model in a file of mmseg_configs/ablations, compared with goodsam_b0.py."""
    from mmengine.config import Config

    models = [Config.fromfile(CONFIGS / file).model.to_dict() for file in (f'ablations/{name}.py', 'goodsam_b0.py')]
    changes = difference(*models)
    changes.pop('test_cfg', None)  # the row decides what is scored
    return changes


def student_terms(whole_image: float, ensemble: float, boundary: float) -> dict[str, Any]:
    """Return the changes that freeze the assistant and set the weights of Eq. 4, 5 and 7."""
    weights = {'whole_image': whole_image, 'ensemble_student': ensemble, 'boundary_student': boundary}
    return {'update_ta': False, 'mka_head': weights}


def halved_grid(grid: dict[str, Any]) -> dict[str, Any]:
    """Return a grid with half the window and stride, for panoramas of half the size."""
    half = dict(grid)
    if 'window' in half:
        half['window'] = tuple(side // 2 for side in half['window'])
    if 'stride' in half:
        half['stride'] = half['stride'] // 2
    return half


FUSIONS = {'SSA': 'SSAFusion', 'SEPL': 'SEPLFusion', 'CTCF': 'CTCF'}


def fusion(name: str) -> dict[str, Any]:
    """Return the changes of the model for one of ``FUSIONS``."""
    return {} if name == 'CTCF' else {'ctcf_head': {'fusion': {'type': FUSIONS[name], '_delete_': True}}}


def assistant_sizes() -> list[int]:
    """List the sizes of assistants that have weights; those of B0 and B2 come with the project."""
    return [size for size in range(6) if size in _SHIPPED or (CONFIGS.parent / assistant_weights(size)).exists()]


_SHIPPED = {0: 'goodsam://segformer_b0.safetensors', 2: 'goodsam://segformer_b2_int8.safetensors'}


def assistant_weights(size: int) -> str:
    """Name the initial weights of an assistant: the project's, or those that the user trains and exports."""
    return _SHIPPED.get(size, f'work_dirs/segformer_b{size}_toypass.safetensors')


def assistant(size: int) -> dict[str, Any]:
    """Return the changes of the model for an assistant of this size."""
    from mmengine.config import Config

    network = Config.fromfile(CONFIGS / f'ablations/table5_ctcf_b{size}.py').model.teacher_assistant.to_dict()
    backbone = {key: network['backbone'][key] for key in ('embed_dims', 'num_layers')}
    channels = [backbone['embed_dims'] * factor for factor in (1, 2, 5, 8)]
    head = {'in_channels': channels, 'channels': network['decode_head']['channels']}
    weights = {'init_cfg': {'checkpoint': assistant_weights(size)}}
    return {'teacher_assistant': {'backbone': backbone, 'decode_head': head, **weights}}


def by_class(power: float = 1.0) -> dict[str, Any]:
    """Return changes that use the class weights of source training, or a power of them, in Eq. 4 to 6."""
    from mmengine.config import Config

    weights = [weight**power for weight in Config.fromfile(SOURCE).class_weight]
    return {'class_weight': [round(weight, 3) for weight in weights]}
