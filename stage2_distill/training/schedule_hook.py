"""Resuming with another schedule: the rates are those of the config, not of the checkpoint."""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS

# What a scheduler's state has beside its settings.
_MOVING = {'last_step', '_global_step', '_last_value', 'base_values', 'verbose'}


class Plan(NamedTuple):
    """What schedulers and parameter groups of an optimizer are before the first iteration.

    Attributes:
        states: Of each scheduler.
        rates: Of each group, what it has of the learning rate: ``lr``, ``initial_lr`` and what schedulers add.
    """

    states: list[dict[str, Any]]
    rates: list[dict[str, float]]

    @classmethod
    def of(cls, schedulers: list[Any], groups: list[dict[str, Any]]) -> Plan:
        """Copy it from what was just built."""
        rates = [{name: value for name, value in group.items() if name.split('_')[-1] == 'lr'} for group in groups]
        return cls([copy.deepcopy(one.state_dict()) for one in schedulers], rates)


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Goes on with the config's schedule where a resumed checkpoint has another.

    MMEngine restores schedulers with their settings, so that a longer run would end its rate where the shorter did, and
    another rate in the config would be ignored. A run whose schedule is the checkpoint's is left exactly as MMEngine
    restores it. Every runner of the project has this hook.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}

    def before_run(self, runner: Any) -> None:
        """Keep the config's schedule, before a checkpoint's replaces it."""
        self._plans = {name: Plan.of(schedulers, groups) for name, schedulers, groups in _parts(runner)}

    def before_train(self, runner: Any) -> None:
        """Compare after the checkpoint is loaded, and go to the run's iteration of another schedule."""
        if not runner.iter:
            return
        if runner.iter >= runner.max_iters:
            runner.logger.warning(
                f'nothing is left to train: the checkpoint is of iteration {runner.iter}, the run has '
                f'{runner.max_iters}; a longer one needs a higher train_cfg.max_iters'
            )
            return
        for name, schedulers, groups in _parts(runner):
            plan, before = self._plans[name], groups[0]['lr']
            if _is_at(plan, schedulers, groups, runner.iter):
                continue
            network = f' of the {name.replace("_", " ")}' if name else ''
            if any(getattr(one, 'need_val_args', False) for one in schedulers):
                said = "is the checkpoint's, not the config's: it follows scores, which are not known again"
            else:
                go_to(plan, schedulers, groups, runner.iter, runner.epoch)
                now = groups[0]['lr']
                said = f"is that of the config's schedule, {now:.3g}, not that of the checkpoint's, {before:.3g}"
            runner.logger.warning(f'from iteration {runner.iter + 1} on the learning rate{network} {said}')


def go_to(plan: Plan, schedulers: list[Any], groups: list[dict[str, Any]], iteration: int, epoch: int) -> None:
    """Set schedulers and groups to what they are when a run by this plan comes to an iteration and epoch."""
    few: list[dict[str, float]] = []  # a network has hundreds of groups, but few rates
    for rates in plan.rates:
        if rates not in few:
            few.append(dict(rates))
    which = [few.index(rates) for rates in plan.rates]
    optimizer, simulated = schedulers[0].optimizer, SimpleNamespace(param_groups=few, step=None)
    initial = [rates['initial_lr'] for rates in few]
    for scheduler, state in zip(schedulers, plan.states, strict=True):
        scheduler.load_state_dict({**copy.deepcopy(state), 'base_values': initial})
        scheduler.optimizer = simulated
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # schedulers warn where no optimizer steps before them
        for by_epoch, steps in ((False, iteration), (True, epoch)):
            moved = [one for one in schedulers if one.by_epoch == by_epoch]
            for _ in range(steps):
                for scheduler in moved:
                    scheduler.step()
    for group, place in zip(groups, which, strict=True):
        group.update(few[place])
    for scheduler, state in zip(schedulers, plan.states, strict=True):
        scheduler.optimizer = optimizer
        values = {'base_values': list(state['base_values']), '_last_value': [group['lr'] for group in groups]}
        scheduler.load_state_dict(values)


def _is_at(plan: Plan, schedulers: list[Any], groups: list[dict[str, Any]], iteration: int) -> bool:
    """Whether restored schedulers are those of a plan, at an iteration."""
    now = [one.state_dict() for one in schedulers]
    in_step = all(state['by_epoch'] or state['_global_step'] == iteration for state in now)
    same = [_still(state) for state in now] == [_still(state) for state in plan.states]
    begun = [group.get('initial_lr') for group in groups] == [rates['initial_lr'] for rates in plan.rates]
    return in_step and same and begun


def _still(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's settings among its state."""
    return {name: value for name, value in state.items() if name not in _MOVING}


def _parts(runner: Any) -> list[tuple[str, list[Any], list[dict[str, Any]]]]:
    """Name, schedulers of the learning rate and parameter groups of each optimizer that was built."""
    built, wrapper = runner.param_schedulers, runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict):
        parts = [(name, (built or {}).get(name), each.param_groups) for name, each in wrapper.items()]
    else:
        parts = [('', built, getattr(wrapper, 'param_groups', None))]
    of_rate = [
        (name, [one for one in own or () if getattr(one, 'param_name', '') == 'lr'], groups)
        for name, own, groups in parts
    ]
    return [part for part in of_rate if part[1] and part[2]]
