"""Logged values as SVG: losses, scores, labels, class shares, learning rates."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill.report.run_files import Curves

_SHARE = 'label_share/'


def draw_curves(curves: Curves) -> dict[str, str]:
    """Draw what there is, one figure each.

    Args:
        curves: As ``run_files.read_curves``.

    Returns:
        SVG by title; no figure of what was not logged.
    """
    groups = {
        'Losses': [name for name in curves if name == 'loss' or name.startswith(('loss_', 'decode.loss'))],
        'Scores during training, %': [name for name in curves if name.rsplit('/')[-1] in ('mIoU', 'mAcc', 'aAcc')],
        'Labels: reliable pixels, agreement with the start': [
            name for name in curves if name == 'reliable' or name.endswith('_agreement')
        ],
        'Learning rates': [name for name in curves if name == 'lr' or name.endswith('.lr')],
        'Seconds per iteration': [name for name in curves if name in ('time', 'data_time')],
    }
    drawn = {}
    for title, names in groups.items():
        if names:
            drawn[title] = _lines({name: curves[name] for name in names}, logarithmic=title == 'Losses')
    shares = {name.removeprefix(_SHARE): curves[name] for name in curves if name.startswith(_SHARE)}
    if shares:
        drawn['Share of each class in the ensemble labels'] = _areas(shares)
    return drawn


def _lines(curves: Curves, logarithmic: bool) -> str:
    figure, axes = _figure()
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), label=name, marker='.' if len(points) < 20 else None, linewidth=1.2)
    if logarithmic and all(value > 0 for points in curves.values() for _, value in points):
        axes.set_yscale('log')
    return _finish(figure, axes)


def _areas(shares: Curves) -> str:
    """Shares on top of each other, in the colours of the classes."""
    space = LABEL_SPACES['cityscapes19']
    colours = dict(zip(space.classes, space.palette, strict=True))
    steps = sorted(set.intersection(*({step for step, _ in points} for points in shares.values())))
    names = sorted(shares, key=lambda name: -sum(value for _, value in shares[name]))
    by_step = {name: dict(shares[name]) for name in names}
    figure, axes = _figure()
    axes.stackplot(
        steps,
        [[by_step[name][step] for step in steps] for name in names],
        labels=names,
        colors=[[value / 255 for value in colours.get(name, (128, 128, 128))] for name in names],
    )
    axes.set_ylim(0, 1)
    return _finish(figure, axes)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # without pyplot, which would choose a backend for the whole process

    figure = Figure(figsize=(7.2, 3.2))
    return figure, figure.add_subplot()


def _finish(figure: Any, axes: Any) -> str:
    axes.set_xlabel('iteration')
    axes.grid(alpha=0.3)
    axes.margins(x=0)
    handles: Sequence[Any] = axes.get_legend_handles_labels()[0]
    axes.legend(loc='center left', bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=7 if len(handles) > 10 else 9)
    text = io.StringIO()
    figure.savefig(text, format='svg', bbox_inches='tight', metadata={'Date': None})
    svg = text.getvalue()
    return svg[svg.index('<svg') :]  # what stands before names a file at another address
