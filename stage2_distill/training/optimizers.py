"""One optimizer for the teacher assistant and one for the student, which launch little and wait for no device."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import Tensor, nn

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
class FewGroupsConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with all parameters of the same settings in one group, which a GPU steps at once.

    MMEngine gives each parameter a group of its own if there is a ``paramwise_cfg``.
    """

    def add_params(self, params: list[dict[str, Any]], module: nn.Module, prefix: str = '', **options: Any) -> None:
        """Add the groups of a module's parameters; those of the whole network are joined."""
        super().add_params(params, module, prefix, **options)
        if not prefix:
            params[:] = joined_groups(params)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainedConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor for the parameters that are trained alone: most of a network may be frozen.

    Raises:
        ConfigError: If there is a ``paramwise_cfg``, which names all parameters.
    """

    def __call__(self, model: nn.Module) -> Any:
        """Build the optimizer wrapper."""
        if self.paramwise_cfg:
            raise ConfigError('optim_wrapper.constructor=TrainedConstructor takes no paramwise_cfg', 'leave it out')
        return super().__call__(nn.ParameterList(each for each in model.parameters() if each.requires_grad))


def joined_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join groups of parameters that have the same settings, in the order in which the settings first appear."""
    joined: dict[Any, dict[str, Any]] = {}
    for group in groups:
        settings = {name: value for name, value in group.items() if name != 'params'}
        joined.setdefault(repr(sorted(settings.items())), {**settings, 'params': []})['params'] += group['params']
    return list(joined.values())


class NormWithoutWait:
    """Clips gradients by their norm, which stays on its device; MMEngine would wait for it in every step, to log it.

    Attributes:
        norm: Of the last step, a scalar; None until there is one.
    """

    norm: Tensor | None = None

    def __call__(self, parameters: list[nn.Parameter], **options: Any) -> None:
        """Clip, with the arguments of ``torch.nn.utils.clip_grad_norm_``."""
        self.norm = torch.nn.utils.clip_grad_norm_(parameters, **options)


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
        settings = {name: {'constructor': 'FewGroupsConstructor', **self.configs[name]} for name in trained}
        wrappers = {name: build_optim_wrapper(getattr(model, name), settings[name]) for name in trained}
        for wrapper in wrappers.values():
            if getattr(wrapper, 'clip_func', None) is torch.nn.utils.clip_grad_norm_:
                wrapper.clip_func = NormWithoutWait()
        return GoodSAMOptimizers(**wrappers)
