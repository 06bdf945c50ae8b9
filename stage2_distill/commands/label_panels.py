"""The panels of one panorama: image, masks, assistant, ensemble, weight map, refined boundaries, student, confidence.

Also the data set and the networks of a config that are looked at, for the commands that do so.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stage1_sam_cache.cache.picture import draw_masks
from stage1_sam_cache.commands import shared_flags
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.system.nearest import known
from stage2_distill.checkpoints.fit import check_fit, check_initial_weights, weights_in
from stage2_distill.checkpoints.safe_checkpoints import load_any, use_safe_loaders
from stage2_distill.commands.flags import use_refusal_flags
from stage2_distill.errors import ConfigError
from stage2_distill.geometry.window_batch import stitch_windows
from stage2_distill.models.goodsam import GoodSAM
from stage2_distill.training.cache_check import build_with_cache, expected_settings

Panel = tuple[str, NDArray[np.uint8]]  # caption and pixels
_CAPTION = 26
_EDGE = (255, 230, 60)
_UNRELIABLE = 0.35  # brightness of pixels whose weight is 0


def build_dataset(config: Config, split: str, cache: str | None) -> Any:
    """Build the config's training or validation images with their masks, without augmentation.

    Raises:
        ConfigError: If there is no cache.
        MaskCacheError: If the cache does not fit the config.
    """
    init_default_scope('mmseg')
    loader = config.train_dataloader if split == 'train' else config.val_dataloader or config.test_dataloader
    settings = dict(loader.dataset)
    settings['cache'] = cache or settings.get('cache')
    if not settings['cache']:
        raise ConfigError(f'the config names no cache for {split}', 'give it with --cache')
    settings['pipeline'] = [{'type': 'LoadPanorama'}, {'type': 'LoadCachedMasks'}]
    if settings.get('labelled', True):
        settings['pipeline'].append({'type': 'LoadLabel'})
    settings['pipeline'] += [step for step in loader.dataset.pipeline if step['type'] == 'LeaveOut']
    settings['pipeline'].append({'type': 'PackPanorama'})
    settings['expect'] = expected_settings(config, scored=split != 'train')
    return build_with_cache(settings)


def choose(config: Config, args: argparse.Namespace) -> tuple[Any, list[int]]:
    """Build the data set that the flags of ``add_panorama_flags`` ask for; the panoramas are places in it.

    Raises:
        ConfigError: If there is no such panorama, and as ``build_dataset``.
        MaskCacheError: As ``build_dataset``.
    """
    for loader in filter(None, (config.train_dataloader, config.val_dataloader, config.test_dataloader)):
        use_refusal_flags(loader.dataset, args)
    with shared_flags.remedies_by_flags():
        dataset = build_dataset(config, args.split, args.cache)
    names = [dataset.get_data_info(i)['image_id'] for i in range(len(dataset))]
    for name in args.id or []:
        if name not in names:
            raise ConfigError(f'there is no panorama {name!r}', known(name, names))
    return dataset, [names.index(name) for name in args.id or names[: args.count]]


def build_model(config: Config, checkpoint: str | None, trusted: bool) -> GoodSAM:
    """Build the networks with the weights of a checkpoint, or with their initial weights.

    Raises:
        CheckpointError: If weights are missing, damaged or do not fit.
    """
    use_safe_loaders(trusted)
    model = MODELS.build(config.model)
    if checkpoint:
        check_fit(model, checkpoint, trusted)
        model.load_state_dict(weights_in(load_any(checkpoint, trusted)), strict=False)  # what it needs is there
    else:
        check_initial_weights(model, trusted)
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel('WARNING')  # else it is told of each parameter where it came from
        try:
            model.init_weights()
        finally:
            logger.setLevel(level)
    return model.to('cuda' if torch.cuda.is_available() else 'cpu').eval()


@torch.no_grad()
def draw(model: GoodSAM, initial: GoodSAM, dataset: Any, index: int) -> dict[str, Panel]:
    """Draw the panels of one panorama, by the names that ``--panels`` takes; no ``truth`` where there are no labels."""
    packed = dataset[index]
    info = dataset.get_data_info(index)
    pixels = read_rgb(Path(info['img_path'])).pixels
    data = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
    data = model.data_preprocessor(data, False)
    lesson, student = model.explain(data['inputs'], data['data_samples'])
    grid = lesson.grid
    ensemble = stitch_windows(lesson.ensemble.labels, grid)[0].cpu().numpy()
    weight = stitch_windows(lesson.ensemble.weight, grid)[0].cpu().numpy()
    cached = dataset.mask_cache[info['image_id']]
    count = sum(len(masks) for masks in cached.windows)
    generator = cached.fingerprint.settings['generator']
    palette = dataset.metainfo['palette']
    dark = pixels // 3
    dark[refined_edges(lesson, *pixels.shape[:2])] = _EDGE
    shade = np.where(weight[..., None] > 0, 1, _UNRELIABLE)
    panels = {
        'image': (info['image_id'], pixels),
        'masks': (
            f'{count} masks of {generator.get("tool", generator["name"])}, in {len(grid.windows)} windows',
            np.asarray(draw_masks(cached, pixels)),
        ),
        'assistant': ('teacher assistant, tiled', colour(lesson.whole_labels[0].cpu().numpy(), palette)),
        'ensemble': ('ensemble labels', colour(ensemble, palette)),
        'weight': (
            f'weight map: {weight.mean():.0%} reliable, the rest darkened',
            (colour(ensemble, palette) * shade).astype(np.uint8),
        ),
        'boundaries': ('refined boundaries of the overlaps', dark),
        'student': ('student', colour(student[0].argmax(0).cpu().numpy(), palette)),
        'confidence': ("probability of the student's label: white is 1", grey(student[0])),
    }
    if initial is not model:
        before = initial.predict(data['inputs'], data['data_samples'])[0].pred_sem_seg.data[0]
        panels['before'] = ('student, initial weights', colour(before.cpu().numpy(), palette))
    if 'gt_sem_seg' in packed['data_samples']:
        panels['truth'] = ('ground truth', colour(packed['data_samples'].gt_sem_seg.data[0].numpy(), palette))
    return panels


def refined_edges(lesson: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Collect the refined boundary maps of all overlaps in one panorama; ``(H, W)``."""
    edges = np.zeros((height, width), bool)
    for group, refined in zip(lesson.groups, lesson.refined, strict=True):
        for box, part in zip(group.boxes, refined[0].cpu().numpy(), strict=True):
            rows = slice(box.top, box.top + box.height)
            edges[rows, np.arange(box.left, box.left + box.width) % width] |= part
    return edges


