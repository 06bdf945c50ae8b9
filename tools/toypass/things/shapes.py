"""Simple bodies as triangle meshes, from trimesh's unit bodies. Lengths in metres, angles in radians."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray

_TURNS = {  # the axis that a body along z is turned to
    'x': np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float),
    'y': np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float),
    'z': np.eye(3),
}


class Mesh(NamedTuple):
    """``vertices`` float64 ``(n, 3)``, ``faces`` int64 ``(m, 3)`` of vertex numbers."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]


def _mesh(body: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(body.vertices, np.float64), np.asarray(body.faces, np.int64))


@cache
def _unit_box() -> Mesh:
    return _mesh(trimesh.creation.box((1, 1, 1)))


@cache
def _unit_cylinder(sections: int) -> Mesh:
    return _mesh(trimesh.creation.cylinder(radius=1, height=1, sections=sections))


@cache
def _unit_ball(detail: int) -> Mesh:
    return _mesh(trimesh.creation.icosphere(subdivisions=detail))


@cache
def _unit_cone(sections: int) -> Mesh:
    return _mesh(trimesh.creation.cone(radius=1, height=1, sections=sections))


@cache
def _ring(radius: float, thickness: float) -> Mesh:
    return _mesh(trimesh.creation.torus(radius, thickness, major_sections=20, minor_sections=6))


def box(size: ArrayLike, centre: ArrayLike = (0, 0, 0), taper: tuple[float, float] = (1, 1)) -> Mesh:
    """A box; ``taper`` scales its top in x and y."""
    unit = _unit_box()
    vertices = unit.vertices.copy()
    vertices[vertices[:, 2] > 0, :2] *= taper
    return Mesh(vertices * np.asarray(size, float) + np.asarray(centre, float), unit.faces)


def slab(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> Mesh:
    """The box between the given ends."""
    ends = np.array([x, y, z], float)
    return box(ends[:, 1] - ends[:, 0], ends.mean(axis=1))


def cylinder(radius: float, height: float, centre: ArrayLike, axis: str = 'z', sections: int = 12) -> Mesh:
    """A cylinder with closed ends along an axis."""
    unit = _unit_cylinder(sections)
    return Mesh((unit.vertices * (radius, radius, height)) @ _TURNS[axis].T + np.asarray(centre, float), unit.faces)


def tube(start: ArrayLike, end: ArrayLike, radius: float, sections: int = 6) -> Mesh:
    """A cylinder from one point to another."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    along = last - first
    length = float(np.linalg.norm(along))
    w = along / length
    u = np.cross(w, (0, 0, 1.0) if abs(w[2]) < 0.9 else (1.0, 0, 0))
    u /= np.linalg.norm(u)
    turn = np.stack([u, np.cross(w, u), w], axis=1)
    unit = _unit_cylinder(sections)
    return Mesh((unit.vertices * (radius, radius, length)) @ turn.T + (first + last) / 2, unit.faces)


def ball(radii: ArrayLike, centre: ArrayLike, detail: int = 1) -> Mesh:
    """An ellipsoid."""
    unit = _unit_ball(detail)
    return Mesh(unit.vertices * np.asarray(radii, float) + np.asarray(centre, float), unit.faces)


def bumpy_ball(rng: np.random.Generator, radii: ArrayLike, centre: ArrayLike, bumps: float = 0.18) -> Mesh:
    """An ellipsoid whose vertices are moved in and out by up to ``bumps`` of the radius, as foliage is."""
    unit = _unit_ball(2)
    rough = 1 + rng.uniform(-bumps, bumps, (len(unit.vertices), 1))
    return Mesh(unit.vertices * rough * np.asarray(radii, float) + np.asarray(centre, float), unit.faces)


def cone(radius: float, height: float, base: ArrayLike, sections: int = 12) -> Mesh:
    """A cone that stands on the point ``base``."""
    unit = _unit_cone(sections)
    return Mesh(unit.vertices * (radius, radius, height) + np.asarray(base, float), unit.faces)


def ring(radius: float, thickness: float, centre: ArrayLike, axis: str = 'y') -> Mesh:
    """A torus around an axis; ``thickness`` is the radius of its tube."""
    unit = _ring(radius, thickness)
    return Mesh(unit.vertices @ _TURNS[axis].T + np.asarray(centre, float), unit.faces)


def prism(profile: Sequence[tuple[float, float]], width: float) -> Mesh:
    """Extrude a profile in the x-z plane by ``width`` along y.

    The profile goes around counter-clockwise (seen from -y) and must be star-shaped about its mean.
    """
    outline = np.asarray(profile, float)
    n = len(outline)
    rim = np.zeros((n, 3))
    rim[:, [0, 2]] = outline
    middle = rim.mean(axis=0, keepdims=True)
    half = np.array([0, width / 2, 0])
    vertices = np.concatenate([rim - half, rim + half, middle - half, middle + half])
    i = np.arange(n)
    j = (i + 1) % n
    near, far = np.full(n, 2 * n), np.full(n, 2 * n + 1)
    sides = [(i, j, near), (j + n, i + n, far), (j, i, i + n), (j, i + n, j + n)]
    return Mesh(vertices, np.concatenate([np.stack(side, axis=1) for side in sides]))


def turned(mesh: Mesh, yaw: float, move: ArrayLike = (0, 0, 0)) -> Mesh:
    """Turn a mesh about z by ``yaw`` radians, counter-clockwise from above, then move it."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return Mesh(mesh.vertices @ turn.T + np.asarray(move, float), mesh.faces)
