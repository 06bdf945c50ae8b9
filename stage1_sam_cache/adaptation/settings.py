"""The settings of an adaptation; all of them are written into the adapter."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

PROMPT_TYPES = ('point1', 'box', 'point', 'coarse', 'coarse_box')
TARGETS = ('teacher', 'prompts')
CONTRAST_UNITS, CONTRAST_FORMS = ('instance', 'patch'), ('joint', 'rows')
LOSS_SIZES = ('mask', 'input')
COUNT = 'count'


def _option(default: Any, text: str, **metadata: Any) -> Any:
    return field(default=default, metadata={'help': text, **metadata})


def _alpha(text: str) -> float | str:
    with suppress(ValueError):
        return text if text == COUNT else float(text)
    raise argparse.ArgumentTypeError(f'{text!r} is neither a number from 0 to 1 nor {COUNT}')


@dataclass(frozen=True)
class AdaptSettings:
    """How SAM's image encoder is adapted (WeSAM; docs/wesam.md says what is the paper's and what is not).

    Args:
        steps, batch: Steps, and windows in each; losses are averaged over a step's windows.
        lr, weight_decay, warmup: Of Adam, whose weight decay is L2; the rate rises linearly over ``warmup`` steps and
            is constant then.
        rank: Of each low-rank update.
        prompt_types: How a window's masks are asked for, in equal shares: ``'point1'`` (one pixel, three answers, as
            stage 1 asks), ``'box'``, ``'point'`` (5 pixels inside and 5 outside), ``'coarse'`` (polygon mask and its
            box), ``'coarse_box'`` (its box alone, as WeSAM's code does).
        box_jitter: Standard deviation of the noise on boxes, as a share of their sides.
        instances: Most masks of a window that are asked for.
        min_area, max_share: Least pixels, and largest share of the window, of a mask that is asked for.
        targets: ``'teacher'``: its thresholded answers (WeSAM); ``'prompts'``: the masks that the prompts were made of,
            which is supervised training.
        self_training, anchor, contrast: Weights of the losses.
        focal_alpha: Of the focal loss; ``'count'`` takes the number of masks, as WeSAM's code does.
        contrast_unit: What is contrasted: ``'instance'``, or ``'patch'`` for squares of 8 x 8 places of the embedding.
        contrast_form, contrast_background, contrast_skip_nested: Of ``losses.prototypes.contrastive_loss``.
        loss_at: Losses of masks at SAM's low resolution inside of the image, ``'mask'``, or enlarged to its padded
            input, ``'input'``, as in WeSAM's code.
        checkpointing: Compute each block of the encoder again in the backward pass: less memory, more time.

    Raises:
        ValueError: If a value is out of its range.
    """

    steps: int = _option(2000, 'steps')
    batch: int = _option(1, 'windows per step; 4 on a GPU')
    lr: float = _option(1e-4, 'learning rate')
    weight_decay: float = _option(1e-4, 'weight decay of Adam, L2')
    warmup: int = _option(250, 'steps until the rate is reached')
    rank: int = _option(4, 'rank of the updates')
    prompt_types: tuple[str, ...] = _option(('point1', 'box'), f'of {", ".join(PROMPT_TYPES)}')
    box_jitter: float = _option(0.0, "noise of boxes as a share of their sides; SAM's own training has 0.1")
    instances: int = _option(40, 'most masks of a window that are asked for')
    min_area: int = _option(100, 'least pixels of a mask that is asked for')
    max_share: float = _option(0.5, 'largest share of the window of such a mask')
    targets: str = _option('teacher', "teacher, or prompts: the masks of the prompts' cache, as in supervised training")
    self_training: float = _option(1.0, 'weight of the self-training loss')
    anchor: float = _option(1.0, 'weight of the anchor loss')
    contrast: float = _option(1.0, 'weight of the contrastive loss')
    focal_alpha: float | str = _option(0.8, "alpha of the focal loss, or count as in WeSAM's code", type=_alpha)
    contrast_unit: str = _option('instance', 'instance or patch')
    contrast_form: str = _option('joint', 'joint or rows')
    contrast_background: bool = _option(True, 'what is outside of all instances is one more')
    contrast_skip_nested: bool = _option(True, 'whole and part are no negative pair')
    loss_at: str = _option('mask', "size of the masks that losses compare: mask, or input as in WeSAM's code")
    checkpointing: bool = _option(False, 'compute blocks of the encoder twice to save memory')

    def __post_init__(self) -> None:
        object.__setattr__(self, 'prompt_types', tuple(self.prompt_types))
        for name, least in (('steps', 0), ('batch', 1), ('warmup', 0), ('rank', 1), ('instances', 1), ('min_area', 1)):
            if getattr(self, name) < least:
                raise ValueError(f'{name} {getattr(self, name)} is less than {least}')
        for name in ('lr', 'weight_decay', 'box_jitter', 'self_training', 'anchor', 'contrast'):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f'{name} {getattr(self, name)} is not a number of at least 0')
        if not 0 < self.max_share <= 1:
            raise ValueError(f'max_share {self.max_share} is not in (0, 1]')
        if not (self.self_training or self.anchor or self.contrast):
            raise ValueError('all losses have weight 0')
        if not self.prompt_types:
            raise ValueError('prompt_types is empty')
        choices = {'targets': TARGETS, 'contrast_unit': CONTRAST_UNITS, 'contrast_form': CONTRAST_FORMS}
        chosen = [(name, [getattr(self, name)], known) for name, known in {**choices, 'loss_at': LOSS_SIZES}.items()]
        for name, values, known in [('prompt_types', self.prompt_types, PROMPT_TYPES), *chosen]:
            for value in set(values) - set(known):
                raise ValueError(f'{name} {value!r} is none of {", ".join(known)}')
        if self.focal_alpha != COUNT and not (isinstance(self.focal_alpha, float) and 0 <= self.focal_alpha <= 1):
            raise ValueError(f'focal_alpha {self.focal_alpha!r} is neither a number in [0, 1] nor {COUNT}')
