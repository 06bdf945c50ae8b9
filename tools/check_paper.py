#!/usr/bin/env python3
"""Measures what the paper reports of networks before any training, and prints it beside the paper's figures.

    tools/check_paper.py                                        # DensePASS, everything
    tools/check_paper.py --rows params whole tile               # needs no masks
    tools/check_paper.py --rows ctcf --cfg-options model.ctcf_head.fusion.entropy=mean_dist
    tools/check_paper.py --dataset toypass --limit 10           # the same on ToyPASS, which the paper doesn't have

Nothing is trained, so a difference comes from weights, images, labels, windows, masks or fusion, and is cheap to look
for. What can't be measured because data, weights or masks are missing is named with what to do, and the rest is
measured all the same. The status is 0 whatever is found: differences are reported, not judged.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import textwrap
import time
import warnings
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

try:
    from mmengine.config import Config, DictAction
    from mmengine.registry import init_default_scope
    from mmengine.runner import CheckpointLoader
    from mmseg.registry import MODELS

    from stage1_sam_cache.commands import cli
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')
from paper.figures import SCORES, STUDENTS, Row, all_rows, figures_of
from paper.report import Found, make_records, print_table
from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.data.catalog import list_dataset
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.errors import GoodSAMError
from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, use_safe_loaders
from stage2_distill.checkpoints.shipped_weights import FOLDER
from stage2_distill.errors import CheckpointError, ConfigError
from stage2_distill.evaluation.scoring import (
    drop_training,
    image_size,
    score,
    scores_of,
    use_cache,
    use_dataset,
    use_predictors,
)
from stage2_distill.training.experiment import read_config

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'mmseg_configs'
PAPER_WIDTH = 2048  # columns of the panoramas for which the configs give windows
# Of every scoring run, and there are dozens: that nothing is drawn, that few cores are there, and the like.
NOISY = r'(mmengine|mmseg|torch\.utils\.data)\b'


def build_parser() -> argparse.ArgumentParser:
    """All flags."""
    rows = all_rows()
    groups = list(dict.fromkeys(row.group for row in rows))
    parser = cli.Parser(
        description=__doc__,
        epilog=textwrap.fill('rows: ' + ', '.join(row.name for row in rows), 100),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--dataset', choices=sorted(SCORES), default='densepass', help='(default: %(default)s)')
    parser.add_argument('--data-root', metavar='DIR', help='its folder (default: data/<Name>)')
    parser.add_argument(
        '--cache', metavar='DIR', help='masks of the scored images, for fusion (default: cache/<dataset>_val)'
    )
    parser.add_argument(
        '--weights',
        metavar='DIR',
        help="folder of the networks' weights, under the names they are published with (default: they are fetched); "
        'of ToyPASS segformer_b0.safetensors, ... (default: stage2_distill/weights, then work_dirs)',
    )
    parser.add_argument(
        '--rows', nargs='+', metavar='ROW', help=f'only these, by name or by group: {", ".join(groups)} (default: all)'
    )
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images')
    parser.add_argument(
        '--input-scale',
        type=float,
        metavar='S',
        help="how much what the assistant sees is enlarged (default: the configs', 1)",
    )
    parser.add_argument(
        '--label-space', choices=sorted(LABEL_SPACES), help="score these classes (default: the data set's)"
    )
    parser.add_argument('--json', metavar='FILE', help='also write all rows, with the scores of all classes')
    parser.add_argument('--work-dir', default='work_dirs/check_paper', help='for logs (default: %(default)s)')
    parser.add_argument('--trust-checkpoint', action='store_true', help='let weights run code; only if you made them')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change every config, as in train.py'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measures the rows and prints the table; returns 0."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        parser.error('--limit has to be at least 1')
    if args.input_scale is not None and args.input_scale <= 0:
        parser.error('--input-scale must be above 0')
    rows = all_rows()
    unknown = set(args.rows or ()) - {name for row in rows for name in (row.name, row.group)}
    if unknown:
        parser.error(f'--rows: there is no {", ".join(sorted(unknown))}')
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
    args.cache = args.cache or f'cache/{args.dataset}_val'
    rows = [row for row in rows if not args.rows or {row.name, row.group} & set(args.rows)]
    warnings.filterwarnings('ignore', module=NOISY)
    found: dict[str, Found] = {}
    notes = dict.fromkeys(changes(args))  # in order, each once
    try:
        for row, result, note in measure(rows, args):
            found[row.name] = result
            notes |= dict.fromkeys(note)
    finally:
        if found:  # also what a long run has when it is stopped
            report(rows, found, list(notes), args)
    return 0


def changes(args: argparse.Namespace) -> list[str]:
    """What makes a table another one than the default, to be said beside it."""
    notes = []
    if args.dataset == 'toypass':
        notes.append('windows are shrunk as the panoramas are, and go across the seam')
    if args.label_space:
        notes.append(f'scored as {args.label_space}')
    if args.input_scale is not None:
        notes.append(f'what the assistant sees is enlarged by {args.input_scale:g}')
    if args.cfg_options:
        notes.append('configs changed by ' + ' '.join(f'{key}={value}' for key, value in args.cfg_options.items()))
    return notes


def measure(rows: list[Row], args: argparse.Namespace) -> Iterator[tuple[Row, Found, list[str]]]:
    """Measures rows, those of one network and config together; yields each with notes on what it is worth.

    Raises:
        ConfigError: If the changes to the configs can't be made.
    """
    use_safe_loaders(args.trust_checkpoint)
    counted = [row for row in rows if row.predictor is None]
    scored = sorted((row for row in rows if row.predictor is not None), key=lambda row: (row.size, row.config))
    for row in counted:
        yield row, Found(count_parameters(row, args)), []
    if not scored:
        return
    try:
        images = len(list_dataset(args.dataset, 'val', args.data_root).samples)
    except GoodSAMError as problem:
        yield from give_up(scored, problem)
        return
    note = [f'scored on the first {args.limit} of {images} images'] if args.limit and args.limit < images else []
    for size, of_size in groupby(scored, lambda row: row.size):
        group = list(of_size)
        try:
            weights = find_weights(size, args)
        except GoodSAMError as problem:
            yield from give_up(group, problem)
            continue
        for name, of_config in groupby(group, lambda row: row.config):
            for row, result, more in score_rows(name, list(of_config), weights, args):
                yield row, result, note + more


def score_rows(
    name: str, rows: list[Row], weights: str, args: argparse.Namespace
) -> Iterator[tuple[Row, Found, list[str]]]:
    """Scores the rows of one config in one pass over the images."""
    config = read_config(str(CONFIGS / name), args.cfg_options)
    prepare(config, weights, {row.predictor for row in rows}, args)
    notes = []
    if any(row.predictor == 'ensemble' for row in rows):
        try:
            notes = [masks_note(use_cache(config, args.cache))]
        except GoodSAMError as problem:
            yield from give_up([row for row in rows if row.predictor == 'ensemble'], problem)
            rows = [row for row in rows if row.predictor != 'ensemble']
    if not rows:
        return
    use_predictors(config, [str(row.predictor) for row in rows])
    names = ', '.join(row.name for row in rows)
    begun = time.perf_counter()
    try:
        scores = score(config, trusted=args.trust_checkpoint)
    except GoodSAMError as problem:
        yield from give_up(rows, problem)
        return
    cli.report(f'{names}: {time.perf_counter() - begun:.0f} s')
    for row in rows:
        own = scores_of(scores, str(row.predictor))
        yield row, Found(own['mIoU'], own), notes if row.predictor == 'ensemble' else []


def masks_note(cache: MaskCache) -> str:
    """Whose masks were fused."""
    generator = cache.fingerprint.settings['generator']
    named = f'masks of {cache.path} by {generator["name"]} {generator.get("model", "")}'.rstrip()
    return named if generator['name'] == 'sam' else f'{named}: not SAM, so not the fusion that the paper measured'


def give_up(rows: Iterable[Row], problem: GoodSAMError) -> Iterator[tuple[Row, Found, list[str]]]:
    """Rows that can't be measured, with the reason in one line."""
    for row in rows:
        yield row, Found(missing=' '.join(str(problem).split())), []


