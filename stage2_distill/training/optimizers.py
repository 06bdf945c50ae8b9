"""One optimizer for the teacher assistant and one for the student."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from stage2_distill.errors import ConfigError
from stage2_distill.models.names import NETWORKS


class GoodSAMOptimizers(OptimWrapperDict):
    """MMEngine's dictionary of optimizers, each accumulating the gradients of its own network."""

    def initialize_count_status(self, model: nn.Module, cur_iter: int, max_iters: int) -> None:
        """Set every optimizer's count of iterations."""
        model = getattr(model, 'module', model)
        for name, wrapper in self.items():
            wrapper.initialize_count_status(getattr(model, name), cur_iter, max_iters)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GoodSAMOptimizerConstructor:
    """Builds an optimizer for each network that is trained.

    Args:
        optim_wrapper_cfg: ``student`` and ``teacher_assistant``, each an ordinary ``optim_wrapper`` of MMEngine.
        paramwise_cfg: Not used; each network has its own.

    Raises:
        ConfigError: If the config names anything else.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        self.configs = copy.deepcopy(dict(optim_wrapper_cfg))
        self.configs.pop('type', None)
        unknown = set(self.configs) - set(NETWORKS)
        if unknown or not self.configs or paramwise_cfg:
            raise ConfigError(f'optim_wrapper takes {" and ".join(NETWORKS)}, each with its own settings')

    def __call__(self, model: nn.Module) -> GoodSAMOptimizers:
        """Build them; a frozen network gets none."""
        model = getattr(model, 'module', model)
        trained = [name for name in NETWORKS if any(p.requires_grad for p in getattr(model, name).parameters())]
        missing = [name for name in trained if name not in self.configs]
        if missing:
            raise ConfigError(f'optim_wrapper has no settings for {missing[0]}')
        wrappers = {name: build_optim_wrapper(getattr(model, name), self.configs[name]) for name in trained}
        return GoodSAMOptimizers(**wrappers)
