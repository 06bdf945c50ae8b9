"""Prints what a loader's samples hold, one line each: index and a digest of image, masks and boundary maps.

torchrun --nproc-per-node 2 tests/faults/read_digests.py CONFIG        # each process reads its share
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import torch.distributed as dist
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS

from stage2_distill import components  # noqa: F401  registers


def digest(sample: dict[str, Any]) -> str:
    """Of everything that training gets of a panorama."""
    masks = sample['data_samples'].cached_masks
    parts = [sample['inputs'], *masks.boundaries]
    for window in masks.windows:
        parts += [window.atom_map, window.atom_of_pair, window.mask_of_pair, window.top, window.window_of_mask]
    return hashlib.sha256(b''.join(part.numpy().tobytes() for part in parts)).hexdigest()


def dataset_of(config: Config) -> Any:
    """The training set without anything random."""
    init_default_scope('mmseg')
    settings = config.train_dataloader.dataset.to_dict()
    steps = [step for step in settings['pipeline'] if not step['type'].startswith(('Flip', 'Roll', 'Photo'))]
    return DATASETS.build({**settings, 'pipeline': steps})


def main() -> None:
    dist.init_process_group('gloo')
    dataset = dataset_of(Config.fromfile(sys.argv[1]))
    loader = {'batch_size': 1, 'num_workers': 2, 'sampler': {'type': 'DefaultSampler', 'shuffle': True}}
    for batch in Runner.build_dataloader({**loader, 'dataset': dataset}, seed=0):
        sample = {'inputs': batch['inputs'][0], 'data_samples': batch['data_samples'][0]}
        print(sample['data_samples'].img_path, digest(sample), flush=True)  # noqa: T201
    dist.destroy_process_group()


if __name__ == '__main__':
    main()
