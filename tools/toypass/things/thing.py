"""A thing of the world: its class, and pieces that each have a part's name and a material."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from toypass.things.shapes import Mesh

VOID = 'void'  # labelled 255: street things that Cityscapes doesn't score either


class Piece(NamedTuple):
    """One body of a thing; pieces of the same part are one segment of the parts map."""

    mesh: Mesh
    material: str
    part: str


@dataclass
class Thing:
    """One instance, in its own axes: x ahead, y left, z up from the ground.

    Args:
        kind: A class of Cityscapes by name, or ``VOID``.
        pieces: Its bodies; each material gets one colour for the whole thing.
    """

    kind: str
    pieces: list[Piece] = field(default_factory=list)

    def add(self, part: str, material: str, *meshes: Mesh) -> None:
        """Add bodies of one part and material."""
        self.pieces += [Piece(mesh, material, part) for mesh in meshes]

    def footprint(self) -> tuple[float, float, float, float]:
        """Return the least and greatest x, then of y."""
        vertices = np.concatenate([piece.mesh.vertices for piece in self.pieces])
        (x0, y0), (x1, y1) = vertices[:, :2].min(axis=0), vertices[:, :2].max(axis=0)
        return float(x0), float(x1), float(y0), float(y1)
