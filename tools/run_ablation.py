#!/usr/bin/env python3
"""Runs one of the ablation tables on ToyPASS and writes it as Markdown and as a plot.

    tools/run_ablation.py table5                       # fusions, without training: minutes
    tools/run_ablation.py table3 --seeds 0 1 2         # each trained row some five minutes of two CPU cores a seed
    tools/run_ablation.py controls --rows 'eq 4' oracle --masks truth

Masks are cached once for all rows. It can be killed at any moment and run again: what was trained and scored stays, and
a training that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

try:
    import numpy as np
    from mmengine.config import Config, DictAction
    from PIL import Image, ImageDraw, ImageFont
    from tqdm import tqdm

    from stage1_sam_cache.commands import cli
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')
from stage2_distill.errors import ConfigError
from toypass.ablations import BASE, MASKS, TABLES, Row

TOOLS = Path(__file__).resolve().parent
# Scores of the student that are worth a column of their own, by their name in scores.json.
NAMES = {
    'student': 'student',
    'ta_whole': 'assistant, whole',
    'ta_tile': 'assistant, windows',
    'ta_slide': 'assistant, sliding',
    'ensemble': 'ensemble',
}
PANELS = ('image', 'truth', 'assistant', 'ensemble', 'before', 'student')  # of a row's picture
COLUMNS = 2  # of a row's picture


class Job(NamedTuple):
    """A row with one seed."""

    row: Row
    seed: int
    folder: Path

    @property
    def scores(self) -> Path:
        """The file that says that the job is done."""
        return self.folder / 'scores.json'


def build_parser() -> argparse.ArgumentParser:
    """All flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('table', choices=list(TABLES))
    parser.add_argument('--data', type=cli.named_path, default=Path('data/ToyPASS'), help='default: %(default)s')
    parser.add_argument('--out', type=cli.named_path, default=Path('work_dirs/ablation'), help='default: %(default)s')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='of rows that are trained (default: 0)')
    parser.add_argument('--rows', nargs='+', metavar='TEXT', help='only rows whose name is or contains one of these')
    parser.add_argument(
        '--masks', choices=list(MASKS), default='felzenszwalb', help='of rows that name none (default: %(default)s)'
    )
    parser.add_argument('--iterations', type=int, help="of training (default: the config's)")
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE', help='for every row'
    )
    return parser


def main() -> int:
    """Runs what is missing, then writes the table."""
    parser = build_parser()
    args = parser.parse_args()
    table = TABLES[args.table]()
    rows = [row for row in table if not args.rows or any(is_meant(text, row, table) for text in args.rows)]
    if not rows:
        parser.error(f'no row of {args.table} contains {" or ".join(args.rows)}')
    folder = args.out / args.table
    jobs = [
        Job(row, seed, folder / slug(row.name) / f'seed{seed}')
        for row in rows
        for seed in (args.seeds if row.trained else args.seeds[:1])
    ]
    missing = [job for job in jobs if not is_done(job, args)]
    print(f'{args.table}: {len(rows)} rows, {len(jobs)} runs, {len(jobs) - len(missing)} of them done before')
    with tqdm(total=len(missing), unit='run', desc=args.table) as bar:
        for job in missing:
            bar.set_postfix_str(f'{job.row.name}, seed {job.seed}')
            run(job, args)
            bar.update()
    jobs = [*jobs, *(job for job in done_before(table, folder) if job not in jobs)]  # the table shows all there is
    rows = [row for row in table if any(job.row == row for job in jobs)]
    text = markdown(rows, jobs)
    (folder / 'table.md').write_text(text + '\n')
    plot(rows, jobs, folder / 'plot.png')
    print(f'\n{text}\n\nin {folder}/table.md and {folder}/plot.png')
    if contact_sheet(rows, jobs, folder / 'pictures.jpg'):
        print(f'one panorama as each row has it: {folder}/pictures.jpg')
    return 0


def is_meant(text: str, row: Row, table: list[Row]) -> bool:
    """Whether the name is or, unless another row's name is, contains the text."""
    return row.name == text or (text in row.name and all(other.name != text for other in table))


def done_before(rows: list[Row], folder: Path) -> list[Job]:
    """The jobs that have scores."""
    found = [(row, path.parent) for row in rows for path in sorted((folder / slug(row.name)).glob('seed*/scores.json'))]
    return [Job(row, int(path.name.removeprefix('seed')), path) for row, path in found]


def slug(name: str) -> str:
    """A row's name as a folder's."""
    return re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')


