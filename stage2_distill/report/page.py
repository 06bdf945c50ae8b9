"""The page itself: one HTML file that asks no other address for anything."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from stage1_sam_cache.data.label_spaces import LABEL_SPACES

_CLASS = 'IoU.'


def make_page(
    title: str,
    facts: Mapping[str, str],
    figures: Mapping[str, str],
    scores: Mapping[str, Mapping[str, Any]],
    panoramas: Sequence[Mapping[str, Any]],
) -> str:
    """Assemble the page.

    Args:
        title: Of the run.
        facts: Lines of the first table, plain text.
        figures: SVG by title, as ``curves.draw_curves``.
        scores: Contents of score files by name, as ``run_files.read_scores``.
        panoramas: As ``layers.as_layers``.

    Returns:
        HTML.
    """
    viewer = files('stage2_distill.report') / 'viewer'

    def read(name: str) -> str:
        return (viewer / name).read_text(encoding='utf-8')

    return Template(read('page.html')).substitute(
        title=html.escape(title),
        facts=_table(
            [(f'<th>{html.escape(name)}</th>', f'<td>{html.escape(value)}</td>') for name, value in facts.items()]
        ),
        figures=''.join(
            f'<figure><figcaption>{html.escape(name)}</figcaption>{svg}</figure>' for name, svg in figures.items()
        ),
        scores=''.join(_scores(name, content) for name, content in scores.items()) or '<p>Nothing has been scored.</p>',
        legend=_legend(),
        # In a script element only "</" could end it early.
        panoramas=json.dumps(list(panoramas)).replace('</', '<\\/'),
        viewer_style=read('pannellum.css'),
        style=read('page.css'),
        viewer_licence=html.escape(read('LICENSE.pannellum')),
        viewer_script=read('pannellum.js').replace('</', '<\\/'),
        script=read('page.js'),
    )


def _scores(name: str, content: Mapping[str, Any]) -> str:
    """The rows of a score file: means, then the classes."""
    rows: list[dict[str, Any]] = content['scores']
    of = [str(content[key]) for key in ('dataset', 'split', 'checkpoint') if content.get(key)]
    of += [f'{count} images' for count in [(content.get('images') or {}).get('scored')] if count is not None]
    head = f'<h3>{html.escape(name)}</h3><p>{html.escape(", ".join(of))}</p>'
    classes = [key.removeprefix(_CLASS) for key in rows[0] if key.startswith(_CLASS)]
    columns = ['mIoU', 'mAcc', 'aAcc', *classes]
    cells = []
    for row in rows:
        scale = f', input scale {row["input_scale"]:g}' if row.get('input_scale', 1) != 1 else ''
        values = [row.get(column, row.get(_CLASS + column)) for column in columns]
        shown = ['' if value is None else f'{value:.2f}' for value in values]
        cells.append(
            [f'<th>{html.escape(str(row.get("mode", "")) + scale)}</th>', *(f'<td>{value}</td>' for value in shown)]
        )
    return head + _table(cells, ['', *map(html.escape, columns)])


def _table(rows: Sequence[Sequence[str]], names: Sequence[str] = ()) -> str:
    """Rows of ready cells, below the names of their columns."""
    lines = [[f'<th>{name}</th>' for name in names], *rows]
    body = ''.join(f'<tr>{"".join(line)}</tr>' for line in lines if line)
    return f'<div class="wide"><table>{body}</table></div>'


def _legend() -> str:
    space = LABEL_SPACES['cityscapes19']
    return ''.join(
        f'<span><i style="background:rgb{tuple(colour)}"></i>{html.escape(name)}</span>'
        for name, colour in zip(space.classes, space.palette, strict=True)
    )
