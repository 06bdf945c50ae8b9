"""Measures what the paper reports of networks before any training, and prints it beside the paper's figures.

    tools/check_paper.py                                        # DensePASS, everything
    tools/check_paper.py --rows params whole tile               # needs no masks
    tools/check_paper.py --rows ctcf --cfg-options model.ctcf_head.fusion.entropy=mean_dist
    tools/check_paper.py --source nvidia                        # NVIDIA's SegFormers instead of OpenMMLab's
    tools/check_paper.py --dataset toypass --limit 10           # the same on ToyPASS, which the paper doesn't have

Nothing is trained, so a difference comes from weights, images, labels, windows, masks or fusion, and is cheap to
trace. Rows that can't be measured, because data, weights or masks are missing, are listed with what to do, and the
others are measured. The exit status is 0 whatever the differences, which are reported and not judged, and 1 if no row
could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import textwrap
import warnings
from pathlib import Path

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.launched import require_one_process
from stage1_sam_cache.system.nearest import known
from stage2_distill.commands.flags import SCALES, add_config_flag, add_trust_flag, add_weights_flag
from stage2_distill.commands.paper.figures import SCORES, SOURCES, Row, all_rows, figures_of
from stage2_distill.commands.paper.report import Result, coverage_lines, make_records, print_table
from stage2_distill.libraries import import_libraries

# Modules whose warnings every scoring run repeats, dozens of times: that nothing is drawn, that few cores are there.
NOISY = r'(mmengine|mmseg|torch\.utils\.data)\b'


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    rows = all_rows()
    groups = list(dict.fromkeys(row.group for row in rows))
    parser = cli.Parser(
        description=__doc__,
        epilog=textwrap.fill('rows: ' + ', '.join(row.name for row in rows), 100),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = parser.add_argument_group('images and masks')
    data.add_argument('--dataset', choices=sorted(SCORES), default='densepass', help='(default: %(default)s)')
    data.add_argument('--data-root', metavar='DIR', help='its folder (default: data/<Name>)')
    data.add_argument(
        '--cache', metavar='DIR', help='masks of the scored images, for fusion (default: cache/<dataset>_val)'
    )
    weights = parser.add_argument_group('weights')
    weights.add_argument(
        '--source',
        choices=SOURCES,
        default=SOURCES[0],
        help="whose SegFormers are measured: OpenMMLab's, or NVIDIA's of Hugging Face; ToyPASS has its own (default: "
        '%(default)s)',
    )
    add_weights_flag(weights, '--weights')
    add_trust_flag(weights)
    scored = parser.add_argument_group('what is scored')
    scored.add_argument(
        '--rows', nargs='+', metavar='ROW', help=f'only these, by name or by group: {", ".join(groups)} (default: all)'
    )
    scored.add_argument('--limit', type=int, metavar='N', help='only the first N images')
    scored.add_argument(
        '--input-scale',
        type=float,
        metavar='S',
        help="enlarge what the assistant sees by this factor (default: the configs', 1)",
    )
    scored.add_argument(
        '--label-space', choices=sorted(LABEL_SPACES), help="score these classes (default: the data set's)"
    )
    parser.add_argument('--json', metavar='FILE', help='also write all rows, with the scores of all classes')
    parser.add_argument(
        '--work-dir',
        type=flag_values.given_text,
        default='work_dirs/check_paper',
        help='for logs (default: %(default)s)',
    )
    add_config_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure the rows, print the table, and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/check_paper.py', os.environ)
    if args.limit is not None and args.limit < 1:
        parser.error('--limit has to be at least 1')
    if args.input_scale is not None and not SCALES[0] <= args.input_scale <= SCALES[1]:
        parser.error(f'--input-scale must be above 0: from {SCALES[0]} to {SCALES[1]}')
    if args.source != SOURCES[0] and args.dataset == 'toypass':
        parser.error(f'--source {args.source} is not for ToyPASS, whose networks are trained on it')
    replaced = [key for key in args.cfg_options or () if key.startswith('model.teacher_assistant')]
    if args.source == 'nvidia' and replaced:
        parser.error(f'--source nvidia takes the network from there, so --cfg-options {replaced[0]} would be lost')
    rows = all_rows()
    names = list(dict.fromkeys([*(row.group for row in rows), *(row.name for row in rows)]))
    unknown = [name for name in args.rows or () if name not in names]
    if unknown:
        parser.error(f'--rows: there is no {", ".join(unknown)}; {known(unknown[0], names)}')
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
    args.cache = args.cache or f'cache/{args.dataset}_val'
    rows = [row for row in rows if not args.rows or {row.name, row.group} & set(args.rows)]
    warnings.filterwarnings('ignore', module=NOISY)
    results: dict[str, Result] = {}
    notes = dict.fromkeys(changes(args))  # in order, each once
    import_libraries()
    from stage2_distill.commands.paper.measure import measure

    try:
        for row, result, note in measure(rows, args):
            results[row.name] = result
            notes |= dict.fromkeys(note)
    finally:
        if results:  # also when a long run is interrupted
            report(rows, results, list(notes), args)
    if not any(result.value is not None for result in results.values()):
        cli.report(f'none of the {len(rows)} rows could be measured; what each needs is said above')
        return cli.FAILED
    return 0


def changes(args: argparse.Namespace) -> list[str]:
    """Return notes on what makes this table differ from the default one."""
    notes = []
    if args.dataset == 'toypass':
        notes.append('windows are shrunk as the panoramas are, and go across the seam')
    if args.source != SOURCES[0]:
        notes.append(f'SegFormers of {args.source}, whose heads are not those that the other table counts')
    if args.label_space:
        notes.append(f'scored as {args.label_space}')
    if args.input_scale is not None:
        notes.append(f'what the assistant sees is enlarged by {args.input_scale:g}')
    if args.cfg_options:
        notes.append('configs changed by ' + ' '.join(f'{key}={value}' for key, value in args.cfg_options.items()))
    return notes


def report(rows: list[Row], results: dict[str, Result], notes: list[str], args: argparse.Namespace) -> None:
    """Print the table with its notes, and write the JSON file if the flags ask for one."""
    records = make_records(rows, results, figures_of(args.dataset))
    print(f'\n{args.dataset}, without training on panoramas; mIoU in %, parameters in millions\n')
    print_table(records)
    for note in notes:
        print(f'note: {note}')
    if args.json:
        about = {'dataset': args.dataset, 'source': args.source, 'split': 'val', 'limit': args.limit, 'notes': notes}
        about['images'] = next((result.coverage.record() for result in results.values() if result.coverage), None)
        text = json.dumps({**about, 'rows': records}, indent=2) + '\n'
        commit(Path(args.json), text.encode(), replace=True)
        print(f'all classes: {args.json}')
    for line in coverage_lines(results):
        print(line)
