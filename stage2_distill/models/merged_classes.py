"""A network in another label space: probabilities of classes that become one are added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from stage1_sam_cache.data.label_spaces import LABEL_SPACES, REMAPS
from stage2_distill.errors import ConfigError

_LEAST = -1e4  # a logit that is a probability of 0, without the NaN of infinities


def merge_logits(logits: Tensor, sources: Sequence[Sequence[int]]) -> Tensor:
    """Merge classes, so that the softmax of the result is the sum of their probabilities.

    Probabilities of classes that are dropped are shared out among the others, in proportion.

    Args:
        logits: ``(N, K, ...)``.
        sources: For each of C classes the ones that become it; a class of none has probability 0.

    Returns:
        ``(N, C, ...)``.
    """
    planes = [
        logits[:, list(classes)].logsumexp(1) if classes else torch.full_like(logits[:, 0], _LEAST)
        for classes in sources
    ]
    return torch.stack(planes, 1)


@MODELS.register_module()
class MergedClasses(BaseModule):
    """A network of one label space as teacher assistant in another, such as Cityscapes' 19 classes as 13.

    Args:
        network: Config of the network, with its initial weights; it sees what it would see by itself.
        source: Label space of its classes.
        target: Label space that they are merged to, by ``label_spaces.REMAPS``.

    Raises:
        ConfigError: If there is no way from one to the other, or the network has other classes.
    """

    def __init__(self, network: dict[str, Any], source: str, target: str, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        if (source, target) not in REMAPS or source not in LABEL_SPACES:
            known = ', '.join(f'{a} to {b}' for a, b in REMAPS if a != b and a in LABEL_SPACES)
            raise ConfigError(f'MergedClasses cannot make {target} of {source}', f'it knows {known}')
        self.network = MODELS.build(network)
        outputs, self.num_classes = len(LABEL_SPACES[source].classes), len(LABEL_SPACES[target].classes)
        if self.network.num_classes != outputs:
            raise ConfigError(
                f'the network in MergedClasses has {self.network.num_classes} classes, {source} has {outputs}',
                'name the label space of its classes as source',
            )
        table = REMAPS[source, target][:outputs].tolist()
        self.sources = tuple(tuple(k for k in range(outputs) if table[k] == c) for c in range(self.num_classes))

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Tensor:
        """Logits of images ``(N, 3, h, w)``, ``(N, num_classes, h', w')`` at the size that the network gives."""
        logits: Tensor = self.network(inputs, data_samples, mode)
        return merge_logits(logits, self.sources)
