"""Boundary maps of probabilities, one pixel and one neighbour after another; of labels, those of stage 1."""

from __future__ import annotations

from reference.painting import boundary as hard  # noqa: F401 one definition for SAM's maps and the networks'


def neighbours(y, x, height, width, thickness=2, radius=1):
    """Pixels inside the crop at a distance along one axis; with thickness 1 only the right and the lower one."""
    steps = [(0, radius), (radius, 0)] + ([(0, -radius), (-radius, 0)] if thickness == 2 else [])
    return [(y + dy, x + dx) for dy, dx in steps if 0 <= y + dy < height and 0 <= x + dx < width]


def total_variation(a, b):
    return 0.5 * sum(abs(one - other) for one, other in zip(a, b, strict=True))


def soft(p, thickness=2, radius=1):
    """The largest total variation to a neighbour, 0 where there is none; ``p[y][x]`` is a distribution."""
    height, width = len(p), len(p[0])
    edge = [[0.0] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            for v, u in neighbours(y, x, height, width, thickness, radius):
                edge[y][x] = max(edge[y][x], total_variation(p[y][x], p[v][u]))
    return edge
