"""Every setting of ToyPASS in one place; ``toypass.json`` in the data folder records ``Knobs``.

Ranges ``(low, high)`` are drawn from uniformly, once per image. Lengths are metres, angles degrees, sizes pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

Range = tuple[float, float]
RGB = tuple[float, float, float]

# Raised whenever the same knobs and seed give other pictures.
VERSION = 1


@dataclass(frozen=True)
class World:
    """What streets look like. Densities are per 100 m of one side of the street.

    ``periods``: every n-th scene of a split has this rare thing close to the camera, so that each class is in every
    split and has enough pixels to be learnt.
    """

    road_half_width: Range = (4.2, 8.0)
    sidewalk_width: Range = (2.2, 4.5)
    verge_share: float = 0.4
    verge_width: Range = (1.2, 3.0)
    crossing_share: float = 0.6
    building_height: Range = (5.0, 20.0)
    plots: dict[str, float] = field(
        default_factory=lambda: {'building': 0.45, 'garden': 0.23, 'park': 0.2, 'walled': 0.07, 'fenced': 0.05}
    )
    parking_share: float = 0.85
    parked_cars: Range = (10, 24)
    traffic: Range = (3, 9)
    pedestrians: Range = (8, 24)
    street_trees: Range = (9, 22)
    lamp_posts: Range = (3, 5)
    signs: Range = (3, 8)
    bicycles: Range = (3, 9)
    periods: dict[str, int] = field(
        default_factory=lambda: {
            'truck': 3,
            'bus': 3,
            'train': 3,
            'motorcycle': 2,
            'bicycle rider': 2,
            'motorcycle rider': 2,
            'bicycle rack': 1,
            'traffic light': 1,
            'traffic sign': 1,
            'wall': 2,
            'fence': 2,
        }
    )


@dataclass(frozen=True)
class Pinhole:
    """The source camera: on its lane, at car height, looking along the street."""

    height: int = 256
    width: int = 512
    fov: Range = (60.0, 90.0)  # horizontal
    camera_height: Range = (1.2, 1.6)
    yaw: Range = (-8.0, 8.0)
    pitch: Range = (-2.0, 2.0)

    def pixels_per_degree(self) -> tuple[float, float]:
        """Return the scale at the widest and at the narrowest field of view, mean over the image's width."""
        return self.width / self.fov[1], self.width / self.fov[0]


@dataclass(frozen=True)
class Panorama:
    """The target camera: 360 degrees, higher, anywhere on the road or (``sidewalk_share``) on the pavement."""

    height: int = 200
    width: int = 1024
    vertical_fov: float = 70.3125  # 400 of 2048 columns' worth, as DensePASS
    camera_height: Range = (2.0, 2.8)
    sidewalk_share: float = 0.35

    def pixels_per_degree(self) -> float:
        """Return the columns per degree of azimuth."""
        return self.width / 360


@dataclass(frozen=True)
class Look:
    """Light, palette and camera response; no geometry.

    Args:
        sun_elevation: Degrees above the horizon.
        sun: Strength of the sun's light; 0 is an overcast day.
        ambient: Strength of the sky's light.
        cloud_cover: Share of the sky.
        sky_zenith, sky_horizon: Colours of a clear sky, linear RGB in [0, 1].
        palette: Anchor colours of materials that differ from ``looks.PALETTE``.
        saturation, hue: Factor and shift (in turns) of all colours of things.
        texture: Factor of every texture's contrast.
        visibility: Distance in metres at which haze hides 63 % of a thing.
        exposure: In stops.
        warmth: Of the white balance: red is multiplied by 1 + warmth, blue by 1 - warmth.
        noise: Standard deviation of the sensor's noise, in 8-bit steps.
        blur: Standard deviation in pixels.
        vignette: Loss of light in the corners of a pinhole image.
    """

    sun_elevation: Range
    sun: Range
    ambient: Range
    cloud_cover: Range
    sky_zenith: RGB
    sky_horizon: RGB
    palette: dict[str, tuple[RGB, ...]] = field(default_factory=dict)
    saturation: Range = (1.0, 1.25)
    hue: Range = (-0.01, 0.01)
    texture: Range = (0.8, 1.2)
    visibility: Range = (500.0, 1500.0)
    exposure: Range = (-0.2, 0.2)
    warmth: Range = (-0.04, 0.04)
    noise: Range = (1.0, 3.0)
    blur: Range = (0.3, 0.6)
    vignette: float = 0.0