def prepare(config: Config, weights: str, predictors: set[str | None], args: argparse.Namespace) -> None:
    """Makes a GoodSAM config ready to score one network, given the weights' file or address."""
    drop_training(config)
    config.launcher, config.load_from, config.resume = 'none', None, False
    config.log_level = 'WARNING'  # dozens of runs, of which the table is what counts
    config.visualizer.vis_backends = []  # they would write the config in every form there is, for seconds
    config.work_dir = str(Path(args.work_dir) / Path(config.filename).stem)
    use_dataset(config, args.dataset, 'val', args.data_root, args.label_space, args.limit)
    config.expected_cache = None  # any generator's masks: a note says whose they are
    model = config.model
    if args.dataset == 'toypass':
        fit_windows(model.grid, image_size(config.test_dataloader.dataset)[1])
    if args.input_scale is not None:
        model.ta_input_scale = args.input_scale
    model.teacher_assistant.init_cfg = {'type': 'Pretrained', 'checkpoint': weights}
    if 'student' in predictors:
        model.student = copy.deepcopy(model.teacher_assistant)
    else:
        model.student.init_cfg = None  # it is run, but nobody looks


def fit_windows(grid: dict[str, Any], width: int) -> None:
    """Shrinks windows to ToyPASS's panoramas, which have the paper's proportions, and wraps them as its caches do."""
    shrink = width / PAPER_WIDTH
    grid['window'] = tuple(round(side * shrink) for side in grid['window'])
    grid['stride'] = round(grid['stride'] * shrink)
    grid['wrap'] = True


