"""Write random weights of the size that ``sitecustomize`` gives networks, under the names of the published ones.

python make_weights.py DOWNLOADED SHIPPED HUB    # folders for web addresses, ``goodsam://`` and ``hf:``
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from safetensors.torch import save_file
from torch import nn

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.sam.sam2_networks import build_sam2
from stage2_distill import components  # noqa: F401  registers what configs name
from stage2_distill.checkpoints.hub_folder import save_hub_folder
from stage2_distill.commands.paper.figures import NETWORKS
from stage2_distill.commands.paper.measure import nvidia_segformer
from stage2_distill.commands.paper.weights import published_address
from stage2_distill.training.config_files import CONFIGS
from stage2_distill.training.experiment import read_config


def pretrained(part: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The address of initial weights and the config of the network, for each network below a part of a config."""
    if isinstance(part, dict):
        address = (part.get('init_cfg') or {}).get('checkpoint')
        if address and 'type' in part:
            yield address, {name: value for name, value in part.items() if name != 'init_cfg'}
        for value in part.values():
            yield from pretrained(value)


def initial_weights(model: dict[str, Any]) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Addresses of initial weights below a config's model, and what builds the network that has such weights."""
    for address, network in pretrained(model):
        yield address, partial(MODELS.build, network)
    if model['type'] == 'OmniSAM' and model.get('weights') and importlib.util.find_spec('sam2'):
        yield model['weights'], partial(build_sam2, model['size'])


def main(downloaded: str, shipped: str, hub: str) -> None:
    init_default_scope('mmseg')
    done = set()
    for file in sorted(CONFIGS.rglob('*.py')):
        if '_base_' in file.parts:
            continue
        for address, build in initial_weights(read_config(str(file)).to_dict()['model']):
            if address in done or '://' not in address:  # others are folders of the hub, or files of work dirs
                continue
            done.add(address)
            weights = build().state_dict()
            name = address.rpartition('/')[2]
            if address.startswith('goodsam://'):
                save_file(weights, Path(shipped) / name)
            else:  # cache_sam.py seeks SAM 2's files in the folder of weights, not where torch.hub keeps its
                torch.save(weights, Path(hub if name.startswith('sam2') else downloaded) / name)
    classes = LABEL_SPACES['cityscapes19'].classes
    for size in NETWORKS:
        folder = Path(hub, published_address(size, 'nvidia').removeprefix('hf:'))
        save_hub_folder(MODELS.build(nvidia_segformer(size)).state_dict(), classes, folder)


if __name__ == '__main__':
    main(*sys.argv[1:])
