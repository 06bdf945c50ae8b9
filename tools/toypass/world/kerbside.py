"""What stands along the kerb: parked cars, lamp posts, signs, trees, bicycles, and the lights of a crossing."""

from __future__ import annotations

import numpy as np

from toypass.knobs import World
from toypass.things import furniture, plants, vehicles
from toypass.world.street import KERB, LENGTH, Rng, Street, along


def place_crossing_lights(street: Street, rng: Rng) -> None:
    """Place traffic lights at the four corners of the crossing, usually."""
    if street.crossing is None or rng.random() < 0.25:
        return
    middle, wide = street.crossing
    for way in (-1, 1):
        for side in (-1, 1):
            place = (middle + way * (wide + 0.8), side * (street.half_width + 0.5))
            street.put(furniture.traffic_light(rng), *place, KERB, 0 if way > 0 else np.pi)


def furnish_kerb(street: Street, rng: Rng, world: World, side: int) -> None:
    """Place parked cars, and what stands on the edges of the pavement of one side."""
    half, walk = street.half_width, street.half_width + street.verge
    if street.parks(side):
        for x in along(rng, world.parked_cars):
            if not street.on_crossing(x, 6):
                yaw = (0 if side < 0 else np.pi) + rng.normal(0, 0.03)
                street.put(vehicles.car(rng), x, side * (half - 1.05), 0, yaw, gap=0.6)
    inward = -np.pi / 2 if side > 0 else np.pi / 2  # from the kerb to the road
    step = 200 / max(1, rng.poisson(2 * rng.uniform(*world.lamp_posts)))
    make = furniture.utility_pole if rng.random() < 0.2 else furniture.lamp_post
    for x in np.arange(-LENGTH + rng.uniform(0, step), LENGTH, step).tolist():
        if not street.on_crossing(x, 0.5):
            street.put(make(rng), x, side * (half + 0.45), KERB, inward, gap=-0.5)
    for x in along(rng, world.signs, 70):
        if not street.on_crossing(x, 0.5):
            facing = (np.pi if side < 0 else 0) + rng.normal(0, 0.12)
            street.put(furniture.sign(rng), x, side * (half + 0.4), KERB, facing)
    for x in along(rng, world.street_trees):
        if not street.on_crossing(x, 2):
            street.put(
                plants.tree(rng), x, side * (half + max(0.6, street.verge / 2)), KERB, rng.uniform(0, 6), gap=-1.6
            )
    for x in along(rng, world.bicycles, 60):
        if not street.on_crossing(x, 1):
            yaw = rng.uniform(-0.2, 0.2) + rng.choice((0, np.pi))
            y = side * (street.edge - 0.35 if rng.random() < 0.4 else walk + 0.4)
            street.put(vehicles.bicycle(rng), x, y, KERB, yaw, gap=0.1)
    for x in along(rng, (0, 2), 50):
        if not street.on_crossing(x, 1):
            street.put(furniture.bin_(rng), x, side * (walk + 0.5), KERB)
    if rng.random() < 0.25:
        street.put(furniture.bollards(rng), rng.uniform(-25, 20), side * (walk + 0.3), KERB)
