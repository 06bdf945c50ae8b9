"""What the scoring tools share: configs made ready to score any images, GoodSAM's predictors, and the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import init_default_scope

from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.data.catalog import list_dataset
from stage1_sam_cache.data.images import read_size
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.data.own_labels import LabelIds
from stage2_distill.checkpoints.fit import check_fit
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.coverage import Coverage
from stage2_distill.evaluation.input_sizes import refuse_small_inputs
from stage2_distill.evaluation.label_check import check_labels, nothing_to_score
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
    _use(config, name=name, split=split, root=root, label_space=space, limit=limit)


def use_images(
    config: Config,
    images: str,
    labels: str,
    space: str | None = None,
    ids: LabelIds | None = None,
    limit: int | None = None,
) -> None:
    """Make a config score a folder of images by a folder of labels.

    Args:
        config: It is changed.
        images: The image folder.
        labels: The label folder.
        space: Label space; None takes cityscapes19.
        ids: What the ids in the label files are, as ``OwnLabelReader`` takes them.
        limit: Only the first images with a label.
    """
    _use(config, images=images, labels=labels, label_space=space, label_ids=ids, limit=limit)


def _use(config: Config, **settings: Any) -> None:
    steps = [{'type': 'LoadPanorama'}, {'type': 'LoadLabel'}, {'type': 'PackPanorama'}]
    config.test_dataloader.dataset = {
        'type': 'CatalogueDataset',
        **settings,
        'test_mode': True,
        'pipeline': steps,
    }


def image_size(dataset: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of the first image of a ``CatalogueDataset``, given its settings."""
    rest = {'list_file': dataset.get('list_file'), 'follow_links': dataset.get('follow_links', False)}
    if dataset.get('images'):
        samples = list_folder(dataset['images'], **rest).samples
    else:
        samples = list_dataset(dataset['name'], dataset.get('split'), dataset.get('root'), **rest).samples
    return read_size(samples[0].image)


def use_cache(config: Config, cache: str | None) -> None:
    """Let the scored images be loaded with their cached masks; the runner checks that config and cache go together.

    Args:
        config: It is changed.
        cache: The folder.

    Raises:
        ConfigError: If no cache was given.
    """
    if cache is None:
        raise ConfigError('the ensemble needs the masks of the scored images', 'give them with --cache')
    dataset = config.test_dataloader.dataset
    pipeline = list(dataset.pipeline)
    place = next(i for i, step in enumerate(pipeline) if step['type'] == 'LoadPanorama')
    pipeline.insert(place + 1, {'type': 'LoadCachedMasks'})
    config.test_dataloader.dataset = {**dataset, 'cache': cache, 'pipeline': pipeline}


def scored_masks(config: Config) -> MaskCache:
    """Open the cache of a config after ``use_cache``.

    Raises:
        MaskCacheError: If the masks are not all there, or were made with other settings than the config expects.
        DatasetError: If the images are missing.
    """
    init_default_scope('mmseg')
    settings = {**config.test_dataloader.dataset, 'expect': expected_settings(config, scored=True)}
    masks = build_with_cache(settings).mask_cache
    assert masks is not None
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


class Scored(NamedTuple):
    """Every score of every metric by name, and the images that they are of."""

    scores: dict[str, float]
    coverage: Coverage


def score(config: Config, checkpoint: str | None = None, trusted: bool = False, check: bool = True) -> Scored:
    """Build the runner and score.

    Args:
        config: Its ``load_from`` is the checkpoint.
        checkpoint: Of the whole model; without one GoodSAM's networks get their initial weights.
        trusted: Let checkpoints run code.
        check: Read custom labels before anything is scored.

    Raises:
        GoodSAMError: Of the kinds that ``build_runner`` and ``check_fit`` name, in one line.
        ConfigError: If custom labels can't be used, if no pixel is to be scored, or the network can't take its
            windows.
    """
    with plain_errors():
        runner = build_runner(config, trusted)
        if checkpoint:
            check_fit(getattr(runner.model, 'module', runner.model), checkpoint, trusted)
        else:
            runner.load_initial_weights()
        dataset = runner.test_dataloader.dataset
        refuse_small_inputs(getattr(runner.model, 'module', runner.model))
        if check and getattr(dataset, 'is_own', False):
            check_labels(dataset)
        scores = runner.test()
    images = [int(scores.pop(name)) for name in [*scores] if name.rpartition('/')[2] == 'images']
    if images and not images[0]:
        raise ConfigError(*nothing_to_score(len(dataset)))
    return Scored(scores, Coverage.of(dataset, images[0] if images else len(dataset)))
