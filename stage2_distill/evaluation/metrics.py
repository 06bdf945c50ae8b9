"""mmseg's IoUMetric, with the classes' own scores, for each network's prediction, in any label space."""

from __future__ import annotations

from collections.abc import Sequence
from logging import WARNING
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from stage1_sam_cache.data.label_spaces import LABEL_SPACES, REMAPS
from stage2_distill.errors import ConfigError
from stage2_distill.evaluation.region_scores import Counts, RegionSettings, class_ious, mean_iou, region_counts


@METRICS.register_module()
class PerClassIoUMetric(IoUMetric):
    """Add ``IoU.<class>`` in percent to mmseg's summary, so that logs and result files hold every class.

    A class that is neither in the labels nor in the prediction is NaN and does not count in the mean. ``images`` is the
    number of images with a pixel that is scored; those that a sampler adds for equal parts of processes do not count.

    Args:
        predictor: Field of the data samples that is scored; any but ``pred_sem_seg`` is named in every score.
        model_space: Label space of the prediction. Where the data set has another one, predictions are converted to
            it; classes that it lacks count as wrong wherever a label is.
        regions: Any fields of ``RegionSettings``: also score parts of the images (see ``region_scores``), as
            ``<region>_mIoU`` and ``<region>_IoU.<class>`` in percent, NaN for a class that the region's labels lack.
            None scores whole images only.
        closed: Whether the images are panoramas; in other images ``regions`` scores only the boundaries.
        options: Of ``IoUMetric``.

    Raises:
        ValueError: If a field of ``regions`` is out of range.
    """

    def __init__(
        self,
        *args: Any,
        predictor: str = 'pred_sem_seg',
        model_space: str | None = None,
        regions: dict[str, float] | None = None,
        closed: bool = True,
        **options: Any,
    ) -> None:
        if predictor != 'pred_sem_seg':
            options.setdefault('prefix', predictor)
        super().__init__(*args, **options)
        self.predictor, self.model_space = predictor, model_space
        self.regions = None if regions is None else RegionSettings(**regions)
        self.closed = closed

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Count intersections and unions of one batch; samples without the prediction are skipped."""
        table = self._table()
        for sample in data_samples:
            if self.predictor not in sample:
                continue
            prediction = sample[self.predictor]['data']
            if table is not None:
                prediction = torch.tensor(table, device=prediction.device)[prediction.long()].long()
            super().process(data_batch, [{**sample, 'pred_sem_seg': {'data': prediction}}])
            if self.regions is not None and not self.format_only:
                # mmseg's areas of this image are the last result; the regions' counts go with them to other processes.
                self.results[-1] = (*self.results[-1], self._region_counts(prediction, sample['gt_sem_seg']['data']))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Sum the areas of all images and divide; empty where the predictor was not run."""
        if not results:
            return {}
        print_log(f'{self.predictor}:', 'current')
        # mmseg gives NumPy's numbers, which JSON can't hold.
        areas = [image[:4] for image in results]
        summary = {name: float(score) for name, score in super().compute_metrics(areas).items()}
        summary['images'] = float(sum(bool(label.sum() > 0) for *_, label in areas))
        if not summary['images']:
            print_log(
                f'the labels of all {len(areas)} images ignore every pixel: nothing is scored', 'current', WARNING
            )
        intersection, union = (sum(area) for area in list(zip(*areas, strict=True))[:2])
        shares = (100 * intersection / union).tolist()
        summary |= {f'IoU.{name}': x for name, x in zip(self.dataset_meta['classes'], shares, strict=True)}
        if self.regions is not None:
            summary |= self._region_scores([image[4] for image in results])
        return summary

    def _region_counts(self, prediction: torch.Tensor, label: torch.Tensor) -> dict[str, Counts]:
        """Counts of one image; ids fit into 8 bits, as they do in label files."""
        predicted, true = (ids.squeeze(0).to(torch.uint8).cpu().numpy() for ids in (prediction, label))
        classes = len(self.dataset_meta['classes'])
        return region_counts(predicted, true, classes, self.closed, self.regions, self.ignore_index)

    def _region_scores(self, images: list[dict[str, Counts]]) -> dict[str, float]:
        scores = {}
        for region in images[0]:
            ious = class_ious(np.sum([counts[region] for counts in images], axis=0))
            scores[f'{region}_mIoU'] = mean_iou(ious)
            named = zip(self.dataset_meta['classes'], ious.tolist(), strict=True)
            scores |= {f'{region}_IoU.{name}': iou for name, iou in named}
        return scores

    def _table(self) -> np.ndarray | None:
        """The label of each predicted id; None if prediction and labels have one space."""
        classes = tuple(self.dataset_meta['classes'])
        if self.model_space is None or classes == LABEL_SPACES[self.model_space].classes:
            return None
        for space in LABEL_SPACES.values():
            if space.classes == classes and (self.model_space, space.name) in REMAPS:
                return REMAPS[self.model_space, space.name]
        raise ConfigError(
            f'predictions of {self.model_space} cannot be scored as {", ".join(classes)}',
            f'choose classes that they have, such as their own: label_space={self.model_space} of the scored data set, '
            f'which is tools/test.py --label-space {self.model_space}',
        )
