"""Judges assistant, ensemble labels and student on panoramas without labels, by what can be counted there.

    tools/judge_unlabelled.py mmseg_configs/goodsam_b0_own.py work_dirs/goodsam_b0_own/iter_40000.pth \\
        --images unseen_panoramas --cache cache/unseen_panoramas

Agreement with the assistant and with the ensemble labels (pixels, and mean IoU as if those were true); the pixels near
the 0/360 degree seam that keep their label when the panorama is rolled by half and the seam lies elsewhere; the
boundary pixels of labels that lie on an edge of the image (Canny), and how many would by chance. None of it says that a
label is right. Pixels that the config leaves out (LeaveOut) are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stage1_sam_cache.commands import cli
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.browse_pseudo_labels import build_dataset, build_model
from stage2_distill.commands.flags import add_config_flag, add_trust_flag
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.region_scores import class_ious, mean_iou, region_counts
from stage2_distill.evaluation.unlabelled import agreement, chance_on_edges, image_edges, on_edges, seam_agreement
from stage2_distill.geometry.window_batch import stitch_windows
from stage2_distill.models.goodsam import GoodSAM
from stage2_distill.training.experiment import plain_errors, read_config

ROWS = ('assistant', 'ensemble', 'student', 'student, initial')
Maps = dict[str, NDArray[np.uint8]]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a GoodSAM config')
    parser.add_argument('checkpoint', help='checkpoint of its training run')
    parser.add_argument('--images', required=True, metavar='DIR', help='panoramas, best such as were not trained on')
    parser.add_argument('--cache', required=True, metavar='DIR', help='their masks, of tools/cache_sam.py')
    parser.add_argument('--wrap', action='store_true', help='let the student see across the 0/360 degree seam')
    parser.add_argument('--out', type=cli.named_path, metavar='FILE', help='also write the figures as JSON')
    add_config_flag(parser)
    add_trust_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Judge all images, print the table and return the exit status."""
    args = build_parser().parse_args(argv)
    require_one_process('tools/judge_unlabelled.py', os.environ)
    config = read_config(args.config, args.cfg_options)
    if config.model.type != 'GoodSAM':
        raise ConfigError(f'{args.config} is not a GoodSAM config')
    config.train_dataloader.dataset.update(name=None, split=None, root=None, images=args.images, list_file=None)
    with plain_errors():
        dataset = build_dataset(config, 'train', args.cache)
        model = build_model(config, args.checkpoint, args.trust_checkpoint)
        initial = build_model(config, None, args.trust_checkpoint)
        images = [judge(model, initial, dataset, index, args.wrap) for index in range(len(dataset))]
    table = {row: summary([image[row] for image in images]) for row in ROWS}
    print(f'{len(images)} panoramas of {args.images}; percent')
    names = list(table['student'])
    print('\n'.join(f'{row:>18} ' + ' '.join(f'{cell:>14}' for cell in cells) for row, cells in _cells(table, names)))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        commit(args.out, json.dumps(table, indent=1).encode(), replace=True)
    return 0


def _cells(table: dict[str, dict[str, float]], names: list[str]) -> list[tuple[str, list[str]]]:
    rows = [(row, [f'{scores[name]:.1f}' if name in scores else '' for name in names]) for row, scores in table.items()]
    return [('', names), *rows]


@torch.no_grad()
def judge(model: GoodSAM, initial: GoodSAM, dataset: Any, index: int, wrap: bool) -> dict[str, dict[str, Any]]:
    """Count in one panorama; by row of the table, figures that ``summary`` puts together."""
    packed = dataset[index]
    data = model.data_preprocessor({'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}, False)
    inputs, samples = data['inputs'], data['data_samples']
    height, width = inputs.shape[-2:]
    lesson, _ = model.explain(inputs, samples)
    columns = width // 8 if wrap else 0

    def label(network: GoodSAM, images: torch.Tensor) -> NDArray[np.uint8]:
        return _numpy(network.student_panorama(images, columns)[0].argmax(0))

    maps: Maps = {
        'assistant': _numpy(lesson.whole_labels[0]),
        'ensemble': _numpy(stitch_windows(lesson.ensemble.labels, lesson.grid)[0]),
        'student': label(model, inputs),
        'student, initial': label(initial, inputs),
    }
    scored = np.ones((height, width), bool)
    if 'left_out' in samples[0]:
        scored = ~samples[0].left_out.cpu().numpy()
    edges = image_edges(read_rgb(Path(dataset.get_data_info(index)['img_path'])).pixels)
    rows: dict[str, dict[str, Any]] = {}
    for row, labels in maps.items():
        figures: dict[str, Any] = {
            f'as {other}': agreement(labels, maps[other], scored) for other in ('assistant', 'ensemble') if other != row
        }
        if row.startswith('student'):
            seen = np.where(scored, maps['assistant'], np.uint8(255))
            counts = region_counts(labels, seen, model.num_classes)
            figures['IoU assistant'] = np.sum([counts[band] for band in ('top', 'middle', 'bottom')], axis=0)
            network = model if row == 'student' else initial
            rolled = label(network, inputs.roll(-(width // 2), -1))
            figures['seam stays'] = seam_agreement(labels, rolled, width // 2, scored)
        figures['on edges'] = np.array(on_edges(labels, edges, scored))
        figures['by chance'] = np.array(chance_on_edges(labels, edges, scored))
        figures['boundary'] = np.array([scored.sum(), figures['on edges'][0]])
        rows[row] = figures
    return rows


def summary(images: list[dict[str, Any]]) -> dict[str, float]:
    """One row of the table, in percent: means of shares, and shares of counts that are added up over all images."""
    scores: dict[str, float] = {}
    for name, first in images[0].items():
        values = [image[name] for image in images]
        if name == 'IoU assistant':
            scores[name] = mean_iou(class_ious(np.sum(values, axis=0)))
        elif isinstance(first, float):
            scores[name] = 100 * float(np.mean(values))
        else:
            every, met = np.sum(values, axis=0)
            scores[name] = 100 * float(met) / max(int(every), 1)
    return scores


def _numpy(labels: torch.Tensor) -> NDArray[np.uint8]:
    return labels.to(torch.uint8).cpu().numpy()
