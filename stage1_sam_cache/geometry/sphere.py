"""Where the pixels of an equirectangular image lie on the sphere, and how a camera that is not level turns it.

Directions are vectors ``(forward, right, up)`` of length 1, where forward is the middle of the full panorama. Longitude
grows to the right, latitude upwards.

Pitch and roll have the signs of Google's Photo Sphere metadata
(https://developers.google.com/streetview/spherical-metadata): pitch is how many degrees the image's centre lies above
the horizon, and "as roll increases, the horizon rotates counterclockwise in the image", so positive roll lowers the
camera's right side. They are applied in the order heading, pitch, roll, as for an aircraft
(https://github.com/cmbruns/pixelspy/wiki/Camera-Pose-Roll). Heading turns about the vertical and tilts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SphereArea:
    """The part of a full panorama that an image shows; all sizes in the image's pixels.

    Args:
        top, left: The image's first row and column in the full panorama.
        height, width: Its rows and columns.
        full_height, full_width: Of the full panorama, which shows 180 and 360 degrees.
    """

    top: int
    left: int
    height: int
    width: int
    full_height: int
    full_width: int

    @property
    def is_closed(self) -> bool:
        """Whether the image shows all 360 degrees, so that its left and right border meet."""
        return self.width >= self.full_width

    @classmethod
    def full(cls, height: int, width: int) -> SphereArea:
        """The area of an image that shows the full sphere."""
        return cls(0, 0, height, width, height, width)

    @classmethod
    def band(cls, height: int, width: int) -> SphereArea:
        """The area of an image without metadata: 360 degrees wide, square pixels, the horizon in the middle."""
        full_height = max(height, width // 2)
        return cls((full_height - height) // 2, 0, height, width, full_height, width)

    @property
    def whole(self) -> SphereArea:
        """The full panorama that this is a part of."""
        return SphereArea.full(self.full_height, self.full_width)

    def directions(self, rows: Floats, columns: Floats) -> Floats:
        """Return directions of places in the image; the centre of the first pixel is 0.

        Args:
            rows, columns: Arrays that broadcast with each other.

        Returns:
            ``(3, ...)``.
        """
        latitude = (0.5 - (self.top + rows + 0.5) / self.full_height) * np.pi
        longitude = ((self.left + columns + 0.5) / self.full_width - 0.5) * 2 * np.pi
        across = np.cos(latitude)
        parts = (across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude) + 0 * longitude)
        return np.stack(parts)

    def places(self, directions: Floats) -> tuple[Floats, Floats]:
        """Return rows and columns of directions ``(3, ...)``, the inverse of ``directions``.

        Places outside the image are negative or too large; columns are those of the nearest turn.
        """
        forward, right, up = directions
        rows = (0.5 - np.arcsin(np.clip(up, -1, 1)) / np.pi) * self.full_height - 0.5 - self.top
        columns = (np.arctan2(right, forward) / (2 * np.pi) + 0.5) * self.full_width - 0.5 - self.left
        beside = (self.full_width - self.width) / 2  # what is not shown is divided between left and right
        return rows, (columns + 0.5 + beside) % self.full_width - 0.5 - beside


def camera_to_level(pitch: float, roll: float) -> Floats:
    """Return the rotation that takes directions of a tilted camera to those of a level one of the same heading.

    Args:
        pitch, roll: In degrees; see the top of this file.

    Returns:
        ``(3, 3)``; its columns are the camera's forward, right and up. The inverse is its transpose.
    """
    p, r = np.radians(pitch), np.radians(roll)
    forward = np.array([np.cos(p), 0, np.sin(p)])
    right, up = np.array([0.0, 1, 0]), np.array([-np.sin(p), 0, np.cos(p)])
    return np.stack([forward, np.cos(r) * right - np.sin(r) * up, np.sin(r) * right + np.cos(r) * up], axis=1)


def levelled_area(area: SphereArea, to_level: Floats) -> SphereArea:
    """Return the smallest part of the level panorama that holds all that a tilted image shows.

    Args:
        area: Of the tilted image.
        to_level: As ``camera_to_level``.
    """
    top, bottom, left, right = -0.5, area.height - 0.5, -0.5, area.width - 0.5  # the outer edges of pixels
    across, down = np.linspace(left, right, area.width + 1), np.linspace(top, bottom, area.height + 1)
    edges = [
        area.directions(np.array(rows), np.array(columns)).reshape(3, -1)
        for rows, columns in ((top, across), (bottom, across), (down, left), (down, right))
    ]
    border = to_level @ np.concatenate(edges, axis=1)
    # Relative to what the middle of the image shows, so that no longitude jumps from 180 to -180 within the image.
    turned = area.whole
    rows, columns = turned.places(border)
    middle = turned.places(to_level @ area.directions(np.array((top + bottom) / 2), np.array((left + right) / 2)))[1]
    columns = (columns - middle + turned.full_width / 2) % turned.full_width - turned.full_width / 2 + middle
    first, last = rows.min(), rows.max()
    poles = [_shows(area, to_level.T @ np.array([0.0, 0, up])) for up in (1, -1)]
    first, last = (-0.5 if poles[0] else first), (turned.height - 0.5 if poles[1] else last)
    y0, y1 = max(0, int(np.floor(first + 0.5))), min(turned.height, int(np.ceil(last + 0.5)))
    if area.is_closed or any(poles):
        return SphereArea(y0, 0, y1 - y0, turned.width, turned.height, turned.width)
    x0, x1 = int(np.floor(columns.min() + 0.5)), int(np.ceil(columns.max() + 0.5))
    if x0 < 0 or x1 > turned.width:  # it would cross the seam of the full panorama
        x0, x1 = 0, turned.width
    return SphereArea(y0, x0, y1 - y0, x1 - x0, turned.height, turned.width)


def _shows(area: SphereArea, direction: Floats) -> bool:
    row, column = area.places(direction)
    return bool(-0.5 <= row <= area.height - 0.5 and (area.is_closed or -0.5 <= column <= area.width - 0.5))
