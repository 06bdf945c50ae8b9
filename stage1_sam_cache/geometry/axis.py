"""Windows along one axis: where they start, which neighbours meet, and which of them owns a pixel."""

from __future__ import annotations


def axis_starts(size: int, window: int, stride: int) -> list[int]:
    """Return the starts along one open axis: every ``stride``, the last window moved back to end at the border."""
    last = max(0, size - window)
    return [min(i * stride, last) for i in range(1 + -(-last // stride))]


def axis_overlaps(starts: list[int], window: int, cycle: int | None) -> list[tuple[int, int, int, int]]:
    """Return ``(first, second, start, size)`` of neighbours that overlap; ``cycle`` is the length of a closed axis."""
    pairs = [(i, i + 1, start, starts[i] + window - start) for i, start in enumerate(starts[1:])]
    if cycle is not None and len(starts) > 1:
        pairs.append((len(starts) - 1, 0, starts[0], starts[-1] + window - cycle))
    return [pair for pair in pairs if pair[3] > 0]


def axis_owners(starts: list[int], window: int, size: int) -> list[tuple[int, int, int]]:
    """Return ``(window, start, size)`` of the greedy tiling along one axis."""
    owners, position = [], 0
    while position < size:
        index = max(i for i, start in enumerate(starts) if start <= position)
        end = min(starts[index] + window, size)
        owners.append((index, position, end - position))
        position = end
    return owners
