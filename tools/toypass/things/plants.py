"""Trees, hedges and bushes; trunks count as vegetation, as in Cityscapes."""

from __future__ import annotations

import numpy as np

from toypass.things.shapes import Mesh, box, bumpy_ball, cone, cylinder, tube
from toypass.things.thing import Thing

Rng = np.random.Generator


def tree(rng: Rng) -> Thing:
    """A broad-leaved tree, a conifer or a young tree."""
    thing = Thing('vegetation')
    style = int(rng.choice(3, p=(0.65, 0.15, 0.2)))
    if style == 1:
        tall = rng.uniform(5, 11)
        thing.add('trunk', 'bark', cylinder(0.16, 1.6, (0, 0, 0.8)))
        for i, z in enumerate(np.linspace(0.9, tall * 0.75, 4)):
            thing.add('crown', 'conifer', cone(1.9 - 0.38 * i, tall * 0.36, (0, 0, z), 14))
        return thing
    tall = rng.uniform(5.5, 11) if style == 0 else rng.uniform(3.2, 4.8)
    spread = tall * rng.uniform(0.24, 0.36)
    fork = tall * rng.uniform(0.3, 0.42)
    radius = 0.03 * tall
    thing.add('trunk', 'bark', tube((0, 0, 0), (0, 0, fork + 0.6), radius, 8))
    centre = np.array((0, 0, tall - spread))
    for _ in range(int(rng.integers(5, 9)) if style == 0 else 3):
        place = centre + rng.uniform(-0.65, 0.65, 3) * spread
        size = spread * rng.uniform(0.5, 0.8)
        thing.add('crown', 'foliage', bumpy_ball(rng, (size, size, size * rng.uniform(0.75, 1)), place))
        thing.add('trunk', 'bark', tube((0, 0, fork), place, radius * 0.5, 6))
    thing.add('crown', 'foliage', bumpy_ball(rng, (spread * 0.8,) * 2 + (spread * 0.7,), centre))
    return thing


def _roughened(rng: Rng, body: Mesh, by: float) -> Mesh:
    return body._replace(vertices=body.vertices + rng.uniform(-by, by, body.vertices.shape))


def hedge(rng: Rng, length: float) -> Thing:
    """A clipped hedge along x."""
    thing = Thing('vegetation')
    tall, deep = rng.uniform(0.9, 2.0), rng.uniform(0.6, 1.0)
    pieces = max(1, round(length / 1.2))
    step = length / pieces
    for i in range(pieces):
        place = (-length / 2 + (i + 0.5) * step, 0, tall / 2)
        thing.add('hedge', 'hedge', _roughened(rng, box((step * 1.05, deep, tall), place, (0.96, 0.85)), 0.05))
    return thing


def bush(rng: Rng) -> Thing:
    """A round bush or a few of them."""
    thing = Thing('vegetation')
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform(0.4, 0.9)
        place = (*rng.uniform(-0.6, 0.6, 2), size * 0.6)
        thing.add('bush', str(rng.choice(['foliage', 'hedge'])), bumpy_ball(rng, (size, size, size * 0.8), place))
    return thing
