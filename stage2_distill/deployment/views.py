"""Cube faces and perspective views of panoramas, by py360convert.

A panorama is labelled first and its labels are projected then: a student is trained on panoramas, and views that
overlap, as photogrammetry needs them, agree in their labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.geometry.resampling import resample
from stage1_sam_cache.geometry.sphere import Floats, SphereArea
from stage2_distill.errors import ConfigError

Pixels = NDArray[np.uint8]
CUBE = {'front': (0, 0), 'right': (90, 0), 'back': (180, 0), 'left': (270, 0), 'up': (0, 90), 'down': (0, -90)}
LARGEST_VIEW = 16384  # rows and columns of a view: 10 GB while it is made
_LARGEST = 32760  # rows and columns that py360convert can sample


@dataclass(frozen=True)
class View:
    """A square pinhole camera in the middle of a panorama.

    Args:
        name: Of its folder; says where it looks.
        yaw: Degrees to the right of the panorama's middle.
        pitch: Degrees above the horizon.
        fov: From border to border, in degrees, below 180.
        size: Rows and columns; None for the resolution of the panorama, a quarter of its full width at 90 degrees.
    """

    name: str
    yaw: float
    pitch: float
    fov: float = 90.0
    size: int | None = None

    def size_for(self, full_width: int) -> int:
        """Return rows and columns for a panorama whose 360 degrees are so many columns.

        Raises:
            ImageError: If there would be more than ``LARGEST_VIEW``.
        """
        size = self.size or max(2, round(full_width / 4 * math.tan(math.radians(self.fov / 2))))
        if size > LARGEST_VIEW:
            raise ImageError(
                f'a view of {self.fov:g} degrees would have {size} rows and columns',
                'give --view-size, or less degrees',
            )
        return size

    def to_json(self) -> dict[str, Any]:
        """Return what a file of this view depends on."""
        return {'yaw': self.yaw, 'pitch': self.pitch, 'fov': self.fov, 'size': self.size}


def cube_views(size: int | None = None) -> list[View]:
    """Return the six faces of a cube; the tops of ``up`` and ``down`` meet back and front."""
    return [View(name, yaw, pitch, 90.0, size) for name, (yaw, pitch) in CUBE.items()]


def perspective_views(
    yaws: Sequence[float], pitches: Sequence[float], fov: float = 90.0, size: int | None = None
) -> list[View]:
    """Return a view for each pair of yaw and pitch, named like ``yaw060_pitch-30``."""
    views = {}
    for pitch in pitches:
        for yaw in yaws:
            name = f'yaw{_padded(yaw % 360)}_pitch{"-" if pitch < 0 else "+"}{_padded(abs(pitch), 2)}'
            views[name] = View(name, yaw % 360, pitch, fov, size)
    return list(views.values())


def _padded(angle: float, digits: int = 3) -> str:
    whole, dot, rest = f'{angle:g}'.partition('.')
    return whole.zfill(digits) + dot + rest


def whole_sphere(pixels: Pixels, area: SphereArea, to_area: Floats | None, labels: bool) -> Pixels:
    """Return a panorama as one that shows the full sphere, as views are cut from it.

    Args:
        pixels: Image uint8 ``(H, W, 3)``, or labels uint8 ``(H, W)``.
        area: What it shows.
        to_area: Rotation of directions to those of the panorama, to level it; None to leave it as it is.
        labels: Take the nearest pixel; what is not shown is 255, otherwise black.

    Raises:
        ImageError: If it would have more rows or columns than can be sampled.
    """
    if max(area.full_height, area.full_width) > _LARGEST:
        raise ImageError(f'views of a panorama of {area.full_width} columns, at most {_LARGEST} can be projected')
    if to_area is None and area == area.whole:
        return pixels
    return resample(pixels, area, area.whole, to_area, nearest=labels, fill=255 if labels else 0)


def cut_view(sphere: Pixels, view: View, nearest: bool = False) -> Pixels:
    """Return what a view shows of a panorama of the full sphere.

    Args:
        sphere: uint8 ``(H, W)`` or ``(H, W, 3)``.
        view: The camera.
        nearest: Take the nearest pixel, for labels.

    Returns:
        uint8 of the view's size.
    """
    from py360convert import e2p

    size = view.size_for(sphere.shape[1])
    # py360convert counts the field of view between the centres of the outermost pixels, cameras between their edges.
    between = math.degrees(2 * math.atan(math.tan(math.radians(view.fov / 2)) * (size - 1) / size))
    yaw = (view.yaw + 180) % 360 - 180
    cut = e2p(sphere, between, yaw, view.pitch, (size, size), mode='nearest' if nearest else 'bilinear')
    return np.asarray(cut, np.uint8)


def require_library() -> None:
    """Raise an error if py360convert is missing.

    Raises:
        ConfigError: With the command that installs it.
    """
    try:
        import py360convert  # noqa: F401
    except ImportError as missing:
        raise ConfigError('--views needs py360convert', 'pip install py360convert') from missing
