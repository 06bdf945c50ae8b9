"""In which order the windows of a panorama are visited: laps, rings, reversal.

An order is data: a list of window indices. The step is the place in that list, which is what the memory knows; the
window is where the patch lies in the panorama, which is what merging and prototypes know. The two are never mixed up,
because whatever belongs to a window (patch, labels, logits) is brought into an order by ``in_order`` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stage2_distill.errors import ConfigError

LAPS = ('forward', 'both', 'ring')


@dataclass(frozen=True)
class Lap:
    """Windows that are visited with one memory, which is cleared before them.

    Attributes:
        windows: Window indices in the order of the visit; step ``t`` visits ``windows[t]``.
        counted_from: Predictions of earlier steps only fill the memory and are not merged.
    """

    windows: tuple[int, ...]
    counted_from: int = 0

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def counted(self) -> tuple[int, ...]:
        """The windows whose predictions are merged, in the order of the visit."""
        return self.windows[self.counted_from :]


def forward(n: int) -> list[int]:
    """Return ``n`` windows from left to right."""
    return list(range(n))


def ring(n: int, start: int) -> list[int]:
    """Return ``n`` windows of a closed panorama from left to right, from window ``start`` on."""
    return [(start + i) % n for i in range(n)]


def laps(kind: str, n: int, start: int = 0) -> list[Lap]:
    """Return the laps of a prediction.

    Args:
        kind: ``'forward'``: one lap from left to right. ``'both'``: that, then one from right to left, as the authors.
            ``'ring'``: once around a closed panorama to fill the memory, and once more with predictions that count, so
            that no window is predicted without memory.
        n: Windows of the panorama.
        start: First window of ``'ring'``.

    Raises:
        ConfigError: For another kind.
    """
    if kind == 'forward':
        return [Lap(tuple(forward(n)))]
    if kind == 'both':
        return [Lap(tuple(forward(n))), Lap(tuple(reversed(forward(n))))]
    if kind == 'ring':
        return [Lap(tuple(ring(n, start) * 2), counted_from=n)]
    raise ConfigError(f'laps={kind!r} is not one of {", ".join(map(repr, LAPS))}', 'choose one of them')


def draw_orders(
    batch: int, n: int, wrap: bool = False, reverse: float = 0.5, generator: torch.Generator | None = None
) -> Tensor:
    """Draw the order of every sample of a training batch.

    Args:
        batch: Samples.
        n: Windows.
        wrap: The panoramas are closed: every sample starts at a window of its own.
        reverse: Probability that a sample is visited from right to left, for each sample by itself.
        generator: Of the draws, on the CPU; PyTorch's own by default.

    Returns:
        Window indices, int64 ``(batch, n)``: sample, step.
    """
    starts = torch.randint(n if wrap else 1, (batch, 1), generator=generator)
    orders = (starts + torch.arange(n)) % n
    reversed_too = torch.rand(batch, 1, generator=generator) < reverse
    return torch.where(reversed_too, orders.flip(1), orders)


def in_order(values: Tensor, orders: Tensor | Sequence[Sequence[int]]) -> Tensor:
    """Bring what belongs to windows into the order of the steps.

    Args:
        values: ``(B, n, ...)``: sample, window; patches, labels or features of any dtype.
        orders: Window indices ``(B, T)``: sample, step.

    Returns:
        ``(B, T, ...)``: sample, step.
    """
    orders = torch.as_tensor(orders, device=values.device)
    samples = torch.arange(len(values), device=values.device)[:, None]
    return values[samples, orders]
