"""Settings that a resumed optimizer takes from its checkpoint: weight decay, betas and others, not the rate."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS

Settings = list[dict[str, Any]]  # of each parameter group


@HOOKS.register_module()
class OptimizerSettingsHook(Hook):
    """Says where a resumed run keeps a setting of its checkpoint that the config has changed since.

    PyTorch restores an optimizer with its settings. Those of the learning rate are ``ScheduleHook``'s. Every runner of
    the project has this hook.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._given: dict[str, Settings] = {}

    def before_run(self, runner: Any) -> None:
        """Keep the config's settings, before a checkpoint's replace them."""
        self._given = settings_of(runner.optim_wrapper)

    def before_train(self, runner: Any) -> None:
        """Compare after the checkpoint is loaded."""
        if not runner.iter:
            return
        for network, groups in settings_of(runner.optim_wrapper).items():
            for line in differences(self._given.get(network, []), groups, moved_by(runner.param_schedulers)):
                of = f' of the {network.replace("_", " ")}' if network else ''
                runner.logger.warning(f"the optimizer{of} keeps the checkpoint's {line}")


def settings_of(wrapper: Any) -> dict[str, Settings]:
    """The settings of each group by network, without parameters and rates; nothing of what is not built."""
    parts = dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {'': wrapper}
    return {
        name: [{k: v for k, v in group.items() if k != 'params' and k.split('_')[-1] != 'lr'} for group in groups]
        for name, part in parts.items()
        if (groups := getattr(part, 'param_groups', None))
    }


def moved_by(schedulers: Any) -> set[str]:
    """The settings that schedulers change in every iteration."""
    parts = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    names = {getattr(one, 'param_name', '') for part in parts for one in part or ()}
    return names | ({'betas'} if 'momentum' in names else set())


def differences(given: Settings, kept: Settings, moved: set[str]) -> list[str]:
    """Name each setting that differs, with the first value of both; see ``OptimizerSettingsHook``."""
    found: dict[str, str] = {}
    for wanted, has in zip(given, kept, strict=False):
        for name in (wanted.keys() & has.keys()) - moved - found.keys():
            same = list(wanted[name]) == list(has[name]) if name == 'betas' else wanted[name] == has[name]
            if not same and name.partition('_')[0] != 'initial':
                found[name] = (
                    f"{name}, {has[name]}, not the config's {wanted[name]}; a run that begins from its weights "
                    "(--load-from) has the config's"
                )
    return [found[name] for name in sorted(found)]
