"""Timing, hardware, drawn masks, and tables of measurements."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.filters import gaussian

from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage2_distill.fusion.pixel_loop import compiled_loop

HEIGHT, WIDTH = 400, 512  # of a window
CLASSES = 19
WARM_UPS = 1  # calls before those that are timed


@dataclass(frozen=True)
class Measurement:
    """One line: a plain way and a fast one, in the same unit.

    Attributes:
        what: What is measured.
        plain, fast: Medians of the reference and of the fast path.
        unit: Of both medians.
        agreement: How far both results agree.
        notes: Further figures by name.
    """

    what: str
    plain: float
    fast: float
    unit: str = 'ms'
    agreement: str = ''
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """How many times faster, or smaller, the fast path is."""
        return self.plain / self.fast if self.fast else float('inf')

    def as_json(self) -> dict[str, Any]:
        """Return the measurement for a JSON file."""
        return {**asdict(self), 'ratio': self.ratio}


def markdown(title: str, rows: Sequence[Measurement]) -> str:
    """Format measurements as a table."""
    lines = [f'{title}\n', '| what | plain | fast | ratio | agreement |', '|---|---|---|---|---|']
    for row in rows:
        notes = ', '.join(f'{name} {value:.4g}' for name, value in row.notes.items())
        said = '; '.join(part for part in (row.agreement, notes) if part)
        numbers = f'{row.plain:.4g} {row.unit} | {row.fast:.4g} {row.unit} | {row.ratio:.2f}x'
        lines.append(f'| {row.what} | {numbers} | {said} |')
    return '\n'.join(lines)


def hardware(device: torch.device) -> dict[str, str]:
    """Describe the hardware and packages that the figures depend on."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else _processor()
    packages = {name: _version(name) for name in ('torch', 'torchvision', 'numpy', 'h5py', 'segment-anything')}
    if compiled_loop():
        packages['numba'] = _version('numba')
    return {
        'device': name,
        'cores': str(len(os.sched_getaffinity(0))),
        'threads': str(torch.get_num_threads()),
        'python': platform.python_version(),
        **packages,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'not installed'


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def median_ms(call: Callable[[], object], times: int, device: torch.device | None = None) -> float:
    """Return the median milliseconds of several calls, after a warm-up call."""
    return alternate([call], times, device)[0]


def alternate(calls: Sequence[Callable[[], object]], times: int, device: torch.device | None = None) -> list[float]:
    """Return the median milliseconds of several calls, run in turns so that a busy moment affects all of them."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(times + WARM_UPS):
        for call, values in zip(calls, taken, strict=True):
            begin = time.perf_counter()
            call()
            if device is not None and device.type == 'cuda':
                torch.cuda.synchronize(device)
            if turn >= WARM_UPS:
                values.append(1000 * (time.perf_counter() - begin))
    return [statistics.median(values) for values in taken]


def within(call: Callable[[], object], device: torch.device, seconds: float, most: int = 20) -> float:
    """Return the median milliseconds of as many calls as fit some seconds, one to ``most``, after warm-up calls."""
    taken: list[float] = []
    for _ in range(WARM_UPS):
        call()
    begun = synchronized(device)
    last = begun
    while not taken or (last - begun < seconds and len(taken) < most):
        call()
        now = synchronized(device)
        taken.append(1000 * (now - last))
        last = now
    return statistics.median(taken)


def synchronized(device: torch.device) -> float:
    """Wait for all that a device was asked for, and return the time in seconds."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def blobs(rng: np.random.Generator, count: int = 75, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> InstanceMasks:
    """Draw irregular overlapping blobs of 100 to 60000 pixels, by default as many as SAM finds in a window."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width].astype(float)
    masks = np.empty((count, height, width), dtype=bool)
    for mask in masks:
        radius = np.sqrt(np.exp(rng.uniform(np.log(100), np.log(60000))) / np.pi)
        flat = rng.uniform(0.5, 2.0)
        distance = np.hypot((rows - rng.uniform(0, height)) * flat, (columns - rng.uniform(0, width)) / flat) / radius
        ragged = gaussian(rng.standard_normal((height, width)), max(2.0, radius / 6))
        mask[:] = distance + 0.25 * ragged / ragged.std() < 1
    return InstanceMasks.from_dense(masks, rng.uniform(0.88, 1, count).tolist(), rng.uniform(0.95, 1, count).tolist())


def smooth_logits(seed: int, windows: int, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """Draw logits ``(windows, 19, h, w)`` with regions like a network's: coarse noise, enlarged."""
    rng = torch.Generator().manual_seed(seed)
    coarse = 3 * torch.randn(windows, CLASSES, height // 16, width // 16, generator=rng)
    return torch.nn.functional.interpolate(coarse, (height, width), mode='bilinear')


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Draw soft coloured noise, uint8 ``(h, w, 3)``."""
    noise = gaussian(np.random.default_rng(seed).uniform(0, 255, (height, width, 3)), 6, channel_axis=2)
    return ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