LOOKS: dict[str, Look] = {
    'source': Look(
        sun_elevation=(30, 65),
        sun=(0.7, 1.7),
        ambient=(0.38, 0.6),
        cloud_cover=(0.1, 0.7),
        sky_zenith=(0.16, 0.34, 0.72),
        sky_horizon=(0.62, 0.74, 0.88),
        vignette=0.15,
    ),
    'mild': Look(
        sun_elevation=(18, 50),
        sun=(0.4, 1.8),
        ambient=(0.35, 0.65),
        cloud_cover=(0.2, 0.85),
        sky_zenith=(0.14, 0.32, 0.62),
        sky_horizon=(0.72, 0.76, 0.80),
        palette={
            'plaster': ((0.50, 0.28, 0.20), (0.62, 0.50, 0.34), (0.58, 0.56, 0.52)),
            'asphalt': ((0.21, 0.20, 0.19), (0.30, 0.29, 0.28)),
            'paving': ((0.38, 0.34, 0.31), (0.50, 0.46, 0.42)),
            'foliage': ((0.10, 0.16, 0.04), (0.22, 0.24, 0.06), (0.09, 0.20, 0.09)),
        },
        saturation=(0.8, 1.25),
        hue=(-0.02, 0.03),
        texture=(0.6, 1.1),
        visibility=(300, 900),
        exposure=(-0.35, 0.35),
        warmth=(-0.03, 0.08),
        noise=(1.5, 4.0),
        blur=(0.5, 0.9),
    ),
    'strong': Look(
        sun_elevation=(6, 25),
        sun=(0.0, 1.6),
        ambient=(0.25, 0.6),
        cloud_cover=(0.6, 1.0),
        sky_zenith=(0.45, 0.46, 0.52),
        sky_horizon=(0.85, 0.70, 0.58),
        palette={
            'plaster': ((0.45, 0.20, 0.14), (0.35, 0.40, 0.42), (0.60, 0.52, 0.30)),
            'asphalt': ((0.10, 0.10, 0.12), (0.32, 0.29, 0.25)),
            'paving': ((0.32, 0.25, 0.21), (0.52, 0.47, 0.38)),
            'foliage': ((0.26, 0.15, 0.04), (0.20, 0.22, 0.06), (0.30, 0.20, 0.05)),
            'grass': ((0.28, 0.26, 0.10), (0.20, 0.20, 0.10)),
        },
        saturation=(0.4, 1.2),
        hue=(-0.05, 0.05),
        texture=(0.3, 1.0),
        visibility=(90, 400),
        exposure=(-0.8, 0.8),
        warmth=(-0.1, 0.2),
        noise=(3.0, 8.0),
        blur=(0.6, 1.3),
    ),
}


@dataclass(frozen=True)
class Counts:
    """Images per split."""

    source_train: int
    source_val: int
    target_train: int
    target_val: int


@dataclass(frozen=True)
class Knobs:
    """All settings that decide what is drawn, apart from the seed."""

    preset: str
    counts: Counts
    pinhole: Pinhole
    panorama: Panorama
    source_look: str = 'source'
    target_look: str = 'mild'
    world: World = field(default_factory=World)

    def describe(self, seed: int) -> dict[str, Any]:
        """Return the content of ``toypass.json``: the knobs, the looks, and what follows from them."""
        low, high = self.pinhole.pixels_per_degree()
        return {
            'version': VERSION,
            'seed': seed,
            **asdict(self),
            'looks': {name: asdict(LOOKS[name]) for name in sorted({self.source_look, self.target_look, 'source'})},
            'pixels_per_degree': {'source': [low, high], 'target': self.panorama.pixels_per_degree()},
        }


PRESETS: dict[str, Knobs] = {
    'tiny': Knobs('tiny', Counts(8, 4, 4, 4), Pinhole(128, 256), Panorama(100, 512)),
    # The first scenes of demo, for make demo.
    'quick': Knobs('quick', Counts(800, 100, 64, 40), Pinhole(256, 512), Panorama(200, 1024)),
    'demo': Knobs('demo', Counts(800, 100, 160, 60), Pinhole(256, 512), Panorama(200, 1024)),
    'full': Knobs('full', Counts(1200, 200, 400, 100), Pinhole(512, 1024), Panorama(400, 2048)),
}


def preset(
    name: str, look: str = 'mild', source_pixels_per_degree: float | None = None, panorama_width: int | None = None
) -> Knobs:
    """Return a preset with changes from the command line.

    Args:
        name: Key of ``PRESETS``.
        look: Key of ``LOOKS``, of the target.
        source_pixels_per_degree: Sizes the pinhole images so that they have this many at 75 degrees of view.
        panorama_width: A power of two; the height follows from the vertical field of view.
    """
    knobs = replace(PRESETS[name], target_look=look)
    if source_pixels_per_degree is not None:
        width = max(64, round(75 * source_pixels_per_degree / 64) * 64)
        knobs = replace(knobs, pinhole=replace(knobs.pinhole, width=width, height=width // 2))
    if panorama_width is not None:
        camera = knobs.panorama
        height = round(panorama_width * camera.vertical_fov / 360)
        knobs = replace(knobs, panorama=replace(camera, width=panorama_width, height=height))
    return knobs
