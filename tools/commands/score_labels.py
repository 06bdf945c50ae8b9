"""Scores the pseudo-labels of OmniSAM's rounds against the hidden truth of ToyPASS's training panoramas.

    tools/score_labels.py work_dirs/adapt_toypass
    tools/score_labels.py work_dirs/adapt_toypass work_dirs/static --json labels.json

A row per round. Coverage is the share of pixels with a label; accuracy and mIoU are of these pixels alone, so that a
rule that labels less is not punished twice. Only the images of a round are scored, so that rounds differ in these too.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.data.label_spaces import IGNORE, LABEL_SPACES, convert_labels
from stage1_sam_cache.errors import DatasetError
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.libraries import import_libraries
from toypass.truth.truth_files import TruthFiles

if TYPE_CHECKING:
    from stage2_distill.omnisam.pseudo_labels import RoundStore


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'work_dirs', nargs='+', type=flag_values.named_path, metavar='WORK_DIR', help='of runs of adapt_toypass.py'
    )
    parser.add_argument(
        '--data', type=flag_values.named_path, default=Path('data/ToyPASS'), help='default: %(default)s'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures, with all classes, to a file')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print a table with a row per round."""
    args = build_parser().parse_args(argv)
    require_one_process('tools/score_labels.py', os.environ)
    if args.json:
        cli.make_parent(args.json, '--json')
    import_libraries()
    from stage2_distill.omnisam.pseudo_labels import FOLDER, RoundStore

    truth = TruthFiles(args.data, 'target', 'train')
    if not truth.image_count():
        raise DatasetError(f'{args.data} has no truth of training panoramas', 'give the folder of ToyPASS with --data')
    rows: list[dict[str, Any]] = []
    for work_dir in args.work_dirs:
        folders = sorted((work_dir / FOLDER).glob('round_*'), key=lambda path: (len(path.name), path.name))
        if not folders:
            raise DatasetError(f'{work_dir} has no labels of rounds', 'give the work dir of a run of adapt_toypass.py')
        rows += [{'work_dir': str(work_dir), **score(RoundStore(folder), truth)} for folder in folders]
    print(table(rows))
    if args.json:
        commit(args.json, json.dumps(rows, indent=1).encode(), replace=True)
    return 0


def score(store: RoundStore, truth: TruthFiles) -> dict[str, Any]:
    """Compare the labels of a round with the truth.

    Returns:
        Round, rule, number of images, ``coverage``, ``accuracy``, ``mIoU`` and ``IoU`` by class, from 0 to 1; None for
        a class that neither labels nor truth have.

    Raises:
        DatasetError: If the round is not finished, or its images or classes are none that ToyPASS has.
    """
    about = store.manifest()
    if 'coverage' not in about:
        raise DatasetError(
            f'{store.folder} is not finished, or its manifest.json is damaged',
            'continue the run: tools/train.py CONFIG --resume',
        )
    classes = about['classes']
    space = next((name for name, each in LABEL_SPACES.items() if list(each.classes) == classes), None)
    if space not in ('cityscapes13', 'cityscapes19'):
        raise DatasetError(f'{store.folder} has labels of other classes than ToyPASS', 'score labels of ToyPASS')
    counts = np.zeros((len(classes), len(classes)), np.int64)  # truth, label
    for image_id in about['images']:
        if not truth.file(image_id, 'instances').is_file():
            raise DatasetError(
                f'{image_id} of {store.folder} is no training panorama of {truth.data}',
                'give the ToyPASS that was trained on with --data',
            )
        right = convert_labels(truth.labels(image_id).astype(np.uint8), 'cityscapes19', space)
        labels = store.read(image_id, right.shape, len(classes))
        both = (labels != IGNORE) & (right != IGNORE)
        pairs = right[both].astype(np.int64) * len(classes) + labels[both]
        counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    hits, union = counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal()
    by_class = {name: float(hit / of) if of else None for name, hit, of in zip(classes, hits, union, strict=True)}
    there = [iou for iou in by_class.values() if iou is not None]
    return {
        'round': about['round'],
        'rule': about['labelling']['rule'],
        'images': len(about['images']),
        'coverage': about['coverage'],
        'accuracy': float(hits.sum() / max(counts.sum(), 1)),
        'mIoU': sum(there) / max(len(there), 1),
        'IoU': by_class,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown, in %."""
    lines = ['| run | round | rule | images | coverage | accuracy | mIoU |', '|---|---|---|---|---|---|---|']
    for row in rows:
        figures = ' | '.join(f'{100 * row[name]:.2f}' for name in ('coverage', 'accuracy', 'mIoU'))
        lines.append(f'| {row["work_dir"]} | {row["round"]} | {row["rule"]} | {row["images"]} | {figures} |')
    return '\n'.join(lines)
