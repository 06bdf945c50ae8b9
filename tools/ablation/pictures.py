"""The scores of all jobs as a plot, and their pictures on one sheet."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ablation.jobs import Job
from ablation.report import collect, columns_of, heading, lines_of
from ablation.rows import SIMULATED, Row

PANELS = ('image', 'truth', 'assistant', 'ensemble', 'before', 'student')  # of a row's picture
COLUMNS = 2  # of a row's picture


def plot(rows: list[Row], jobs: list[Job], file: Path) -> None:
    """Draw one bar per row and predictor, with the spread of the seeds."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    names, scores = zip(*lines_of(rows, jobs), strict=True)
    columns = [name for name in columns_of(list(scores)) if name.endswith(' mIoU') and not name.startswith('labels ')]
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.28 * len(names) * len(columns)))
    height = 0.8 / len(columns)
    for i, column in enumerate(columns):
        places = [(y, values[column]) for y, values in enumerate(scores) if column in values]
        axes.barh(
            [y + i * height for y, _ in places],
            [values.mean() for _, values in places],
            height,
            xerr=[values.std(ddof=1) if len(values) > 1 else 0 for _, values in places],
            label=heading(column),
        )
    axes.set_yticks([y + 0.4 - height / 2 for y in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel('mIoU, %')
    low = min(values.min() for row in scores for name, values in row.items() if name in columns)
    axes.set_xlim(left=max(0.0, low - 5))
    axes.grid(axis='x', alpha=0.3)
    axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)
    figure.savefig(file, dpi=110, bbox_inches='tight')
    pyplot.close(figure)


def plot_quality(rows: list[Row], jobs: list[Job], file: Path) -> None:
    """Draw the ensembles', and where they are known the students' mIoU over the quality of the masks.

    A line joins the amounts of one kind of damage, beginning at the true masks; other sources are points.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    scores = {row.name: {name: values.mean() for name, values in collect(row, jobs).items()} for row in rows}
    shown = ('ensemble, CTCF', 'ensemble, SSA', 'student mIoU')
    columns = [column for column in shown if any(column in row for row in scores.values())]
    kinds = dict.fromkeys(name.split()[0] for name in scores if name in SIMULATED)
    lines = {kind: ['truth', *(name for name in scores if name.split()[0] == kind)] for kind in kinds}
    lines |= {name: [name] for name in scores if name not in (*SIMULATED, 'truth')}
    figure, panels = pyplot.subplots(1, len(columns), figsize=(1 + 3.6 * len(columns), 3.6), sharey=True, squeeze=False)
    for axes, column in zip(panels[0], columns, strict=True):
        for number, (label, names) in enumerate(lines.items()):
            known = [scores[name] for name in names if column in scores.get(name, {})]
            x, y = ([row[key] for row in known] for key in ('masks, mean IoU', column))
            axes.plot(x, y, f'C{number}o-', label=label, markersize=4)
        assistant = next(row['assistant'] for row in scores.values())
        axes.axhline(assistant, color='grey', linestyle='--', label='assistant alone')
        axes.set_title(heading(column))
        axes.set_xlabel('mean best IoU of true instances, %')
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel('mIoU, %')
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=90, bbox_inches='tight')
    pyplot.close(figure)


def contact_sheet(rows: list[Row], jobs: list[Job], file: Path, width: int = 480) -> bool:
    """Write one sheet with the assistant, ensemble and student of each row that has a picture.

    Args:
        rows, jobs: Of the table.
        file: The sheet.
        width: Of one panel, in pixels.

    Returns:
        False, without a sheet, if no row has a picture.
    """
    pictures = {}
    for row in rows:
        shown = next((job.folder / 'picture.png' for job in jobs if job.row == row), None)
        if shown is not None and shown.exists():
            pictures[row.name] = Image.open(shown).convert('RGB')
    if not pictures:
        return False
    lines = len(PANELS) // COLUMNS

    def panels(picture: Image.Image, *names: str) -> list[Image.Image]:
        w, h = picture.width // COLUMNS, picture.height // lines
        places = [divmod(PANELS.index(name), COLUMNS) for name in names]
        cut = [picture.crop((column * w, line * h, (column + 1) * w, (line + 1) * h)) for line, column in places]
        return [part.resize((width, round(h * width / w)), Image.Resampling.LANCZOS) for part in cut]

    first = next(iter(pictures.values()))
    strips = [('', panels(first, 'image', 'truth', 'before'))]
    strips += [(name, panels(picture, 'assistant', 'ensemble', 'student')) for name, picture in pictures.items()]
    caption, height = 20, strips[0][1][0].height
    sheet = Image.new('RGB', (3 * width, sum(height + (caption if name else 0) for name, _ in strips)), 'white')
    top = 0
    for name, parts in strips:
        if name:
            ImageDraw.Draw(sheet).text((4, top + 2), name, 'black', ImageFont.load_default(14))
            top += caption
        for column, part in enumerate(parts):
            sheet.paste(part, (column * width, top))
        top += height
    sheet.save(file, quality=88)
    return True