def config_of(job: Job, args: argparse.Namespace) -> Config:
    """The row's config, complete."""
    config = Config.fromfile(job.row.config)
    config.merge_from_dict(copy.deepcopy(job.row.changes))  # MMEngine takes _delete_ out of what it merges
    config.randomness = {'seed': job.seed}
    config.merge_from_dict(args.cfg_options)
    if args.iterations:
        shorten(config, args.iterations)
    for loader in ('train', 'val', 'test'):
        config[f'{loader}_dataloader'].dataset.root = str(args.data)
    if job.row.config != BASE:  # the oracle, which is taught by the hidden labels
        config.train_dataloader.dataset.labels = str(args.data / 'truth/target/train')
    for part in ('cfg', 'dataloader', 'evaluator'):
        config[f'val_{part}'] = None  # scored once, at the end
    config.default_hooks.checkpoint.save_best = None
    return config


def shorten(config: Config, iterations: int) -> None:
    """Trains for another number of iterations, with the learning rate's course squeezed or stretched."""
    times = iterations / config.train_cfg.max_iters
    for step in config.param_scheduler:
        step.begin = int(step.begin * times)
        step.end = max(step.begin + 1, round(step.end * times))
    config.train_cfg.max_iters = iterations


def is_done(job: Job, args: argparse.Namespace) -> bool:
    """Whether a job has scores.

    Raises:
        ConfigError: If they are of other settings.
    """
    told = job.folder / 'settings.json'
    wanted = settings_of(job, args)
    if told.exists() and json.loads(told.read_text()) != wanted:
        raise ConfigError(f'{job.folder} was made with other settings; remove it or give another --out')
    return job.scores.exists()


def settings_of(job: Job, args: argparse.Namespace) -> dict[str, Any]:
    """What a job's scores depend on beside the code."""
    return {'config': config_of(job, args).pretty_text, 'masks': masks_of(job.row, args)}


def masks_of(row: Row, args: argparse.Namespace) -> str | None:
    """Where a row's masks come from; None if it needs none."""
    if row.config != BASE or not (row.trained or 'ensemble' in row.predictors):
        return None
    return row.masks or args.masks


def run(job: Job, args: argparse.Namespace) -> None:
    """Trains and scores a job."""
    job.folder.mkdir(parents=True, exist_ok=True)
    write(job.folder / 'settings.json', settings_of(job, args))
    config = config_of(job, args)
    file = job.folder / 'config.py'
    caches = {split: cache(job.row, config, split, args) for split in ('train', 'val')}
    if caches['train']:
        config.train_dataloader.dataset.cache = str(caches['train'])
    config.dump(file)
    weights = []
    begun = time.perf_counter()
    if job.row.trained:
        call('train.py', job, file, '--amp', '--resume', '--work-dir', job.folder / 'work')
        weights = [(job.folder / 'work/last_checkpoint').read_text().strip()]
    seconds = time.perf_counter() - begun
    flags = ['--work-dir', job.folder / 'work', '--regions', '--out', job.folder / 'found.json']
    if job.row.config == BASE:
        flags += ['--predictor', *job.row.predictors]
        flags += ['--cache', caches['val']] if caches['val'] else []
    call('test.py', job, file, *weights, *flags)
    found = json.loads((job.folder / 'found.json').read_text())['scores']
    if caches['val'] and job.seed == args.seeds[0]:
        shown = ['--split', 'val', '--cache', caches['val'], '--columns', COLUMNS, '--out', job.folder / 'picture.png']
        call('browse_pseudo_labels.py', job, file, *weights, *shown, '--panels', *PANELS)
    write(job.scores, {'seconds': seconds, 'scores': found})
    for checkpoint in (job.folder / 'work').glob('*.pth'):
        checkpoint.unlink()  # a table would fill the disk


def write(file: Path, content: dict[str, Any]) -> None:
    """Writes a file that is there whole or not at all."""
    partial = file.with_suffix('.part')
    partial.write_text(json.dumps(content, indent=1))
    partial.replace(file)


def cache(row: Row, config: Config, split: str, args: argparse.Namespace) -> Path | None:
    """Makes the masks of a split with the row's windows, if they are not there."""
    masks = masks_of(row, args)
    if masks is None or (split == 'train' and not row.trained) or (split == 'val' and 'ensemble' not in row.predictors):
        return None
    grid = config.model.grid
    window = 'x'.join(map(str, grid.window))
    name = f'{masks}_{window}_{grid.stride}{"_wrap" if grid.wrap else ""}'
    folder = args.out / 'cache' / name / split
    if (folder / 'done').exists():
        return folder
    tool, *flags = MASKS[masks]
    if tool == 'cache_sam.py':
        flags += ['--dataset', 'toypass']
    flags += ['--split', split, '--data-root', args.data, '--window', window, '--stride', grid.stride, '--out', folder]
    log(tool, folder.with_suffix('.log'), *flags, *(['--wrap'] if grid.wrap else []))
    (folder / 'done').touch()
    return folder


