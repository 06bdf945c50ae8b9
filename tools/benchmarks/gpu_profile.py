"""Where a device's time goes: its kernels by time, what they are for, and how much of the time it is busy."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import synchronized

# By what a kernel's name holds; the first that fits. On a CPU the names are those of PyTorch's operations.
_KINDS = {
    'attention': ('fmha', 'flash', 'attention', 'sdpa'),
    'copies': ('copy', 'memcpy', 'memset', 'Cat', '::cat', '::clone', '::contiguous', 'transpose'),
    'matrix products': (
        'gemm', 'cutlass', 'cublas', 'xmma', 'nvjet', 'conv', '::mm', '::addmm', '::bmm', '::baddbmm', '::linear',
        'wgrad', 'dgrad',
    ),
}  # fmt: skip


class Profile(NamedTuple):
    """What a device did while something ran.

    Attributes:
        wall_ms: How long it took.
        busy: Share of it in which the device computed or copied, in [0, 1].
        shares: Of the device's time, by kind; they add up to 1.
        top: The kernels that took most: name, milliseconds, calls.
    """

    wall_ms: float
    busy: float
    shares: dict[str, float]
    top: list[tuple[str, float, int]]


def watch(call: Callable[[], object], device: torch.device, top: int = 8) -> Profile:
    """Run something under PyTorch's profiler; on a CPU its operations stand for kernels."""
    cuda = device.type == 'cuda'
    synchronized(device)
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU], acc_events=True) as profiler:
        begun = time.perf_counter()
        call()
        wall_ms = 1000 * (synchronized(device) - begun)
    kind = DeviceType.CUDA if cuda else DeviceType.CPU
    events = []
    for event in profiler.events():
        start = event.time_range.start
        # A kernel is timed as a whole; an operation on a CPU without those that it calls.
        length = event.time_range.end - start if cuda else event.self_cpu_time_total
        if event.device_type == kind and length > 0:
            events.append((event.name, start, start + length))
    return summary(events, wall_ms, top)


def summary(events: Sequence[tuple[str, float, float]], wall_ms: float, top: int) -> Profile:
    """Sum up kernels: name, start and end in microseconds."""
    spent: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    shares = dict.fromkeys((*_KINDS, 'other'), 0.0)
    for name, start, end in events:
        spent[name] += end - start
        calls[name] += 1
        shares[_kind(name)] += end - start
    total = sum(shares.values()) or 1.0
    busiest = sorted(spent, key=lambda name: -spent[name])[:top]
    return Profile(
        wall_ms,
        min(1.0, _covered(events) / 1000 / wall_ms),
        {name: part / total for name, part in shares.items()},
        [(name, spent[name] / 1000, calls[name]) for name in busiest],
    )


def _kind(name: str) -> str:
    return next((kind for kind, parts in _KINDS.items() if any(part in name for part in parts)), 'other')


def _covered(events: Sequence[tuple[str, float, float]]) -> float:
    """Microseconds in which any of the events ran."""
    covered, until = 0.0, float('-inf')
    for _, start, end in sorted(events, key=lambda event: event[1]):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered
