"""Steps of a data pipeline, also those in wrappers such as RandomApply, RandomChoice and TransformBroadcaster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def built_steps(steps: Iterable[Any]) -> Iterator[Any]:
    """All transforms of a built pipeline, each wrapper before what it holds."""
    for step in steps:
        yield step
        inner = getattr(step, 'transforms', None)
        if inner is not None:
            yield from built_steps(inner)


def running_steps(step: Any, place: str = 'pipeline') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The steps of a pipeline's config that can run: not those with ``prob=0``, nor what is in them.

    Args:
        step: Config of a transform, or a list of them; lists may be nested, as in RandomChoice.
        place: Its dotted name.

    Yields:
        The dotted name of a step, as ``--cfg-options`` takes it, and its config.
    """
    if not isinstance(step, Mapping):
        for number, part in enumerate(step):
            yield from running_steps(part, f'{place}.{number}')
        return
    prob = step.get('prob')
    if isinstance(prob, int | float) and prob <= 0:
        return
    yield place, step
    inner = step.get('transforms') or []
    if not isinstance(prob, Sequence):
        yield from running_steps(inner, f'{place}.transforms')
        return
    for number, (part, chance) in enumerate(zip(inner, prob, strict=False)):  # RandomChoice
        if chance > 0:
            yield from running_steps(part, f'{place}.transforms.{number}')
