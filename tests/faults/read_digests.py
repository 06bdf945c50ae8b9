"""Prints what a loader's samples hold, a line each: epoch, image, digest of image, masks and boundary maps, open files.

python tests/faults/read_digests.py CONFIG --workers 2 --method spawn --persistent
torchrun --nproc-per-node 2 tests/faults/read_digests.py CONFIG --workers 2        # each process reads its share
"""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

import torch.distributed as dist
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from stage2_distill import components  # noqa: F401  registers


class Digests(Dataset):
    """Of the training set without anything random; the files are those that the reading process has open."""

    def __init__(self, config: Config) -> None:
        init_default_scope('mmseg')
        settings = config.train_dataloader.dataset.to_dict()
        steps = [step for step in settings['pipeline'] if not step['type'].startswith(('Flip', 'Roll', 'Photo'))]
        self._dataset = DATASETS.build({**settings, 'pipeline': steps})

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> str:
        sample = self._dataset[index]
        files = len(list(Path('/proc/self/fd').iterdir()))
        return f'{sample["data_samples"].img_path} {digest(sample)} {files}'


def digest(sample: dict[str, Any]) -> str:
    """Of everything that training gets of a panorama."""
    masks = sample['data_samples'].cached_masks
    parts = [sample['inputs'], *masks.boundaries]
    for window in masks.windows:
        parts += [window.atom_map, window.atom_of_pair, window.mask_of_pair, window.top, window.window_of_mask]
    return hashlib.sha256(b''.join(part.numpy().tobytes() for part in parts)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('config', type=Path)
    parser.add_argument('--workers', type=int, default=0)
    parser.add_argument('--method', choices=('fork', 'spawn'))
    parser.add_argument('--persistent', action='store_true')
    parser.add_argument('--epochs', type=int, default=3)
    args = parser.parse_args()
    if 'WORLD_SIZE' in os.environ:
        dist.init_process_group('gloo')
    loader = Runner.build_dataloader(
        {
            'dataset': Digests(Config.fromfile(args.config)),
            'batch_size': 1,
            'num_workers': args.workers,
            'multiprocessing_context': args.method,
            'persistent_workers': args.persistent,
            'sampler': {'type': 'DefaultSampler', 'shuffle': True},
            'collate_fn': {'type': 'default_collate'},
        },
        seed=0,
    )
    for epoch in range(args.epochs):
        for lines in loader:
            print(epoch, *lines, flush=True)  # noqa: T201
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == '__main__':
    main()
