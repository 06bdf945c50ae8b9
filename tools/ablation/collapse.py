"""Why a trained assistant can collapse: the suspects one by one, and what drifts meanwhile.

Every row trains assistant and student with all terms. The literal reading of the loop lets the pass that is trained
make the labels; each other row changes one thing of it. What the labels consist of is in each run's log
(``LabelGuardHook``), from which ``drift_plot`` is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ablation.jobs import Job
from ablation.rows import Row, by_class, fusion
from stage2_distill.report.run_files import Curves, read_curves

_LITERAL: dict[str, Any] = {'update_ta': True, 'label_momentum': None}
MASKS = ('truth', 'felzenszwalb', 'toy-sam')
_BASE_RATE = {'custom_keys': {'head': {'lr_mult': 1.0}}}


def suspects() -> dict[str, dict[str, Any]]:
    """Return one change each of the literal reading, by name."""
    return {
        'labels by the pass that is trained (literal)': {},
        'literal, no dropout in the head': {'model': {'teacher_assistant': {'decode_head': {'dropout_ratio': 0.0}}}},
        'literal, batch statistics as at the start': {'model': {'norm_eval': ('teacher_assistant',)}},
        "literal, the head's learning rate as the backbone's": {
            'optim_wrapper': {'teacher_assistant': {'paramwise_cfg': _BASE_RATE}}
        },
        'literal, roots of class weights': {'model': {'mka_head': by_class(0.5)}},
        'literal, labels of masks alone': {'model': {'ctcf_head': {'fusion': {'uncovered': 'ignore'}}}},
        'literal, four panoramas a batch': {'train_dataloader': {'batch_size': 4}},
        'labels in evaluation mode (momentum 0)': {'model': {'label_momentum': 0.0}},
        'labels of a moving average (momentum 0.99)': {'model': {'label_momentum': 0.99}},
        'labels of a moving average (momentum 0.999, the default)': {'model': {'label_momentum': 0.999}},
        'labels of a copy that stays (momentum 1)': {'model': {'label_momentum': 1.0}},
        'labels of a moving average, SSA': {'model': {'label_momentum': 0.999, **fusion('SSA')}},
    }


def collapse() -> list[Row]:
    """Return a row of every suspect on every source of masks, and the start, which is not trained."""
    rows = []
    for masks in MASKS:
        rows.append(Row(f'{masks}: before', masks=masks, trained=False))
        for name, changes in suspects().items():
            model = {**_LITERAL, **changes.get('model', {})}
            rows.append(Row(f'{masks}: {name}', {**changes, 'model': model}, masks))
    return rows


def drift(job: Job) -> Curves:
    """Read what a run's log says of its labels, as (iteration, value) by name: ``label_share/...`` and agreements."""
    logged = read_curves(job.folder / 'work')
    return {name: points for name, points in logged.items() if name.startswith('label_') or name.endswith('_agreement')}


def drift_plot(rows: Iterable[Row], jobs: list[Job], file: Path, rare: int = 10) -> bool:
    """Draw what happens to the labels of each row.

    Left: the agreement with the labels of the start; right: the share of the ``rare`` classes that were rarest at the
    first entry of the log, together, relative to then. Seeds are lines of one colour.

    Returns:
        False, without a picture, if no run has such a log.
    """
    logs = [(row, [log for job in jobs if job.row == row and (log := drift(job))]) for row in rows]
    logs = [(row, found) for row, found in logs if found]
    if not logs:
        return False
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for number, (row, found) in enumerate(logs):
        for k, log in enumerate(found):
            style: dict[str, Any] = {'color': f'C{number}', 'label': row.name if k == 0 else None}
            if 'label_agreement' in log:
                left.plot(*zip(*log['label_agreement'], strict=True), **style)
            right.plot(*zip(*_rare(log, rare), strict=True), **style)
    left.set_title('pixels labelled as at the start')
    right.set_title(f'share of the {rare} rarest classes, relative to the start')
    for axes in (left, right):
        axes.set_xlabel('iteration')
        axes.grid(alpha=0.3)
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, loc='upper center', bbox_to_anchor=(0.5, 0.02), ncols=2, frameon=False)
    figure.savefig(file, dpi=110, bbox_inches='tight')
    pyplot.close(figure)
    return True


def _rare(log: Curves, count: int) -> list[tuple[int, float]]:
    """The joint share of the classes that were rarest at first, relative to their first."""
    shares = {name: dict(steps) for name, steps in log.items() if name.startswith('label_share/')}
    steps = sorted(set.intersection(*(set(values) for values in shares.values())))
    present = [name for name in shares if shares[name][steps[0]] > 0]
    names = sorted(present, key=lambda name: shares[name][steps[0]])[:count]
    sums = [sum(shares[name][step] for name in names) for step in steps]
    return [(step, value / sums[0]) for step, value in zip(steps, sums, strict=True)]
