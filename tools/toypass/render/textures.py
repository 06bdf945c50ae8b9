"""Textures: smooth noise, joints of bricks and slabs, and the bent normals of leaves."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from toypass.things.materials import TEXTURES

Floats = NDArray[np.float32]


def texture_at(
    points: Floats, normal: Floats, surface: Floats, footprint: Floats, strength: float
) -> tuple[Floats, Floats]:
    """Return a factor of the colour ``(N,)``, and what is added to the normal of leaves ``(N, 3)``."""
    kind = surface[:, 0].astype(np.int64)
    size, contrast = surface[:, 1], surface[:, 2] * np.float32(strength)
    factor = np.ones(len(points), np.float32)
    bend = np.zeros_like(points)

    def visible(grain: Floats, chosen: NDArray[np.int64]) -> Floats:
        return np.clip(1.5 - footprint[chosen] / grain, 0, 1)

    textured = np.flatnonzero(kind > 0)
    grain = size[textured]
    coarse = noise(points[textured] / (4 * grain[:, None])) - 0.5
    fine = noise(points[textured] / grain[:, None]) - 0.5
    mottled = coarse * visible(4 * grain, textured) + fine * visible(grain, textured)
    regular = np.isin(kind[textured], [TEXTURES.index(name) for name in ('bricks', 'slabs', 'planks')])
    factor[textured] += contrast[textured] * mottled * np.where(regular, np.float32(0.6), np.float32(1.4))

    # Joints: along the wall and up, or on the ground along x and y.
    jointed = textured[regular]
    p, n, g = points[jointed], normal[jointed], size[jointed]
    ground = np.abs(n[:, 2]) > 0.7
    u = np.where(ground, p[:, 0], p[:, 0] * -n[:, 1] + p[:, 1] * n[:, 0])
    v = np.where(ground, p[:, 1], p[:, 2])
    bricks, planks = (kind[jointed] == TEXTURES.index(name) for name in ('bricks', 'planks'))
    v = v / np.where(bricks, g * 0.5, g)
    u = u / g + np.where(bricks, 0.5 * (np.floor(v) % 2), 0)
    joint = (np.abs(v % 1 - 0.5) > 0.43) | (~planks & (np.abs(u % 1 - 0.5) > 0.46))
    factor[jointed] -= contrast[jointed] * joint * visible(0.5 * g, jointed)

    leaves = np.flatnonzero(kind == TEXTURES.index('leaves'))
    where = points[leaves] / size[leaves, None]
    clumps = visible(3 * size[leaves], leaves)[:, None]
    bend[leaves] = np.stack([noise(where * 0.7 + shift) - 0.5 for shift in (11.3, 29.7, 47.1)], 1) * 2.2 * clumps
    return np.maximum(factor, 0.15), bend


@cache
def _lattice() -> NDArray[np.float32]:
    """Return random values on a 64^3 lattice that repeats; identical in every scene."""
    return np.random.default_rng(0).random(64**3, np.float32)


def noise(points: Floats) -> Floats:
    """Return noise in [0, 1] with a grain of 1, ``(N, 3)`` -> ``(N,)``: smooth between random values on a lattice."""
    cell = np.floor(points)
    f = (points - cell).astype(np.float32)
    f = f * f * (3 - 2 * f)
    low = cell.astype(np.int32) & 63
    high = (low + 1) & 63
    lattice = _lattice()
    x = (low[:, 0] << 12, high[:, 0] << 12)
    y = (low[:, 1] << 6, high[:, 1] << 6)
    z = (low[:, 2], high[:, 2])

    def between(xi: NDArray[np.int32], yi: NDArray[np.int32]) -> Floats:
        first = lattice[xi + yi + z[0]]
        return first + f[:, 2] * (lattice[xi + yi + z[1]] - first)

    left, right = between(x[0], y[0]), between(x[1], y[0])
    left += f[:, 1] * (between(x[0], y[1]) - left)
    right += f[:, 1] * (between(x[1], y[1]) - right)
    return left + f[:, 0] * (right - left)
