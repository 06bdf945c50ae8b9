"""The two cameras: pixel -> ray, and point -> pixel. Pixel (row, column) covers row..row+1 and column..column+1.

A heading is measured in turns, clockwise seen from above, 0 along +x. Where the panorama's width is a power of two,
turning by k columns (k / width) gives exactly the rays of the picture rolled by k columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Headings are kept on a grid, so that adding a column's angle to one is exact in floating point.
HEADING_STEPS = 2**24

Point = tuple[float, float, float]


def on_grid(heading: float) -> float:
    """Return the nearest heading on the grid, in [0, 1)."""
    return float(np.round(heading * HEADING_STEPS) / HEADING_STEPS % 1.0)


@dataclass(frozen=True)
class EquirectangularCamera:
    """All azimuths, and latitudes from ``+vertical_fov / 2`` down to its negative.

    Args:
        height, width: In pixels; the middle column looks along the heading, columns grow to the right.
        place: (x, y, z) in metres.
        heading: In turns.
        vertical_fov: In degrees.
    """

    height: int
    width: int
    place: Point
    heading: float
    vertical_fov: float

    closed = True  # the left and right borders join

    def rays(self, rows: ArrayLike, columns: ArrayLike) -> NDArray[np.float32]:
        """Return unit directions ``(N, 3)`` through image points, each ``(N,)``; 0.5 is the middle of pixel 0."""
        turns = (on_grid(self.heading) + (np.asarray(columns, np.float64) / self.width - 0.5)) % 1.0
        azimuth = 2 * np.pi * turns
        latitude = np.deg2rad(self.vertical_fov * (0.5 - np.asarray(rows, np.float64) / self.height))
        level = np.cos(latitude)
        return np.stack([level * np.cos(azimuth), -level * np.sin(azimuth), np.sin(latitude)], -1).astype(np.float32)

    def project(self, point: ArrayLike) -> tuple[float, float]:
        """Return row and column of a point; the row may lie outside the image."""
        dx, dy, dz = np.asarray(point, np.float64) - self.place
        turns = (np.arctan2(-dy, dx) / (2 * np.pi) - on_grid(self.heading) + 0.5) % 1.0
        latitude = np.rad2deg(np.arctan2(dz, np.hypot(dx, dy)))
        return float((0.5 - latitude / self.vertical_fov) * self.height), float(turns * self.width)

    def pixel_angle(self) -> float:
        """Return the radians per pixel at the horizon."""
        return float(2 * np.pi / self.width)


@dataclass(frozen=True)
class PinholeCamera:
    """A perspective camera that does not roll.

    Args:
        height, width: In pixels.
        place: (x, y, z) in metres.
        heading: In turns.
        fov: Horizontal field of view, degrees.
        pitch: Degrees upwards.
    """

    height: int
    width: int
    place: Point
    heading: float
    fov: float
    pitch: float = 0.0

    closed = False

    @property
    def _focal(self) -> float:
        return self.width / 2 / np.tan(np.deg2rad(self.fov) / 2)

    def _axes(self) -> NDArray[np.float64]:
        """Rows: right, down, ahead."""
        a, p = 2 * np.pi * self.heading, np.deg2rad(self.pitch)
        right = (-np.sin(a), -np.cos(a), 0)
        ahead = (np.cos(p) * np.cos(a), -np.cos(p) * np.sin(a), np.sin(p))
        return np.array([right, np.cross(ahead, right), ahead])

    def rays(self, rows: ArrayLike, columns: ArrayLike) -> NDArray[np.float32]:
        """Return unit directions ``(N, 3)`` through image points, each ``(N,)``; 0.5 is the middle of pixel 0."""
        u = (np.asarray(columns, np.float64) - self.width / 2) / self._focal
        v = (np.asarray(rows, np.float64) - self.height / 2) / self._focal
        local = np.stack([u, v, np.ones_like(u)], -1)
        local /= np.linalg.norm(local, axis=-1, keepdims=True)
        return (local @ self._axes()).astype(np.float32)

    def project(self, point: ArrayLike) -> tuple[float, float]:
        """Return row and column of a point ahead of the camera; both may lie outside the image.

        Raises:
            ValueError: If the point is behind the camera.
        """
        right, down, ahead = self._axes() @ (np.asarray(point, np.float64) - self.place)
        if ahead <= 0:
            raise ValueError('the point is behind the camera')
        return float(self.height / 2 + self._focal * down / ahead), float(self.width / 2 + self._focal * right / ahead)

    def pixel_angle(self) -> float:
        """Return the radians per pixel in the middle of the image."""
        return float(1 / self._focal)


Camera = EquirectangularCamera | PinholeCamera
