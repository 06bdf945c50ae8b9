"""Rays -> what a camera sees: colour, label, instance, part and depth of every pixel, from the same rays."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from toypass.cameras import Camera
from toypass.looks import SURFACES, TEXTURES, Weather, colours
from toypass.scene import SKY, Scene, Triangles

_CORNERS = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))
Floats = NDArray[np.float32]


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
    """Takes one picture.

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
    """Pixels whose part or depth differs from that of one of their four neighbours, ``(H, W)``."""
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
    """Triangle ``(N,)``, depth ``(N,)`` and linear colour ``(N, 3)`` of rays through points of the image."""
    directions = camera.rays(rows, columns)
    place = np.array(camera.place, np.float32)
    origins = np.ascontiguousarray(np.broadcast_to(place, directions.shape))
    triangle, depth = scene.hit(origins, directions)
    colour = np.empty_like(directions)
    sky = triangle < 0
    colour[sky] = sky_colour(directions[sky], weather)
    solid = np.flatnonzero(~sky)
    colour[solid] = _shade(
        scene, weather, base, camera.pixel_angle(), place, directions[solid], triangle[solid], depth[solid]
    )
    return triangle, depth, colour


def sky_colour(directions: Floats, weather: Weather) -> Floats:
    """Linear colour of the sky in directions ``(N, 3)``: a gradient, clouds and a glow around the sun."""
    up = np.clip(directions[:, 2:], 0, 1)
    share = np.sqrt(up)
    colour = weather.horizon * (1 - share) + weather.zenith * share
    if weather.cloud_cover > 0:
        flat = directions[:, :2] / (up + 0.25)
        points = np.concatenate([flat * 1.6, np.zeros_like(up)], 1) + weather.noise_offset
        depth = 0.6 * _noise(points) + 0.3 * _noise(points * 2.3) + 0.15 * _noise(points * 5.1)
        cloud = np.clip((depth / 1.05 - (1 - weather.cloud_cover)) * 3.5, 0, 0.9)[:, None]
        colour = colour * (1 - cloud) + cloud * np.float32(0.88)
    glow = np.clip(directions @ weather.sun_direction, 0, 1)[:, None] ** 24
    return (colour + 0.35 * weather.sun * glow).astype(np.float32)


def _shade(
    scene: Scene,
    weather: Weather,
    base: Floats,
    pixel_angle: float,
    place: Floats,
    directions: Floats,
    triangle: NDArray[np.int64],
    depth: Floats,
) -> Floats:
    """Linear colour ``(N, 3)`` of hits: texture, sun with shadows, light of the sky, mirrored sky, haze."""
    points = place + depth[:, None] * directions
    normal = scene.triangles.normal[triangle]
    facing = np.einsum('ij,ij->i', normal, directions)
    normal = np.where(facing[:, None] > 0, -normal, normal)
    surface = SURFACES[scene.triangles.material[triangle]]
    # How much of the surface a pixel covers, in metres; a finer grain than that can't be seen.
    footprint = depth * np.float32(pixel_angle) / np.maximum(np.abs(facing), 0.15)
    texture, bend = _texture(points + weather.noise_offset, normal, surface, footprint, weather.texture)
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


def _texture(
    points: Floats, normal: Floats, surface: Floats, footprint: Floats, strength: float
) -> tuple[Floats, Floats]:
    """Factor of the colour ``(N,)``, and what is added to the normal of leaves ``(N, 3)``."""
    kind = surface[:, 0].astype(np.int64)
    size, contrast = surface[:, 1], surface[:, 2] * np.float32(strength)
    factor = np.ones(len(points), np.float32)
    bend = np.zeros_like(points)

    def visible(grain: Floats, chosen: NDArray[np.int64]) -> Floats:
        return np.clip(1.5 - footprint[chosen] / grain, 0, 1)

    textured = np.flatnonzero(kind > 0)
    grain = size[textured]
    coarse = _noise(points[textured] / (4 * grain[:, None])) - 0.5
    fine = _noise(points[textured] / grain[:, None]) - 0.5
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
    bend[leaves] = np.stack([_noise(where * 0.7 + shift) - 0.5 for shift in (11.3, 29.7, 47.1)], 1) * 2.2 * clumps
    return np.maximum(factor, 0.15), bend


@cache
def _lattice() -> NDArray[np.float32]:
    """Random values on a 64^3 lattice that repeats; the same in every world."""
    return np.random.default_rng(0).random(64**3, np.float32)


def _noise(points: Floats) -> Floats:
    """Value noise in [0, 1] with a grain of 1, ``(N, 3)`` -> ``(N,)``: smooth between random values on a lattice."""
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


def _expose(colour: Floats, weather: Weather, closed: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Linear light -> 8-bit image: lens, white balance, tone curve, sensor noise."""
    sides = 'wrap' if closed else 'nearest'
    soft = gaussian_filter(colour, (weather.blur, weather.blur, 0), mode=('nearest', sides, 'nearest'))
    if weather.look.vignette and not closed:
        height, width = soft.shape[:2]
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        soft *= (1 - weather.look.vignette * (x * x + y * y) / 2)[..., None].astype(np.float32)
    balance = np.array([1 + weather.warmth, 1, 1 - weather.warmth], np.float32) * np.float32(weather.exposure)
    light = soft * balance
    # Bright light is compressed instead of cut off.
    light = light * (1 + light / 4) / (1 + light * 0.75)
    srgb = 255 * np.clip(light, 0, 1) ** np.float32(1 / 2.2)
    if weather.noise > 0:
        srgb = srgb + rng.normal(0, weather.noise, srgb.shape)
    return np.clip(np.round(srgb), 0, 255).astype(np.uint8)
