"""Scores of the ensemble labels that masks give, with one pass of the teacher assistant for any number of caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from numpy.typing import NDArray
from tqdm import tqdm

from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.errors import MaskCacheError
from stage2_distill.commands.label_panels import build_model
from stage2_distill.fusion.ensemble import Fused
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.fusion.pixelwise import predict_pixels
from stage2_distill.geometry.window_batch import stitch_windows
from toypass.truth.mask_quality import confusion, mean_iou

FUSIONS: dict[str, dict[str, Any]] = {
    'CTCF': {'type': 'CTCF'},
    'CTCF, level means': {'type': 'CTCF', 'theta': 'level_mean'},
    'SSA': {'type': 'SSAFusion'},
}


class EnsembleScores(NamedTuple):
    """Scores of the ensemble labels of stitched panoramas, in percent.

    Attributes:
        miou: mIoU.
        reliable: Share of the pixels whose weight ``M`` is 1.
        accuracy_reliable: Share of these pixels whose label is right.
        accuracy_unreliable: The same where ``M`` is 0; NaN without such pixels, as above.
    """

    miou: float
    reliable: float
    accuracy_reliable: float
    accuracy_unreliable: float


class Tally:
    """Adds up labels by truth, label and weight."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts = np.zeros((2, classes, classes + 1), np.int64)

    def add(self, truth: NDArray[np.integer], fused: Fused) -> None:
        """Add a panorama: true classes ``(H, W)``; labels and weights of the same shape."""
        labels, reliable = fused.labels.cpu().numpy(), fused.weight.cpu().numpy() > 0
        for weight, chosen in enumerate((~reliable, reliable)):
            self.counts[weight] += confusion(truth[chosen], labels[chosen], self.classes)

    def scores(self) -> EnsembleScores:
        """Score what was added."""
        pixels = self.counts.sum((1, 2))
        with np.errstate(invalid='ignore'):
            right = np.trace(self.counts, axis1=1, axis2=2) / pixels
            shares = 100 * np.array([pixels[1] / pixels.sum(), right[1], right[0]])
        return EnsembleScores(mean_iou(self.counts.sum(0)), *shares.tolist())


def score_ensembles(
    config: Config, caches: Sequence[MaskCache], limit: int | None = None, trusted: bool = False
) -> tuple[float, list[dict[str, EnsembleScores]]]:
    """Score the ensemble labels of every cache by every one of ``FUSIONS``, on the images that a config scores.

    Args:
        config: Of GoodSAM; its teacher assistant, with its initial weights, its windows and its labelled images.
        caches: Masks of these images.
        limit: Take only the first images.
        trusted: Let the assistant's checkpoint run code.

    Returns:
        mIoU in percent of the assistant in tiled windows, and for each cache the scores by fusion.

    Raises:
        MaskCacheError: If a cache lacks an image, or was made with other windows.
        CheckpointError: If the assistant's weights cannot be used.
        DatasetError: If the images are missing.
    """
    init_default_scope('mmseg')
    dataset = DATASETS.build(dict(config.test_dataloader.dataset))
    model = build_model(config, None, trusted)
    fusions = {name: MODELS.build(dict(settings)) for name, settings in FUSIONS.items()}
    assistant = Tally(model.num_classes)
    tallies = [{name: Tally(model.num_classes) for name in fusions} for _ in caches]
    images = range(len(dataset) if limit is None else min(limit, len(dataset)))
    with torch.no_grad():
        for index in tqdm(images, desc='scoring ensembles', unit='image', leave=False):
            packed, image_id = dataset[index], dataset.get_data_info(index)['image_id']
            truth = packed['data_samples'].gt_sem_seg.data[0].numpy()
            data = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
            inputs = model.data_preprocessor(data, False)['inputs']
            grid, logits = model.grid_of(inputs), model.assistant_windows(inputs).float()
            predicted = predict_pixels(logits)
            tiled = stitch_windows(predicted.labels, grid)[0]
            assistant.add(truth, Fused(tiled, torch.ones_like(tiled)))
            for cache, by_fusion in zip(caches, tallies, strict=True):
                atoms = atoms_of(cache, image_id, grid).to(logits.device)
                for name, fuse in fusions.items():
                    fused = fuse(atoms, logits, predicted=predicted)
                    labels, weight = (stitch_windows(part, grid)[0] for part in fused[:2])
                    by_fusion[name].add(truth, Fused(labels, weight))
    scores = [{name: tally.scores() for name, tally in by_fusion.items()} for by_fusion in tallies]
    return assistant.scores().miou, scores


def atoms_of(cache: MaskCache, image_id: str, grid: Any) -> MaskAtoms:
    """Read the masks of all windows of a panorama.

    Raises:
        MaskCacheError: If they are of other windows than the grid's, or missing.
    """
    panorama = cache[image_id]
    if panorama.grid != grid:
        raise MaskCacheError(f'{cache.path} has windows {panorama.grid}, the model {grid}')
    return MaskAtoms.stack([MaskAtoms.from_masks(masks) for masks in panorama.windows])
