"""The figures of tools/judge_unlabelled.py: what can be counted in panoramas without true labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import NDArray
from tqdm import tqdm

from stage1_sam_cache.data.images import read_rgb
from stage2_distill.commands.flags import use_refusal_flags
from stage2_distill.commands.label_panels import build_dataset, build_model
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.coverage import Coverage
from stage2_distill.evaluation.region_scores import class_ious, mean_iou, region_counts
from stage2_distill.evaluation.unlabelled import agreement, chance_on_edges, image_edges, on_edges, seam_agreement
from stage2_distill.geometry.window_batch import stitch_windows
from stage2_distill.models.goodsam import GoodSAM
from stage2_distill.training.border_check import check_borders, entries_of
from stage2_distill.training.experiment import plain_errors

ROWS = ('assistant', 'ensemble', 'student', 'student, initial')
Maps = dict[str, NDArray[np.uint8]]
Table = dict[str, dict[str, float]]


def judge_all(config: Config, args: argparse.Namespace) -> tuple[Table, Coverage]:
    """Count in all panoramas that the flags name; return the figures by row of the table, and of how many images.

    Raises:
        GoodSAMError: If config, checkpoint, images or masks can't be used.
    """
    if config.model.type != 'GoodSAM':
        raise ConfigError(f'{args.config} is not a GoodSAM config')
    config.train_dataloader.dataset.update(name=None, split=None, root=None, images=args.images, list_file=None)
    use_refusal_flags(config.train_dataloader.dataset, args)
    with plain_errors():
        dataset = build_dataset(config, 'train', args.cache)
        if args.wrap:
            check_borders(entries_of(dataset), '--wrap', 'leave --wrap away, or give a folder without such images')
        model = build_model(config, args.checkpoint, args.trust_checkpoint)
        initial = build_model(config, None, args.trust_checkpoint)
        bar = tqdm(range(len(dataset)), desc='judging', unit='image', leave=False)
        images = [judge(model, initial, dataset, index, args.wrap) for index in bar]
    return {row: summary([image[row] for image in images]) for row in ROWS}, Coverage.of(dataset, len(images))


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
