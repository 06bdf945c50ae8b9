"""What GoodSAM's networks have beyond mmseg's: a boundary head, for one of the open readings of Eq. 2 and 7."""

from __future__ import annotations

from typing import Any

import torch
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class BoundaryEncoderDecoder(EncoderDecoder):
    """mmseg's encoder and decoder with a second decoder of one channel, the probability of a boundary.

    The raw output has that channel last; predictions are those of the first decoder.

    Args:
        boundary_head: Config of a decode head with ``num_classes=2, out_channels=1``.
        options: Of ``EncoderDecoder``.
    """

    def __init__(self, boundary_head: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.boundary_head = MODELS.build(boundary_head)

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        features = self.extract_feat(inputs)
        return torch.cat([self.decode_head.forward(features), self.boundary_head.forward(features)], 1)
