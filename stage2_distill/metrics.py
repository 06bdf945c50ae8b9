"""mmseg's IoUMetric, with the classes' own scores in what it returns."""

from __future__ import annotations

from typing import Any

from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class PerClassIoUMetric(IoUMetric):
    """Adds ``IoU.<class>`` in percent to mmseg's summary, so that logs and result files hold every class.

    A class that neither the labels nor the prediction show is ``nan`` and does not count in the mean.
    """

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Sums the areas of all images and divides."""
        # mmseg gives NumPy's numbers, which JSON does not take.
        summary = {name: float(score) for name, score in super().compute_metrics(results).items()}
        if results:
            intersection, union = (sum(areas) for areas in list(zip(*results, strict=True))[:2])
            shares = (100 * intersection / union).tolist()
            classes = self.dataset_meta['classes']
            summary |= {f'IoU.{name}': share for name, share in zip(classes, shares, strict=True)}
        return summary
