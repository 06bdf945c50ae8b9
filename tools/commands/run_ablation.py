"""Runs one of the ablation tables on ToyPASS and writes it as Markdown and as a plot.

    tools/run_ablation.py table5                       # fusions, without training: minutes
    tools/run_ablation.py table3 --seeds 0 1 2         # about five minutes on two CPU cores per trained row and seed
    tools/run_ablation.py controls --rows 'eq 4' oracle --masks truth
    tools/run_ablation.py mask_quality --untrained     # how good must masks be? Damaged true masks and their ensembles
    tools/run_ablation.py omnisam --seeds 0 1 2        # what OmniSAM's memory gives
    tools/run_ablation.py omnisam_adaptation           # what its adaptation gives, from models of that table

Masks are cached once for all rows. The tool can be killed at any time and run again: finished runs are kept, and an
interrupted training run resumes from its last checkpoint. Several processes can share a table, once its masks are
cached: each goes on with what no other is at, and tells what others still were at.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tqdm import tqdm

from ablation.collapse import drift_plot
from ablation.jobs import Job, done_before, is_done, is_measured, slug, start_of
from ablation.pictures import contact_sheet, plot, plot_quality
from ablation.report import markdown
from ablation.rows import MASKS, Row
from ablation.tables import TABLES
from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.data.catalog import list_dataset
from stage1_sam_cache.errors import FolderInUseError
from stage1_sam_cache.system.launched import require_one_process
from stage1_sam_cache.system.nearest import known
from stage2_distill.commands.flags import add_config_flag
from stage2_distill.libraries import import_libraries


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('table', choices=list(TABLES))
    parser.add_argument(
        '--data', type=flag_values.named_path, default=Path('data/ToyPASS'), help='default: %(default)s'
    )
    parser.add_argument(
        '--out', type=flag_values.named_path, default=Path('work_dirs/ablation'), help='default: %(default)s'
    )
    parser.add_argument('--seeds', type=flag_values.seed, nargs='+', default=[0], help='one run each (default: 0)')
    parser.add_argument('--rows', nargs='+', metavar='TEXT', help='only rows whose name is or contains one of these')
    parser.add_argument(
        '--masks',
        choices=list(MASKS),
        default='felzenszwalb',
        help='for rows that do not name masks (default: %(default)s)',
    )
    parser.add_argument('--untrained', action='store_true', help='leave out what has to be trained')
    parser.add_argument('--iterations', type=flag_values.positive, help="of training (default: the config's)")
    parser.add_argument('--limit', type=flag_values.positive, metavar='N', help='score only the first N images')
    add_config_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, then write the table."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/run_ablation.py', os.environ)
    import_libraries()
    from ablation.running import measure, run

    table = TABLES[args.table]()
    rows = [row for row in table if not args.rows or any(is_meant(text, row, table) for text in args.rows)]
    for text in args.rows or ():
        if not any(is_meant(text, row, table) for row in table):
            parser.error(f'no row of {args.table} contains {text}; {known(text, (row.name for row in table), "; ")}')
    folder = args.out / args.table
    jobs = [
        Job(row, seed, folder / slug(row.name) / f'seed{seed}')
        for row in rows
        for seed in (args.seeds if row.has_seeds else args.seeds[:1])
    ]
    measured = [job for job in jobs if job.row.measured and job.seed == args.seeds[0]]
    unmeasured = [job for job in measured if not is_measured(job, args)]
    if args.untrained:
        jobs = [job for job in jobs if not job.row.trained]
        if not jobs and not measured:
            parser.error(f'all these rows of {args.table} have to be trained')
    missing = [job for job in jobs if not is_done(job, args)]
    for job in missing:  # refuse before the first of them runs
        start_of(job)
    if missing or unmeasured:
        list_dataset('toypass', 'val', args.data)
    print(f'{args.table}: {len(rows)} rows, {len(jobs)} runs, {len(jobs) - len(missing)} of them done before')
    if unmeasured:
        print(f'scoring the masks of {len(unmeasured)} rows, and their ensembles')
        measure(unmeasured, args)
    elsewhere: list[Job] = []
    with tqdm(total=len(missing), unit='run', desc=args.table) as bar:
        for job in missing:
            bar.set_postfix_str(f'{job.row.name}, seed {job.seed}')
            try:
                run(job, args)
            except FolderInUseError:
                elsewhere.append(job)
            bar.update()
    jobs = [job for job in jobs if job not in elsewhere]
    jobs += [job for job in done_before(table, folder) if job not in jobs]  # the table shows all rows
    rows = [row for row in table if any(job.row == row for job in jobs)]
    text = markdown(rows, jobs)
    (folder / 'table.md').write_text(text + '\n')
    (plot_quality if args.table == 'mask_quality' else plot)(rows, jobs, folder / 'plot.png')
    print(f'\n{text}\n\nin {folder}/table.md and {folder}/plot.png')
    if args.table == 'collapse' and drift_plot(rows, jobs, folder / 'drift.png'):
        print(f'what the labels consist of, over the iterations: {folder}/drift.png')
    if contact_sheet(rows, jobs, folder / 'pictures.jpg'):
        print(f'one panorama, as each row labels it: {folder}/pictures.jpg')
    if elsewhere:
        names = '; '.join(f'{job.row.name}, seed {job.seed}' for job in elsewhere)
        print(f'another process is at {names}: run this again when it has ended')
        return 1
    return 0


def is_meant(text: str, row: Row, table: list[Row]) -> bool:
    """Tell whether a row's name equals the text, or contains it while no other row's name equals it."""
    return row.name == text or (text in row.name and all(other.name != text for other in table))