def count_parameters(row: Row, args: argparse.Namespace) -> float:
    """Parameters of a row's network in millions.

    Raises:
        ConfigError: If it can't be built as the command line changes it.
    """
    config = read_config(str(CONFIGS / row.config), args.cfg_options)
    init_default_scope('mmseg')
    settings = config.model['student' if row.size in STUDENTS else 'teacher_assistant']
    try:
        network = MODELS.build(settings)
    except (KeyError, TypeError, ValueError, AssertionError) as problem:
        raise ConfigError(f'{row.config} cannot be built: {problem}') from problem
    return sum(weight.numel() for weight in network.parameters()) / 1e6


def find_weights(size: int, args: argparse.Namespace) -> str:
    """The file or address of a SegFormer's weights before any training on panoramas.

    Raises:
        CheckpointError: If they are missing, can't be fetched or can't be used, with what to do.
    """
    if args.dataset == 'toypass':
        return find_toypass_weights(size, args)
    config = read_config(str(CONFIGS / f'ablations/table5_ctcf_b{size}.py'))
    address: str = config.model.teacher_assistant.init_cfg.checkpoint
    if args.weights:
        file = Path(args.weights) / address.rpartition('/')[2]
        if not file.is_file():
            raise CheckpointError(f'{file} does not exist; fetch {address} into that folder')
        check_checkpoint(str(file), args.trust_checkpoint)
        return str(file)
    try:
        CheckpointLoader.load_checkpoint(address, 'cpu')
    except Exception as problem:  # no network, no such address, half a file: PyTorch raises almost anything
        raise CheckpointError(
            f'{address} cannot be fetched or read ({" ".join(str(problem).split())[:80]}); fetch it elsewhere and give '
            'its folder with --weights'
        ) from problem
    return address


def find_toypass_weights(size: int, args: argparse.Namespace) -> str:
    """Weights trained on ToyPASS's pinhole images: B0 comes with the project, the others are the user's to train."""
    own = FOLDER / f'segformer_b{size}.safetensors'
    places = [own, Path(f'work_dirs/segformer_b{size}_toypass.safetensors')]
    if args.weights:
        places = [Path(args.weights) / own.name]
    for file in places:
        if file.is_file():
            check_checkpoint(str(file), args.trust_checkpoint)
            return str(file)
    source = f'mmseg_configs/source/segformer_b{size}_toypass.py'
    raise CheckpointError(
        f'{places[-1]} does not exist; run tools/train.py {source} --amp, then tools/export_student.py {source} '
        f'work_dirs/segformer_b{size}_toypass/best_mIoU_iter_*.pth --out {places[-1]}'
    )


def report(rows: list[Row], found: dict[str, Found], notes: list[str], args: argparse.Namespace) -> None:
    """Prints the table and what is to be said with it; writes the JSON file if one is wanted."""
    records = make_records(rows, found, figures_of(args.dataset))
    print(f'\n{args.dataset}, without training on panoramas; mIoU in %, parameters in millions\n')
    print_table(records)
    for note in notes:
        print(f'note: {note}')
    if args.json:
        about = {'dataset': args.dataset, 'split': 'val', 'limit': args.limit, 'notes': notes}
        text = json.dumps({**about, 'rows': records}, indent=2) + '\n'
        commit(Path(args.json), text.encode(), replace=True)
        print(f'all classes: {args.json}')


if __name__ == '__main__':
    cli.run_command(main)
