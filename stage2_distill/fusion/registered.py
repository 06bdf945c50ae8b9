"""The registered faces of the three fusions: CTCF and the two baselines of Table 5, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmseg.registry import MODELS
from torch import Tensor, nn

from stage2_distill.fusion import ctcf, sepl, ssa
from stage2_distill.fusion.ctcf import Fused, Masks
from stage2_distill.fusion.pixelwise import PixelPrediction


class Fusion(nn.Module):
    """Masks and the teacher assistant's logits -> ensemble labels and weight map.

    Args:
        settings: Keywords of the function that does it.
    """

    function: Callable[..., Fused]

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, masks: Masks, logits: Tensor, predicted: PixelPrediction | None = None) -> Fused:
        """See ``ctcf.fuse``."""
        return type(self).function(masks, logits, predicted=predicted, **self.settings)

    def extra_repr(self) -> str:
        return ', '.join(f'{name}={value}' for name, value in self.settings.items())


@MODELS.register_module()
class CTCF(Fusion):
    """The paper's fusion (Eq. 3): ``ctcf.fuse``."""

    function = staticmethod(ctcf.fuse)


@MODELS.register_module()
class SSAFusion(Fusion):
    """Majority vote in every mask: ``ssa.fuse``."""

    function = staticmethod(ssa.fuse)


@MODELS.register_module()
class SEPLFusion(Fusion):
    """Every class takes the masks that fit it: ``sepl.fuse``."""

    function = staticmethod(sepl.fuse)
