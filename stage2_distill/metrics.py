"""mmseg's IoUMetric, with the classes' own scores, for each network's prediction, in any label space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from stage1_sam_cache.label_spaces import LABEL_SPACES, REMAPS
from stage2_distill.errors import ConfigError


@METRICS.register_module()
class PerClassIoUMetric(IoUMetric):
    """Adds ``IoU.<class>`` in percent to mmseg's summary, so that logs and result files hold every class.

    A class that neither the labels nor the prediction show is ``nan`` and does not count in the mean.

    Args:
        predictor: Field of the data samples that is scored; another than ``pred_sem_seg`` is named in every score.
        model_space: Label space of the prediction. Where the data set has another one, predictions are turned into it;
            classes that it lacks count as wrong wherever a label is.
        options: Of ``IoUMetric``.
    """

    def __init__(
        self, *args: Any, predictor: str = 'pred_sem_seg', model_space: str | None = None, **options: Any
    ) -> None:
        if predictor != 'pred_sem_seg':
            options.setdefault('prefix', predictor)
        super().__init__(*args, **options)
        self.predictor, self.model_space = predictor, model_space

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Counts intersections and unions of one batch; samples without the prediction are left out."""
        table = self._table()
        for sample in data_samples:
            if self.predictor not in sample:
                continue
            prediction = sample[self.predictor]['data']
            if table is not None:
                prediction = torch.as_tensor(table, device=prediction.device)[prediction.long()].long()
            super().process(data_batch, [{**sample, 'pred_sem_seg': {'data': prediction}}])

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Sums the areas of all images and divides; nothing where the predictor was not run."""
        if not results:
            return {}
        print_log(f'{self.predictor}:', 'current')
        # mmseg gives NumPy's numbers, which JSON does not take.
        summary = {name: float(score) for name, score in super().compute_metrics(results).items()}
        intersection, union = (sum(areas) for areas in list(zip(*results, strict=True))[:2])
        shares = (100 * intersection / union).tolist()
        return summary | {f'IoU.{name}': x for name, x in zip(self.dataset_meta['classes'], shares, strict=True)}

    def _table(self) -> np.ndarray | None:
        """Where each predicted id goes; None if prediction and labels are of one space."""
        classes = tuple(self.dataset_meta['classes'])
        if self.model_space is None or classes == LABEL_SPACES[self.model_space].classes:
            return None
        for space in LABEL_SPACES.values():
            if space.classes == classes and (self.model_space, space.name) in REMAPS:
                return REMAPS[self.model_space, space.name]
        raise ConfigError(f'predictions of {self.model_space} cannot be scored as {", ".join(classes)}')
