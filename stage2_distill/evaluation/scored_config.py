"""Changes to a config for one way of scoring: mode, windows, input scale, regions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mmengine.config import Config

from stage1_sam_cache.data.catalog import DATASETS
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.region_scores import RegionSettings
from stage2_distill.evaluation.scoring import image_size


def use_regions(config: Config, settings: RegionSettings | None) -> None:
    """Let the config's metrics score regions too, unless there are no settings.

    Raises:
        ConfigError: If it is not known whether the images are panoramas, or if the metric can't score regions.
    """
    if settings is None:
        return
    closed = are_panoramas(config.test_dataloader.dataset)
    if closed is None:
        raise ConfigError(
            '--regions needs images of the catalogue, which tells panoramas from other images; give --dataset'
        )
    for metric in config.test_evaluator if isinstance(config.test_evaluator, list) else [config.test_evaluator]:
        if metric.type != 'PerClassIoUMetric':
            raise ConfigError(f'--regions needs the metric PerClassIoUMetric; the config scores by {metric.type}')
        metric.update(regions=asdict(settings), closed=closed)


def are_panoramas(dataset: dict[str, Any]) -> bool | None:
    """Whether the left and right border of a data set's images join, given its settings; None if that is not known.

    A folder of images is taken for panoramas.
    """
    if dataset.get('type') != 'CatalogueDataset':
        return None
    if dataset.get('images'):
        return True
    entry = DATASETS.get(str(dataset.get('name')))
    if entry is None:
        return None
    split = entry.splits.get(dataset.get('split') or entry.default_split)
    return entry.closed and not (split and split.pinhole)


def space_of(dataset: dict[str, Any]) -> str | None:
    """The label space that a data set is scored in, given its settings; None if it is unknown."""
    entry = DATASETS.get(str(dataset.get('name')))
    return (
        dataset.get('label_space')
        or (entry.label_space if entry else None)
        or ('cityscapes19' if dataset.get('images') else None)
    )


def scale_input(config: Config, scale: float) -> None:
    """Add a resize after the image is loaded and before its label is, so that the label keeps its size."""
    if scale != 1:
        pipeline = list(config.test_dataloader.dataset.pipeline)
        place = next(i for i, step in enumerate(pipeline) if step['type'] in ('LoadAnnotations', 'LoadLabel'))
        pipeline.insert(place, {'type': 'Resize', 'scale_factor': scale, 'keep_ratio': True})
        config.test_dataloader.dataset.pipeline = pipeline


def set_mode(
    config: Config, mode: str, scale: float, window: tuple[int, int] | None, stride: tuple[int, int] | None
) -> None:
    """Set how the model is run over an image: whole, or in windows given in pixels of the unscaled image.

    Raises:
        ConfigError: If the windows can't be worked out because the images are not the catalogue's, are empty, or leave
            gaps.
    """
    if mode == 'whole':
        config.model.test_cfg = {'mode': 'whole'}
        return
    if window is None:
        dataset = config.test_dataloader.dataset
        if dataset.get('type') != 'CatalogueDataset':
            raise ConfigError(f'--mode {mode} needs --window for a {dataset.get("type")}')
        height, width = image_size(dataset)
        window = height, max(1, width // 4)
    if mode == 'tile':
        stride = window
    elif stride is None:
        stride = window[0], max(1, window[1] // 2)
    if min(*window, *stride) < 1:
        raise ConfigError(f'windows of {window[0]}x{window[1]}, strides of {stride[0]}x{stride[1]} pixels are empty')
    if stride[0] > window[0] or stride[1] > window[1]:
        raise ConfigError(
            f'strides of {stride[0]}x{stride[1]} leave gaps between windows of {window[0]}x{window[1]} pixels',
            'give strides that are no larger than the windows',
        )
    size, step = (tuple(max(1, round(scale * side)) for side in pair) for pair in (window, stride))
    config.model.test_cfg = {'mode': 'slide', 'crop_size': size, 'stride': step}