def arrange(panels: Sequence[Panel], columns: int) -> Image.Image:
    """Draw panels with their captions, row by row."""
    height, width = panels[0][1].shape[:2]
    rows = -(-len(panels) // columns)
    sheet = Image.new('RGB', (width * min(columns, len(panels)), rows * (height + _CAPTION)), 'white')
    for i, (caption, panel) in enumerate(panels):
        left, top = i % columns * width, i // columns * (height + _CAPTION)
        ImageDraw.Draw(sheet).text((left + 4, top + 3), caption, 'black', ImageFont.load_default(16))
        sheet.paste(Image.fromarray(panel), (left, top + _CAPTION))
    return sheet


def stack(sheets: Sequence[Image.Image]) -> Image.Image:
    """Draw pictures below each other."""
    result = Image.new('RGB', (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), 'white')
    top = 0
    for sheet in sheets:
        result.paste(sheet, (0, top))
        top += sheet.height
    return result


def grey(logits: torch.Tensor) -> NDArray[np.uint8]:
    """Paint the largest probability of each pixel, of logits ``(C, H, W)``; black 0, white 1."""
    values = (logits.float().softmax(0).amax(0) * 255).round().byte().cpu().numpy()
    return np.repeat(values[..., None], 3, 2)


def colour(labels: NDArray[np.integer], palette: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """Paint class ids in the colours of their classes, ignored pixels black."""
    colours = np.zeros((IGNORE + 1, 3), np.uint8)
    colours[: len(palette)] = palette
    painted: NDArray[np.uint8] = colours[labels]
    return painted