def call(tool: str, job: Job, *flags: object) -> None:
    """Runs a tool for a job."""
    log(tool, job.folder / f'{Path(tool).stem}.log', *flags)


def log(tool: str, file: Path, *flags: object) -> None:
    """Runs one of the tools, its output in a file.

    Raises:
        ConfigError: If it fails, with its last line.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open('w') as out:
        command = [sys.executable, str(TOOLS / tool), *map(str, flags)]
        failed = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    if failed:
        last = (file.read_text(errors='replace').strip().splitlines() or ['no output'])[-1]
        raise ConfigError(f'tools/{tool} stopped with status {failed}: {last} (all of it: {file})')


def collect(row: Row, jobs: list[Job]) -> dict[str, np.ndarray]:
    """Scores of a row by predictor and measure, ``'student mIoU'``, one value a seed."""
    found: dict[str, list[float]] = {}
    for job in jobs:
        if job.row == row and job.scores.exists():
            for entry in json.loads(job.scores.read_text())['scores']:
                mode = entry['mode'] if entry['mode'] in NAMES else 'student'
                for measure, value in entry.items():
                    if isinstance(value, float):
                        found.setdefault(f'{mode} {measure}', []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def columns_of(scores: list[dict[str, np.ndarray]]) -> list[str]:
    """The columns that any row has: every predictor's mIoU, then the student's other measures."""
    names = [f'{mode} mIoU' for mode in ('ensemble', 'ta_whole', 'ta_tile', 'ta_slide', 'student')]
    names += [f'student {measure}' for measure in REGIONS]
    return [name for name in names if any(name in row for row in scores)]


REGIONS = ('boundary_mIoU', 'seam_mIoU', 'top_mIoU', 'middle_mIoU', 'bottom_mIoU')


def heading(column: str) -> str:
    """What stands above a column."""
    mode, measure = column.split(' ')
    return NAMES[mode] + (f', {measure.removesuffix("_mIoU")}' if measure != 'mIoU' else '')


def spread(values: np.ndarray | None) -> str:
    """Mean, and standard deviation of the seeds where there are several."""
    if values is None:
        return ''
    text = f'{values.mean():.2f}'
    return f'{text} ± {values.std(ddof=1):.2f}' if len(values) > 1 else text


def markdown(rows: list[Row], jobs: list[Job]) -> str:
    """The table."""
    scores = [collect(row, jobs) for row in rows]
    columns = columns_of(scores)
    lines = ['| | ' + ' | '.join(map(heading, columns)) + ' |', '|---' * (len(columns) + 1) + '|']
    for row, found in zip(rows, scores, strict=True):
        lines.append(f'| {row.name} | ' + ' | '.join(spread(found.get(column)) for column in columns) + ' |')
    return '\n'.join(lines)


def plot(rows: list[Row], jobs: list[Job], file: Path) -> None:
    """A bar a row and predictor, with the spread of the seeds."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    scores = [collect(row, jobs) for row in rows]
    columns = [name for name in columns_of(scores) if name.endswith(' mIoU')]
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.28 * len(rows) * len(columns)))
    height = 0.8 / len(columns)
    for i, column in enumerate(columns):
        places = [(y, found[column]) for y, found in enumerate(scores) if column in found]
        axes.barh(
            [y + i * height for y, _ in places],
            [values.mean() for _, values in places],
            height,
            xerr=[values.std(ddof=1) if len(values) > 1 else 0 for _, values in places],
            label=heading(column),
        )
    axes.set_yticks([y + 0.4 - height / 2 for y in range(len(rows))], [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel('mIoU, %')
    low = min(values.min() for found in scores for name, values in found.items() if name in columns)
    axes.set_xlim(left=max(0.0, low - 5))
    axes.grid(axis='x', alpha=0.3)
    axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)
    figure.savefig(file, dpi=110, bbox_inches='tight')
    pyplot.close(figure)


def contact_sheet(rows: list[Row], jobs: list[Job], file: Path, width: int = 480) -> bool:
    """One sheet with assistant, ensemble and student of every row that has a picture; tells whether there is one."""
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


if __name__ == '__main__':
    cli.run_command(main)
