"""The light and camera response that one image gets of its look, and the colours of things under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import hsv2rgb, rgb2hsv

from toypass.knobs import Look
from toypass.things.materials import MATERIALS, PALETTE


@dataclass(frozen=True)
class Weather:
    """One image's draw of a ``Look``.

    Args:
        sun_direction: Unit vector towards the sun.
        noise_offset: Moves textures and clouds, so that each scene has its own.
        others: As in ``Look``, one value each; ``horizon`` and ``zenith`` are the sky's colours.
    """

    look: Look
    sun_direction: NDArray[np.float32]
    sun: float
    ambient: float
    cloud_cover: float
    zenith: NDArray[np.float32]
    horizon: NDArray[np.float32]
    saturation: float
    hue: float
    texture: float
    visibility: float
    exposure: float
    warmth: float
    noise: float
    blur: float
    noise_offset: NDArray[np.float32]


def draw_weather(look: Look, rng: np.random.Generator) -> Weather:
    """Draw one image's light and camera response."""
    elevation, azimuth = np.deg2rad(rng.uniform(*look.sun_elevation)), rng.uniform(0, 2 * np.pi)
    level = np.cos(elevation)
    cover = rng.uniform(*look.cloud_cover)
    # Under clouds the sun is weaker and the sky less blue.
    grey = np.float32(0.7 * max(0.0, cover - 0.3))
    zenith, horizon = (
        np.array(c, np.float32) * (1 - grey) + grey * np.float32(np.mean(look.sky_horizon))
        for c in (look.sky_zenith, look.sky_horizon)
    )
    return Weather(
        look=look,
        sun_direction=np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], np.float32),
        sun=rng.uniform(*look.sun) * (1 - 0.6 * max(0.0, cover - 0.4)),
        ambient=rng.uniform(*look.ambient),
        cloud_cover=cover,
        zenith=zenith,
        horizon=horizon,
        saturation=rng.uniform(*look.saturation),
        hue=rng.uniform(*look.hue),
        texture=rng.uniform(*look.texture),
        visibility=rng.uniform(*look.visibility),
        exposure=2.0 ** rng.uniform(*look.exposure),
        warmth=rng.uniform(*look.warmth),
        noise=rng.uniform(*look.noise),
        blur=rng.uniform(*look.blur),
        noise_offset=rng.uniform(0, 64, 3).astype(np.float32),
    )


def colours(material: NDArray[np.int64], tint: NDArray[np.float32], weather: Weather) -> NDArray[np.float32]:
    """Return the colour of each triangle under a look.

    Args:
        material: ``(T,)``, index into ``MATERIALS``.
        tint: ``(T, 3)`` in [0, 1]: place between the anchors, brightness, spare.
        weather: Gives the palette, saturation and hue.

    Returns:
        float32 ``(T, 3)``, linear RGB in [0, 1].
    """
    anchors = [weather.look.palette.get(name, PALETTE[name].anchors) for name in MATERIALS]
    longest = max(map(len, anchors))
    table = np.array([[*a, *[a[-1]] * (longest + 1 - len(a))] for a in anchors], np.float32)
    last = np.array([len(a) - 1 for a in anchors])
    place = tint[:, 0] * last[material]
    low = np.floor(place).astype(np.int64)
    share = (place - low)[:, None]
    base = table[material, low] * (1 - share) + table[material, np.minimum(low + 1, longest)] * share
    base *= 0.8 + 0.4 * tint[:, 1:2]
    hsv = rgb2hsv(np.clip(base, 0, 1))
    hsv[:, 0] = (hsv[:, 0] + weather.hue) % 1
    hsv[:, 1] = np.clip(hsv[:, 1] * weather.saturation, 0, 1)
    return hsv2rgb(hsv).astype(np.float32)
