"""The learning rate of every iteration, as a config's schedulers make it, and what in it a user would want to know.

A run whose schedule was made for another length trains on nothing: at rate 0 after the schedule's end, or in a warm-up
that never ends. Schedulers without ``end`` go on to the last iteration (MMEngine's default), and so those of the
project's configs have none. For all others ``warnings_of`` says before training what will happen.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from stage2_distill.errors import ConfigError

_DEAD = 1e-6  # share of the configured rate below which nothing is learned
_SPANS = ('T_max', 'total_steps')  # lengths beside ``end``: of cosine annealing and of one cycle


class RunLength(NamedTuple):
    """Iterations or epochs of a run; the other is None."""

    iterations: int | None
    epochs: int | None

    def of(self, scheduler: dict[str, Any]) -> int | None:
        """The run's length in a scheduler's unit; None if it can't be known from the config."""
        return self.epochs if scheduler.get('by_epoch', True) else self.iterations


def run_length(config: Config) -> RunLength:
    """How long a config trains.

    Raises:
        ConfigError: If that is not a whole number of at least 1.
    """
    loop = config.get('train_cfg') or {}
    return RunLength(*(whole_number(loop.get(name), f'train_cfg.{name}') for name in ('max_iters', 'max_epochs')))


def whole_number(value: Any, name: str, least: int = 1) -> int | None:
    """A number of a config as a whole one, which may be written as 1e5; None as it is.

    Raises:
        ConfigError: If it is not a whole number, or too small.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least or value % 1:
        raise ConfigError(f'{name}={value} is not a whole number of at least {least}')
    return int(value)


def scheduler_settings(schedule: Any) -> list[dict[str, Any]]:
    """All schedulers of ``param_scheduler``: one, a list, or either for each optimizer."""
    if isinstance(schedule, dict):
        parts = [schedule] if 'type' in schedule else list(schedule.values())
        return parts if 'type' in schedule else [one for part in parts for one in scheduler_settings(part)]
    return [one for one in schedule or () if isinstance(one, dict)]


def follow_length(config: Config, before: RunLength) -> None:
    """Let schedulers that ended with the run end with it again, after its length was changed on the command line.

    Args:
        config: It is changed.
        before: The length in the config's file.
    """
    now = run_length(config)
    for scheduler in scheduler_settings(config.get('param_scheduler')):
        old, new = before.of(scheduler), now.of(scheduler)
        if old is None or new is None:
            continue
        begin = scheduler.get('begin', 0)
        if scheduler.get('end') == max(old, begin + 1):
            scheduler['end'] = max(new, begin + 1)
        for name in _SPANS:
            if scheduler.get(name) in (old, old - begin):
                scheduler[name] = max(scheduler[name] + new - old, 1)


def end_schedulers(config: Config) -> None:
    """Give every scheduler without ``end`` the run's; one that begins after the run stays idle instead of failing."""
    length = run_length(config)
    for scheduler in scheduler_settings(config.get('param_scheduler')):
        last = length.of(scheduler)
        if 'end' not in scheduler and last is not None:
            scheduler['end'] = max(last, scheduler.get('begin', 0) + 1)


def rates_of(settings: Sequence[dict[str, Any]], rate: float, length: RunLength, epoch_length: int) -> list[float]:
    """The learning rate of each iteration.

    Args:
        settings: Of each scheduler, with ``end`` (see ``end_schedulers``); those that follow scores are not stepped.
        rate: The configured rate.
        length: Of the run.
        epoch_length: Iterations of an epoch.

    Raises:
        ValueError, TypeError, KeyError, AssertionError: As MMEngine's schedulers where settings make no sense.
    """
    optimizer, schedulers = _built(settings, rate, epoch_length)
    steps: dict[bool, list[Any]] = {True: [], False: []}
    for one in schedulers:
        if not getattr(one, 'need_val_args', False):
            steps[one.by_epoch].append(one)
    total = length.iterations if length.iterations is not None else (length.epochs or 0) * epoch_length
    found = []
    for iteration in range(total):
        found.append(optimizer.param_groups[0]['lr'])
        ends = length.iterations is None and (iteration + 1) % epoch_length == 0
        for scheduler in steps[False] + (steps[True] if ends else []):
            scheduler.step()
    return found


