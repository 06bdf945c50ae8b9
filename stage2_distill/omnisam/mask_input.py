"""What the memory is told about the prediction of a patch.

SAM 2's memory encoder reads a mask: a logit ``x`` per pixel, as ``20 sigmoid(x) - 10``. A semantic prediction has C
logits per pixel. The authors hand over the class ids through a sigmoid, under which classes from about 5 on look the
same; the other kinds are for comparison.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stage2_distill.errors import ConfigError
from stage2_distill.fusion.pixelwise import first_argmax

KINDS = ('class_ids', 'confidence', 'none', 'embedding')
TOKEN = 16  # pixels of a patch per memory token, along each axis


@torch.no_grad()
def memory_mask(logits: Tensor, kind: str = 'class_ids') -> Tensor:
    """Return what the convolutions of SAM 2's memory encoder read, without a further sigmoid.

    Args:
        logits: Of a patch, ``(B, C, S, S)``.
        kind: ``'class_ids'``: the sigmoid of the most probable class's id, as the authors. ``'confidence'``: its
            probability ``p`` as ``20 p - 10``, SAM 2's range. ``'none'``: 0 everywhere, so that the memory holds the
            image alone. ``'embedding'``: 0 as well; the classes come in by ``ClassEmbedding``.

    Returns:
        float32 ``(B, 1, S, S)`` without gradient.

    Raises:
        ConfigError: For another kind.
    """
    if kind == 'class_ids':
        return first_argmax(logits)[:, None].float().sigmoid()
    if kind == 'confidence':
        return 20 * logits.float().softmax(1).amax(1, keepdim=True) - 10
    if kind in KINDS:
        return torch.zeros_like(logits[:, :1], dtype=torch.float32)
    raise ConfigError(f'mask_input={kind!r} is not one of {", ".join(map(repr, KINDS))}', 'choose one of them')


@torch.no_grad()
def class_shares(logits: Tensor) -> Tensor:
    """Average probabilities over the pixels of each memory token.

    Args:
        logits: ``(B, C, S, S)``.

    Returns:
        float32 ``(B, C, S/16, S/16)`` without gradient; sums to 1 over the classes.
    """
    return F.avg_pool2d(logits.float().softmax(1), TOKEN)


class ClassEmbedding(nn.Module):
    """A learned vector for every class, mixed by the shares of classes and added to the memory; 0 at first.

    It is added when an entry is read and not when it is written: the entry carries no gradient, the vectors get one.

    Args:
        classes: C.
        channels: m, those of the memory.
    """

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, shares: Tensor) -> Tensor:
        """Map ``class_shares`` ``(B, C, h, w)`` to ``(h w, B, channels)``."""
        return shares.flatten(2).permute(2, 0, 1) @ self.table
