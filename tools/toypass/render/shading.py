"""The colour of a ray: the sky's, or that of a surface under sun, sky, mirror image and haze."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toypass.render.textures import Floats, noise, texture_at
from toypass.render.weather import Weather
from toypass.things.materials import SURFACES
from toypass.world.scene import Scene


def sky_colour(directions: Floats, weather: Weather) -> Floats:
    """Return the linear colour of the sky in directions ``(N, 3)``: a gradient, clouds and a glow around the sun."""
    up = np.clip(directions[:, 2:], 0, 1)
    share = np.sqrt(up)
    colour = weather.horizon * (1 - share) + weather.zenith * share
    if weather.cloud_cover > 0:
        flat = directions[:, :2] / (up + 0.25)
        points = np.concatenate([flat * 1.6, np.zeros_like(up)], 1) + weather.noise_offset
        depth = 0.6 * noise(points) + 0.3 * noise(points * 2.3) + 0.15 * noise(points * 5.1)
        cloud = np.clip((depth / 1.05 - (1 - weather.cloud_cover)) * 3.5, 0, 0.9)[:, None]
        colour = colour * (1 - cloud) + cloud * np.float32(0.88)
    glow = np.clip(directions @ weather.sun_direction, 0, 1)[:, None] ** 24
    return (colour + 0.35 * weather.sun * glow).astype(np.float32)


def surface_colour(
    scene: Scene,
    weather: Weather,
    base: Floats,
    pixel_angle: float,
    place: Floats,
    directions: Floats,
    triangle: NDArray[np.int64],
    depth: Floats,
) -> Floats:
    """Return the linear colour ``(N, 3)`` of hits: texture, sun with shadows, light of the sky, mirrored sky, haze."""
    points = place + depth[:, None] * directions
    normal = scene.triangles.normal[triangle]
    facing = np.einsum('ij,ij->i', normal, directions)
    normal = np.where(facing[:, None] > 0, -normal, normal)
    surface = SURFACES[scene.triangles.material[triangle]]
    # Width of a pixel on the surface, in metres; a finer grain is not visible.
    footprint = depth * np.float32(pixel_angle) / np.maximum(np.abs(facing), 0.15)
    texture, bend = texture_at(points + weather.noise_offset, normal, surface, footprint, weather.texture)
    albedo = base[triangle] * texture[:, None]

    towards = np.clip((normal + bend) @ weather.sun_direction, 0, 1)
    lit = np.flatnonzero(towards > 0)
    start = np.ascontiguousarray(points[lit] + normal[lit] * (2e-3 + 1e-4 * depth[lit, None]))
    suns = np.ascontiguousarray(np.broadcast_to(weather.sun_direction, start.shape))
    towards[lit] *= ~scene.shaded(start, suns)
    ambient = weather.ambient * (0.72 + 0.28 * normal[:, 2:])
    light = ambient * (0.6 + 0.4 * weather.zenith / weather.zenith.mean())
    light = light + weather.sun * towards[:, None] * np.array([1.0, 0.96, 0.88], np.float32)
    colour = albedo * light + surface[:, 4:5] * base[triangle]

    glossy = np.flatnonzero(surface[:, 3] > 0)
    mirrored = (
        directions[glossy] - 2 * np.einsum('ij,ij->i', directions[glossy], normal[glossy])[:, None] * normal[glossy]
    )
    mirror = np.where(mirrored[:, 2:] > 0, weather.horizon * 0.5 + weather.zenith * 0.5, np.float32(0.2))
    colour[glossy] += surface[glossy, 3:4] * mirror * (0.3 + 0.7 * (1 - np.abs(facing[glossy, None])) ** 2)
    haze = 1 - np.exp(-depth / np.float32(weather.visibility))[:, None]
    return (colour * (1 - haze) + weather.horizon * haze).astype(np.float32)
