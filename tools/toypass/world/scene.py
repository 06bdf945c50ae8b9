"""A street as triangles with attributes, and the triangles that rays hit (Embree)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from stage1_sam_cache.data.label_spaces import IGNORE, LABEL_SPACES
from toypass.things.materials import MATERIALS
from toypass.things.shapes import turned
from toypass.things.thing import VOID
from toypass.world.street import Street

CLASSES = LABEL_SPACES['cityscapes19'].classes
SKY = CLASSES.index('sky')
_LABEL_OF = {name: i for i, name in enumerate(CLASSES)} | {VOID: IGNORE}


class Triangles(NamedTuple):
    """Attributes of all triangles; instances and parts are numbered from 1, and 0 is the sky.

    Args:
        normal: float32 ``(T, 3)``, unit length, outwards.
        label: uint8 ``(T,)``, train ids of Cityscapes, 255 for void.
        instance, part: uint16 ``(T,)``; a part's number is unique in the scene.
        material: int64 ``(T,)``, index into ``looks.MATERIALS``.
        tint: float32 ``(T, 3)`` in [0, 1]; where in a material's palette the thing's colour lies.
    """

    normal: NDArray[np.float32]
    label: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    part: NDArray[np.uint16]
    material: NDArray[np.int64]
    tint: NDArray[np.float32]


class Scene:
    """The triangles of a street, ready for rays.

    Args:
        street: Its things become triangles.
        rng: Source of the tints.

    Attributes:
        triangles: Attributes of each triangle.
        corners: float32 ``(T, 3, 3)``, the points of each triangle in metres.
    """

    def __init__(self, street: Street, rng: np.random.Generator) -> None:
        numbers = {name: i for i, name in enumerate(MATERIALS)}
        vertices, faces, rows, tints = [], [], [], []
        offset = part = 0
        for instance, (thing, x, y, z, yaw) in enumerate(street.placed, start=1):
            parts: dict[str, int] = {}
            tint_of: dict[str, NDArray[np.float64]] = {}
            for mesh, material, name in thing.pieces:
                if name not in parts:
                    part += 1
                    parts[name] = part
                if material not in tint_of:
                    tint_of[material] = rng.random(3)
                body = turned(mesh, yaw, (x, y, z))
                vertices.append(body.vertices)
                faces.append(body.faces + offset)
                offset += len(body.vertices)
                rows.append((len(body.faces), _LABEL_OF[thing.kind], instance, parts[name], numbers[material]))
                tints.append(tint_of[material])
        points = np.concatenate(vertices).astype(np.float32)
        corners = np.concatenate(faces)
        table = np.array(rows)
        attributes = np.repeat(table[:, 1:], table[:, 0], axis=0)
        a, b, c = (points[corners[:, i]].astype(np.float64) for i in range(3))
        normal = np.cross(b - a, c - a)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
        self.triangles = Triangles(
            normal.astype(np.float32),
            attributes[:, 0].astype(np.uint8),
            attributes[:, 1].astype(np.uint16),
            attributes[:, 2].astype(np.uint16),
            attributes[:, 3],
            np.repeat(np.array(tints, np.float32), table[:, 0], axis=0),
        )
        self.corners = points[corners]
        self._embree = EmbreeScene()
        self._mesh = TriangleMesh(self._embree, points, corners.astype(np.int32))

    def hit(
        self, origins: NDArray[np.float32], directions: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the first triangle on each ray.

        Args:
            origins, directions: ``(N, 3)``; directions of unit length.

        Returns:
            Index of the triangle, -1 for the sky; distance in metres, ``inf`` for the sky. Both ``(N,)``.
        """
        hits = self._embree.run(origins, directions, output=True)
        triangle = hits['primID'].astype(np.int64)
        return triangle, np.where(triangle < 0, np.float32(np.inf), hits['tfar'])

    def shaded(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell whether anything is on each ray, bool ``(N,)``."""
        return np.asarray(self._embree.run(origins, directions, query='OCCLUDED')) != -1
