"""Pseudo-labels of one panorama: how its windows are visited, and the rule that makes labels of their predictions.

A rule is an entry of ``RULES``; those of ``merging.py`` merge predictions alone, those of ``instance_labels.py`` take
the cached masks that ``LoadCachedMasks`` has put into the image's sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from mmseg.structures import SegDataSample
from torch import Tensor

from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.errors import ConfigError
from stage2_distill.omnisam import instance_labels, merging, sequence
from stage2_distill.omnisam.instance_labels import merge_with_masks
from stage2_distill.omnisam.merging import Merged, merge
from stage2_distill.omnisam.prediction import PatchNetwork, PredictionSettings, window_predictions
from stage2_distill.omnisam.window_choice import WindowChoice


@dataclass(frozen=True)
class LabelSettings:
    """How a round labels its images: ``labelling`` of ``PseudoLabelRoundHook``.

    Args:
        rule: Key of ``RULES``. ``'unanimous'``: the paper's. ``'vote'``: the authors' first revision. ``'sum'``: the
            second. ``'mean'``: as ``'sum'``, divided by how many windows see a pixel. ``'ctcf'``, ``'ssa'``: by
            instances, see ``merge_with_masks``.
        threshold: What a pixel's confidence has to exceed; None takes the rule's own (0.85 for ``'unanimous'``, else 0;
            the authors' second revision has 0.85 for ``'sum'``).
        laps: As ``test_cfg.laps``.

    Raises:
        ConfigError: If a value is not one of these.
    """

    rule: str = 'unanimous'
    threshold: float | None = None
    laps: str = 'both'

    def __post_init__(self) -> None:
        for name, values in (('rule', RULES), ('laps', sequence.LAPS)):
            if getattr(self, name) not in values:
                raise ConfigError(f'labelling.{name}={getattr(self, name)!r}', f'give one of {", ".join(values)}')
        if self.threshold is not None and not isinstance(self.threshold, int | float):
            raise ConfigError(f'labelling.threshold={self.threshold!r}', 'give a number')

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> LabelSettings:
        """Make settings of a config's ``labelling``.

        Raises:
            ConfigError: If there are other keys or values.
        """
        names = [field.name for field in fields(cls)]
        unknown = [name for name in values or {} if name not in names]
        if unknown:
            raise ConfigError(f'labelling has no {unknown[0]}', f'it has {", ".join(names)}')
        return cls(**(values or {}))

    def to_json(self) -> dict[str, Any]:
        """Return all settings as plain values: labels that agree in them, and in their model, are equal."""
        return asdict(self)


class LabellingNetwork(PatchNetwork, Protocol):
    """What labelling needs of ``OmniSAM``."""

    windows: WindowChoice


# Of network, image, windows, the image's sample and settings.
Rule = Callable[[LabellingNetwork, Tensor, WindowGrid, SegDataSample, LabelSettings], Merged]


def _merged(
    network: LabellingNetwork, image: Tensor, grid: WindowGrid, sample: SegDataSample, settings: LabelSettings
) -> Merged:
    visited = PredictionSettings(laps=settings.laps)
    return merge(window_predictions(network, image, grid, visited), grid, settings.rule, settings.threshold)


def _by_instances(
    network: LabellingNetwork, image: Tensor, grid: WindowGrid, sample: SegDataSample, settings: LabelSettings
) -> Merged:
    predictions = window_predictions(network, image, grid, PredictionSettings(laps=settings.laps))
    return merge_with_masks(predictions, grid, sample.get('cached_masks'), settings.rule, settings.threshold)


RULES: dict[str, Rule] = {
    **dict.fromkeys(merging.RULES, _merged),
    **dict.fromkeys(instance_labels.RULES, _by_instances),
}


def label_panorama(network: LabellingNetwork, image: Tensor, sample: SegDataSample, settings: LabelSettings) -> Merged:
    """Label one panorama.

    Args:
        network: In evaluation mode.
        image: Normalised ``(1, 3, H, W)``.
        sample: The image's: its ``image_id``, and what else the data pipeline gives a rule.
        settings: The rule and the laps.

    Returns:
        Labels of the image's own size, 255 where the rule gives none.

    Raises:
        InputSizeError: If there are no windows for an image of this size.
        ConfigError: If a ring is asked for in an open panorama.
        MaskCacheError: If a rule needs masks and there are none, or they are of other windows.
    """
    size = image.shape[-2], image.shape[-1]
    grid = network.windows.over(*size, closed=sample.metainfo.get('closed', True))
    return RULES[settings.rule](network, image, grid, sample, settings)
