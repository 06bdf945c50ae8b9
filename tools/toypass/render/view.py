"""One picture: colour, label, instance, part and depth of every pixel, all from the same rays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from toypass.render.cameras import Camera
from toypass.render.shading import sky_colour, surface_colour
from toypass.render.textures import Floats
from toypass.render.weather import Weather, colours
from toypass.world.scene import SKY, Scene, Triangles

_CORNERS = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))


class View(NamedTuple):
    """One image and its truth.

    Args:
        image: uint8 ``(H, W, 3)``, sRGB.
        label: uint8 ``(H, W)``, train ids of Cityscapes; 255 is void.
        instance: uint16 ``(H, W)``; 0 is the sky.
        part: uint16 ``(H, W)``, numbers of the parts of instances (a car's windows); 0 is the sky.
        depth: float32 ``(H, W)``, metres along the ray; ``inf`` in the sky.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    part: NDArray[np.uint16]
    depth: NDArray[np.float32]


def render(scene: Scene, camera: Camera, weather: Weather, rng: np.random.Generator) -> View:
    """Take one picture.

    Truth and colour come from the ray through the middle of each pixel; where a neighbour shows another part or
    another depth, the colour is the mean of four more rays.

    Args:
        scene: The world.
        camera: Its place, direction and size.
        weather: Light and camera response.
        rng: Source of the sensor's noise.
    """
    shape = camera.height, camera.width
    rows, columns = (index.ravel() + 0.5 for index in np.indices(shape))
    base = colours(scene.triangles.material, scene.triangles.tint, weather)
    triangle, depth, colour = _trace(scene, camera, weather, base, rows, columns)
    label, instance, part = _truth(scene.triangles, triangle)
    edge = np.flatnonzero(_edges(part.reshape(shape), depth.reshape(shape), camera.closed))
    finer = [_trace(scene, camera, weather, base, rows[edge] + r, columns[edge] + c)[2] for r, c in _CORNERS]
    colour[edge] = np.mean(finer, axis=0, dtype=np.float32)
    image = _expose(colour.reshape(*shape, 3), weather, camera.closed, rng)
    return View(image, label.reshape(shape), instance.reshape(shape), part.reshape(shape), depth.reshape(shape))


def _truth(
    triangles: Triangles, triangle: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint16]]:
    sky = triangle < 0
    return (
        np.where(sky, np.uint8(SKY), triangles.label[triangle]),
        np.where(sky, np.uint16(0), triangles.instance[triangle]),
        np.where(sky, np.uint16(0), triangles.part[triangle]),
    )


def _edges(part: NDArray[np.uint16], depth: Floats, closed: bool) -> NDArray[np.bool_]:
    """Find the pixels whose part or depth differs from that of one of their four neighbours, ``(H, W)``."""
    near = 1 / depth  # inverse depth is even on planes, and 0 in the sky
    edge = np.zeros(part.shape, bool)
    for axis in (0, 1):
        differ = part != np.roll(part, -1, axis)
        differ |= np.abs(near - np.roll(near, -1, axis)) > 0.08 * np.maximum(near, np.roll(near, -1, axis))
        if axis == 0:
            differ[-1] = False
        elif not closed:
            differ[:, -1] = False
        edge |= differ | np.roll(differ, 1, axis)
    return edge


def _trace(
    scene: Scene,
    camera: Camera,
    weather: Weather,
    base: Floats,
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return triangle ``(N,)``, depth ``(N,)`` and linear colour ``(N, 3)`` of rays through points of the image."""
    directions = camera.rays(rows, columns)
    place = np.array(camera.place, np.float32)
    origins = np.ascontiguousarray(np.broadcast_to(place, directions.shape))
    triangle, depth = scene.hit(origins, directions)
    colour = np.empty_like(directions)
    sky = triangle < 0
    colour[sky] = sky_colour(directions[sky], weather)
    solid = np.flatnonzero(~sky)
    colour[solid] = surface_colour(
        scene, weather, base, camera.pixel_angle(), place, directions[solid], triangle[solid], depth[solid]
    )
    return triangle, depth, colour


def _expose(colour: Floats, weather: Weather, closed: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn linear light into an 8-bit image: lens, white balance, tone curve, sensor noise."""
    sides = 'wrap' if closed else 'nearest'
    soft = gaussian_filter(colour, (weather.blur, weather.blur, 0), mode=('nearest', sides, 'nearest'))
    if weather.look.vignette and not closed:
        height, width = soft.shape[:2]
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        soft *= (1 - weather.look.vignette * (x * x + y * y) / 2)[..., None].astype(np.float32)
    balance = np.array([1 + weather.warmth, 1, 1 - weather.warmth], np.float32) * np.float32(weather.exposure)
    light = soft * balance
    # Bright light is compressed instead of clipped.
    light = light * (1 + light / 4) / (1 + light * 0.75)
    srgb = 255 * np.clip(light, 0, 1) ** np.float32(1 / 2.2)
    if weather.noise > 0:
        srgb = srgb + rng.normal(0, weather.noise, srgb.shape)
    return np.clip(np.round(srgb), 0, 255).astype(np.uint8)
