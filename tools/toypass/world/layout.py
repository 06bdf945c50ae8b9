"""Build a street, from its ground to its horizon."""

from __future__ import annotations

from toypass.knobs import World
from toypass.world.ground import lay_ground
from toypass.world.horizon import close_horizon
from toypass.world.kerbside import furnish_kerb, place_crossing_lights
from toypass.world.plots import fill_plots
from toypass.world.rare_things import place_rare_things
from toypass.world.street import KERB, Rng, Street
from toypass.world.traffic import place_pedestrians, place_traffic


def build_street(rng: Rng, world: World, index: int, forward_only: bool, sidewalk_camera: bool) -> Street:
    """Build the ``index``-th street of a split.

    Args:
        rng: Source of everything that varies; scenes differ only by it.
        world: The knobs.
        index: Decides, with ``world.periods``, which rare things stand close to the camera.
        forward_only: Whether those stand ahead (for a camera that looks ahead) or on all sides.
        sidewalk_camera: Whether the camera stands on the pavement, else on its lane.
    """
    half = rng.uniform(*world.road_half_width)
    verge = rng.uniform(*world.verge_width) if rng.random() < world.verge_share else 0.0
    sidewalk = rng.uniform(*world.sidewalk_width)
    crossing = None
    if rng.random() < world.crossing_share:
        crossing = (float(rng.choice((-1, 1)) * rng.uniform(12, 40)), float(rng.uniform(3.5, 6.0)))
        if forward_only:
            crossing = (abs(crossing[0]), crossing[1])
    parking = tuple(bool(rng.random() < world.parking_share and half > 4.6) for _ in range(2))
    lane = half - 2.2 * parking[0]
    y = -(half + verge + rng.uniform(0.6, sidewalk - 1.3)) if sidewalk_camera else -lane * rng.uniform(0.35, 0.65)
    reach = (3.0, 3.0, 1.5) if forward_only else (1.4, 1.4, 1.3)
    camera = (-reach[0], reach[1], y - reach[2], y + reach[2])
    street = Street(half, verge, sidewalk, crossing, (parking[0], parking[1]), camera, taken=[camera])

    lay_ground(street, rng)
    place_rare_things(street, rng, world, index, (1,) if forward_only else (1, -1))
    place_crossing_lights(street, rng)
    for side in (-1, 1):
        fill_plots(street, rng, world, side)
        furnish_kerb(street, rng, world, side)
    place_traffic(street, rng, world)
    for side in (-1, 1):
        place_pedestrians(street, rng, world, side)
    close_horizon(street, rng)
    return street


def camera_place(street: Street) -> tuple[float, float, float]:
    """Return the camera's x, y and height of the ground."""
    x0, x1, y0, y1 = street.camera
    y = (y0 + y1) / 2
    return (x0 + x1) / 2, y, KERB if abs(y) > street.half_width else 0.0
