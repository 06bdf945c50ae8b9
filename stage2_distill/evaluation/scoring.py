"""What the scoring tools share: configs made ready to score any images, GoodSAM's predictors, and the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.data.catalog import list_dataset
from stage2_distill.checkpoints.fit import check_fit
from stage2_distill.errors import ConfigError
from stage2_distill.training.cache_check import build_with_cache, expected_settings
from stage2_distill.training.experiment import build_runner, plain_errors


def drop_training(config: Config) -> None:
    """Drop all but the test loop: nothing is trained, and the training images need not be there."""
    for name in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        config[name] = None
    for name in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        config[name] = None


def use_dataset(
    config: Config, name: str, split: str, root: str | None, space: str | None, limit: int | None = None
) -> None:
    """Make a config score another data set than its own, at that data set's size.

    Args:
        config: It is changed.
        name: Key of the catalogue.
        split: Key of its splits.
        root: Its folder; None takes the catalogue's.
        space: Label space; None takes the catalogue's.
        limit: Only the first images.
    """
    config.test_dataloader.dataset = {
        'type': 'CatalogueDataset',
        'name': name,
        'split': split,
        'root': root,
        'label_space': space,
        'limit': limit,
        'test_mode': True,
        'pipeline': [{'type': 'LoadPanorama'}, {'type': 'LoadLabel'}, {'type': 'PackPanorama'}],
    }


def image_size(dataset: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of the first image of a catalogue data set."""
    first = list_dataset(dataset['name'], dataset.get('split'), dataset.get('root')).samples[0].image
    with Image.open(first) as image:
        return image.height, image.width


def use_cache(config: Config, cache: str | None) -> MaskCache:
    """Load the cached masks of the scored images, if the config and the cache go together.

    Args:
        config: It is changed, unless there is an error.
        cache: The folder.

    Returns:
        The cache.

    Raises:
        MaskCacheError: If the masks are not all there, or were made with other settings than the config expects.
        ConfigError: If no cache was given.
    """
    if cache is None:
        raise ConfigError('the ensemble needs the masks of the scored images', 'give them with --cache')
    dataset = config.test_dataloader.dataset
    pipeline = list(dataset.pipeline)
    place = next(i for i, step in enumerate(pipeline) if step['type'] == 'LoadPanorama')
    pipeline.insert(place + 1, {'type': 'LoadCachedMasks'})
    with_masks = {**dataset, 'cache': cache, 'expect': expected_settings(config, scored=True), 'pipeline': pipeline}
    init_default_scope('mmseg')
    masks = build_with_cache(with_masks).mask_cache
    assert masks is not None
    config.test_dataloader.dataset = with_masks
    return masks


def model_space(config: Config) -> str | None:
    """The label space that the config's metrics name for the model's predictions."""
    evaluators = config.test_evaluator if isinstance(config.test_evaluator, list) else [config.test_evaluator]
    return evaluators[0].get('model_space')


def use_predictors(config: Config, predictors: Sequence[str]) -> None:
    """Make a config run these predictors of GoodSAM and score each by a metric of its own."""
    config.model.test_cfg = {'predictors': list(predictors)}
    metric = {'type': 'PerClassIoUMetric', 'iou_metrics': ['mIoU'], 'model_space': model_space(config)}
    # MMEngine warns of metrics that share a prefix, so each has one; the student's is mmseg's ordinary prediction.
    config.test_evaluator = [
        {**metric, 'predictor': 'pred_sem_seg' if name == 'student' else name, 'prefix': name} for name in predictors
    ]


def scores_of(scores: dict[str, float], predictor: str) -> dict[str, float]:
    """The scores of one predictor among all of ``score``, without its name."""
    prefix = f'{predictor}/'
    return {key.removeprefix(prefix): value for key, value in scores.items() if key.startswith(prefix)}


def score(config: Config, checkpoint: str | None = None, trusted: bool = False) -> dict[str, float]:
    """Build the runner and score.

    Args:
        config: Its ``load_from`` is the checkpoint.
        checkpoint: Of the whole model; without one GoodSAM's networks get their initial weights.
        trusted: Let checkpoints run code.

    Returns:
        Every score of every metric, by name.

    Raises:
        GoodSAMError: Of the kinds that ``build_runner`` and ``check_fit`` name, in one line.
    """
    with plain_errors():
        runner = build_runner(config, trusted)
        if checkpoint:
            check_fit(getattr(runner.model, 'module', runner.model), checkpoint, trusted)
        else:
            runner.load_initial_weights()
        return runner.test()