def _built(settings: Sequence[dict[str, Any]], rate: float, epoch_length: int) -> tuple[Any, list[Any]]:
    """An optimizer of one number, and the schedulers of its learning rate."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate, momentum=0.9)
    given = {'optimizer': optimizer, 'epoch_length': epoch_length}
    schedulers = [PARAM_SCHEDULERS.build({**one}, default_args=given) for one in settings]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        optimizer.step()  # schedulers warn if none is taken before theirs
    return optimizer, [one for one in schedulers if one.param_name == 'lr']


def warnings_of(config: Config, epoch_length: int) -> list[str]:
    """What a user would want to know before training: where the rate is 0, warm-up too long, nothing saved or scored.

    Args:
        config: With the ``end`` of every scheduler.
        epoch_length: Iterations of an epoch.

    Returns:
        One line each.

    Raises:
        ValueError, TypeError, KeyError, AssertionError: As ``rates_of``.
    """
    lines = []
    for settings, rate in _optimizers(config):
        _, built = _built(settings, rate, epoch_length)
        curve = rates_of(settings, rate, run_length(config), epoch_length)
        if built and curve:
            lines += [*_idle(config, built), *_dead(curve, rate, built), *_warming(config, curve, rate, built)]
    return list(dict.fromkeys(lines + list(_unsaved(config))))


def _optimizers(config: Config) -> Iterator[tuple[list[dict[str, Any]], float]]:
    """Schedulers and configured rate of each optimizer."""
    wrapper, schedule = config.get('optim_wrapper') or {}, config.get('param_scheduler')
    parts = {'': wrapper} if 'optimizer' in wrapper else wrapper
    for name, part in parts.items():
        if isinstance(part, dict) and 'optimizer' in part:
            own = schedule.get(name) if isinstance(schedule, dict) and 'type' not in schedule else schedule
            yield scheduler_settings(own), float(part['optimizer'].get('lr', 1e-3))


def _name(scheduler: Any) -> str:
    return type(scheduler).__name__


def _idle(config: Config, built: list[Any]) -> Iterator[str]:
    """Schedulers of epochs in a run that is counted in iterations, which MMEngine never steps."""
    if run_length(config).iterations is not None:
        for scheduler in built:
            if scheduler.by_epoch:
                yield (
                    f'{_name(scheduler)} counts epochs and this run counts iterations, so it never changes the '
                    'learning rate after the first; give it by_epoch=False'
                )


def _dead(curve: list[float], rate: float, built: list[Any]) -> Iterator[str]:
    """Iterations at rate 0, except single ones, as polynomial decay has at its end."""
    parts = []
    for dead, numbers in groupby(range(len(curve)), key=lambda i: curve[i] <= _DEAD * rate):
        span = list(numbers)
        if dead and len(span) > 1:
            parts.append(f'{span[0] + 1} to {span[-1] + 1}')
    if parts:
        last = max((one for one in built if not one.by_epoch), key=lambda one: one.end, default=None)
        reason = ''
        if last is not None and last.end < len(curve):
            reason = f', because the schedule ends before the run ({_name(last)} at iteration {last.end})'
        yield (
            f'the learning rate is 0 in iterations {", ".join(parts)} of {len(curve)}{reason}: nothing is learned '
            'there; leave out the end of the last scheduler in param_scheduler, which then ends with the run'
        )


def _warming(config: Config, curve: list[float], rate: float, built: list[Any]) -> Iterator[str]:
    """A warm-up that takes more than half of the run."""
    for scheduler in built:
        low = getattr(scheduler, 'start_factor', getattr(scheduler, 'factor', 1))
        if low < getattr(scheduler, 'end_factor', 1) and not scheduler.by_epoch and scheduler.end > len(curve) / 2:
            part = f'all {len(curve)}' if scheduler.end > len(curve) else f'{scheduler.end} of {len(curve)}'
            yield (
                f'{part} iterations are warm-up ({_name(scheduler)} until iteration {scheduler.end}): the learning '
                f'rate reaches {max(curve) / rate:.2g} of what the config sets; give the warm-up a lower end'
                + _shorter(config, scheduler.end, max(1, len(curve) // 20))
            )


def _shorter(config: Config, end: int, wanted: int) -> str:
    """The options that end a warm-up earlier, where the config has a list of schedulers."""
    schedule = config.param_scheduler
    if not isinstance(schedule, list):
        return ''
    ends = [f'param_scheduler.{i}.end={wanted}' for i, one in enumerate(schedule) if one.get('end') == end]
    begins = [f'param_scheduler.{i}.begin={wanted}' for i, one in enumerate(schedule) if one.get('begin') == end]
    return f', such as --cfg-options {" ".join(ends + begins)}' if ends else ''


def _unsaved(config: Config) -> Iterator[str]:
    """Checkpoints and validation that the run is too short for."""
    length = run_length(config)
    last = length.iterations if length.iterations is not None else length.epochs
    unit = 'iterations' if length.iterations is not None else 'epochs'
    if last is None:
        return
    hook = (config.get('default_hooks') or {}).get('checkpoint', {})
    if hook is None:
        yield 'nothing is saved: default_hooks.checkpoint is None'
    elif hook.get('by_epoch', True) == (length.iterations is None) and not 0 < hook.get('interval', -1) <= last:
        saved = 'only at the end' if hook.get('save_last', True) else 'never'
        yield (
            f'the weights are saved {saved}: default_hooks.checkpoint.interval={hook.get("interval", -1)}, and the run '
            f'has {last} {unit}; one that is stopped earlier begins anew'
        )
    loop = config.get('train_cfg') or {}
    if config.get('val_cfg') and loop.get('val_begin', 1) > last:
        yield f'nothing is validated: train_cfg.val_begin={loop["val_begin"]}, and the run has {last} {unit}'
