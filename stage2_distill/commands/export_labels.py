"""Writes the ensemble labels and weight maps of the training panoramas as a data set that any program can train on.

    tools/export_labels.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/iter_40000.pth --out labels_for_mmseg
    tools/export_labels.py mmseg_configs/goodsam_b0.py --layout hf --copy --out labels_for_the_hub     # initial weights
    torchrun --nproc-per-node 4 --no-python tools/export_labels.py CONFIG CHECKPOINT --out FOLDER

The labels are those that training sees: of the assistant, or of its averaged copy, and the cached masks, without
augmentation. It can be killed at any moment and run again: it keeps what is finished.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stage1_sam_cache.build.shards import Shard, shard_of_environment
from stage1_sam_cache.commands import cli, flag_values, shared_flags
from stage1_sam_cache.commands.shard_flag import add_shard_flag
from stage1_sam_cache.system.digests import sha256_of
from stage2_distill.commands.flags import add_config_flag, add_run_arguments, add_weights_group, use_refusal_flags
from stage2_distill.errors import ConfigError
from stage2_distill.exchange.layouts import LAYOUTS, Entry
from stage2_distill.libraries import import_libraries

if TYPE_CHECKING:
    from mmengine.config import Config

    from stage2_distill.exchange.training_set import TrainingSet
    from stage2_distill.models.goodsam import GoodSAM


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    parser.add_argument('--out', type=flag_values.named_path, metavar='DIR', required=True, help='the new data set')
    parser.add_argument(
        '--layout',
        choices=tuple(LAYOUTS),
        default='mmseg',
        help="MMSegmentation's, or Hugging Face's image folder (default: %(default)s)",
    )
    parser.add_argument('--copy', action='store_true', help='copy images instead of linking to them')
    panoramas = parser.add_argument_group('panoramas')
    panoramas.add_argument('--cache', metavar='DIR', help="masks of the panoramas (default: the config's)")
    add_shard_flag(parser)
    shared_flags.add_refusal_flags(panoramas)
    add_weights_group(parser)
    add_config_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the data set and return the exit status."""
    args = build_parser().parse_args(argv)
    shard = args.shard or shard_of_environment(os.environ)
    import_libraries()
    import torch

    from stage1_sam_cache.system.devices import choose_device
    from stage2_distill.commands.label_panels import build_dataset, build_model
    from stage2_distill.exchange.training_set import TrainingSet, refuse_others
    from stage2_distill.training.experiment import plain_errors, read_config

    refuse_others(args.out, {'layout': args.layout})
    config = read_config(args.config, args.cfg_options)
    if config.model.type != 'GoodSAM':
        raise ConfigError(f'{args.config} is not a GoodSAM config')
    images = config.train_dataloader.dataset.get('images')
    if images and args.out.resolve().is_relative_to(Path(images).resolve()):
        raise ConfigError(f'{args.out} lies in the folder of images {images}', 'give an --out outside of it')
    use_refusal_flags(config.train_dataloader.dataset, args)
    with shared_flags.remedies_by_flags():
        dataset = build_dataset(config, 'train', args.cache)
    for note in dataset.notes if shard.index == 0 else ():
        cli.report(note)
    device = choose_device('auto', os.environ)
    if device.type == 'cuda':
        torch.cuda.set_device(device)  # each process of torchrun has its own
    model = build_model(config, args.checkpoint, args.trust_checkpoint)
    made = TrainingSet(args.out, args.layout, args.copy, describe(args, config, dataset, model))
    try:
        with plain_errors():
            done, there = export(model, dataset, config, made, shard)
    except BaseException:
        cli.report('stopped early: run the same command again to continue from here')
        raise
    total, others = made.put_together({entry for _, entry, _ in listed(dataset)})
    part = '' if shard.count == 1 else f'shard {shard.index}/{shard.count} ({shard.source}): '
    already = f' ({there} already there)' if there else ''
    print(f'{part}{done + there} panoramas labelled{already}; {total} of {len(dataset)} are in {args.out}')
    if others:
        cli.report(f'{others} panoramas there are not in the data set (any more): its lists are without them')
    return 0


def describe(args: argparse.Namespace, config: Config, dataset: Any, model: GoodSAM) -> dict[str, Any]:
    """Return what the labels depend on, for people and, as a digest, for later runs."""
    import hashlib
    import json

    from stage2_distill.training.lesson_store import lesson_settings

    left_out = [
        {**step, 'mask': step.get('mask') and sha256_of(Path(step['mask']))}
        for step in config.train_dataloader.dataset.pipeline
        if step['type'] == 'LeaveOut'
    ]
    settings = {**lesson_settings(model, dataset, config), 'left_out': left_out}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
    file = Path(args.checkpoint) if args.checkpoint else None
    is_file = file is not None and file.is_file()
    return {
        'labels': digest[:16],
        'config': args.config,
        'checkpoint': args.checkpoint,
        'checkpoint_sha256': sha256_of(file) if file and is_file else None,
        'mask_cache': str(dataset.mask_cache.path),
        'mask_cache_fingerprint': dataset.mask_cache.fingerprint.key,
        'mask_cache_settings': dataset.mask_cache.fingerprint.settings,
        'classes': list(dataset.metainfo['classes']),
        'palette': [list(colour) for colour in dataset.metainfo['palette']],
    }


def listed(dataset: Any) -> list[tuple[int, Entry, Path]]:
    """Return the place of each panorama in a data set, its names, and its file."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    found = [(info['image_id'], Path(info['img_path'])) for info in infos]
    return [(index, Entry(name, f'{name}{path.suffix}'), path) for index, (name, path) in enumerate(found)]


def export(model: GoodSAM, dataset: Any, config: Config, made: TrainingSet, shard: Shard) -> tuple[int, int]:
    """Label this shard's panoramas behind a progress bar; return how many, and how many were finished already."""
    from torch.utils.data import DataLoader, Subset
    from tqdm import tqdm

    from stage2_distill.exchange.ensemble_labels import ensemble_labels

    digests = {record['id']: record['image_sha256'] for record in dataset.mask_cache.manifest()}
    mine = shard.of(listed(dataset))
    entries = {index: (entry, path, digests[entry.id]) for index, entry, path in mine}
    missing = [index for index, item in entries.items() if not made.is_finished(*item)]
    loader = DataLoader(
        Subset(dataset, missing), batch_size=None, num_workers=config.train_dataloader.get('num_workers', 0)
    )
    show = sys.stderr is not None
    bar = tqdm(missing, desc='labels of the ensemble', unit='panorama', disable=not show or not missing)
    for index, packed in zip(bar, loader, strict=True):
        made.write(*entries[index], *ensemble_labels(model, packed))
    return len(missing), len(entries) - len(missing)
