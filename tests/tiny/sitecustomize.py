"""Shrinks what is large in every Python process with this folder in PYTHONPATH, so that printed commands take seconds.

Python imports a module of this name when it starts. Commands, configs, flags and names of files stay as they are; only
this is changed, when the module that has it is imported:

- SAM ViT-H is the toy SAM's network with its weights, "downloaded" from the package, asked at 6x6 points;
- SAM 2 of any size is the toy SAM 2's network, and OmniSAM's patches have 64 pixels;
- SegFormers are an eighth as wide, with one layer per stage; ``goodsam://`` weights come from ``TINY_WEIGHTS``;
- a training run has two iterations, its first and its last, so that all it writes has the documents' names;
- ToyPASS has a few scenes of each kind, and loaders one worker process.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

NARROWER = 8


def change_arguments(owner: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Let ``change`` edit the keyword arguments of a class's constructor."""
    init = owner.__init__

    @functools.wraps(init)
    def changed(self: Any, *args: Any, **options: Any) -> None:
        change(options)
        init(self, *args, **options)

    owner.__init__ = changed


def small_sam(weights: Any) -> None:
    toy = weights.PUBLISHED[weights.TOY]
    url = weights.find_weights(weights.TOY).as_uri()
    weights.PUBLISHED['vit_h'] = weights.PUBLISHED['vit_h']._replace(url=url, sha256=toy.sha256)
    weights.ARCHITECTURES['vit_h'] = weights.ARCHITECTURES[weights.TOY]


def few_points(settings: Any) -> None:
    few = {'points_per_side': 6, 'pred_iou_thresh': 0.5, 'stability_score_thresh': 0.0}
    change_arguments(settings.SamSettings, lambda options: options.update(few))


def small_sam2(sam2_sizes: Any) -> None:
    sam2_sizes.SIZES.update(dict.fromkeys(sam2_sizes.SIZES, sam2_sizes.SIZES['toy']))


def small_patches(omnisam: Any) -> None:
    change_arguments(omnisam.OmniSAM, lambda options: options.update(patch_size=64))


def narrow_backbone(mit: Any) -> None:
    def change(options: dict[str, Any]) -> None:
        options['embed_dims'] //= NARROWER
        options['num_layers'] = [1] * 4

    change_arguments(mit.MixVisionTransformer, change)


def narrow_head(segformer_head: Any) -> None:
    def change(options: dict[str, Any]) -> None:
        options['in_channels'] = [channels // NARROWER for channels in options['in_channels']]
        options['channels'] //= NARROWER

    change_arguments(segformer_head.SegformerHead, change)


def narrow_weights(shipped_weights: Any) -> None:
    shipped_weights.FOLDER = Path(os.environ['TINY_WEIGHTS'])


def first_and_last_iteration(loops: Any) -> None:
    run_iter = loops.IterBasedTrainLoop.run_iter

    def changed(self: Any, data_batch: Any) -> None:
        run_iter(self, data_batch)
        self._iter = max(self._iter, self._max_iters - 1)

    loops.IterBasedTrainLoop.run_iter = changed


def few_scenes(knobs: Any) -> None:
    knobs.PRESETS['demo'] = replace(knobs.PRESETS['demo'], counts=knobs.Counts(6, 2, 2, 2))


def one_worker(dataloader: Any) -> None:
    def change(options: dict[str, Any]) -> None:
        options['num_workers'] = min(options.get('num_workers', 0), 1)

    change_arguments(dataloader.DataLoader, change)


CHANGES = {
    'stage1_sam_cache.sam.weights': small_sam,
    'stage1_sam_cache.sam.settings': few_points,
    'stage1_sam_cache.sam.sam2_sizes': small_sam2,
    'stage2_distill.omnisam.omnisam': small_patches,
    'mmseg.models.backbones.mit': narrow_backbone,
    'mmseg.models.decode_heads.segformer_head': narrow_head,
    'stage2_distill.checkpoints.shipped_weights': narrow_weights,
    'mmengine.runner.loops': first_and_last_iteration,
    'toypass.knobs': few_scenes,
    'torch.utils.data.dataloader': one_worker,
}


class ChangingFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of ``CHANGES``, and changes each after it was imported."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path) if fullname in CHANGES else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_change(module: Any) -> None:
            execute(module)
            CHANGES[fullname](module)

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, ChangingFinder())
