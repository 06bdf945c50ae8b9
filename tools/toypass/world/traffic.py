"""What moves: vehicles on the lanes and the crossing street, riders, and people on foot."""

from __future__ import annotations

import numpy as np

from toypass.knobs import World
from toypass.things import people, vehicles
from toypass.world.street import KERB, Rng, Street, along


def place_traffic(street: Street, rng: Rng, world: World) -> None:
    """Place vehicles on all lanes, and riders at the kerb."""
    makes = (vehicles.car, vehicles.truck, vehicles.bus)
    for side in (-1, 1):
        for x in along(rng, world.traffic):
            make = makes[int(rng.choice(3, p=(0.93, 0.04, 0.03)))]
            yaw = (0 if side < 0 else np.pi) + rng.normal(0, 0.02)
            street.put(make(rng), x, street.lane(side) + rng.normal(0, 0.2), 0, yaw, gap=1.2)
        for x in along(rng, (0, 2), 60):
            rider = people.cyclist if rng.random() < 0.75 else people.motorcyclist
            kerb = street.free_half_width(side)
            street.put(rider(rng), x, side * (kerb - 0.7), 0, 0 if side < 0 else np.pi)
    if street.crossing is not None:
        middle, wide = street.crossing
        for y in rng.uniform(10, 60, int(rng.integers(0, 4))):
            way = int(rng.choice((-1, 1)))
            y *= way
            lane = middle + (wide * 0.5 if way > 0 else -wide * 0.5)
            street.put(
                vehicles.car(rng), lane, y + way * street.half_width, 0, np.pi / 2 * rng.choice((-1, 1)), gap=0.8
            )


def place_pedestrians(street: Street, rng: Rng, world: World, side: int) -> None:
    """Place people on the pavement of one side, and perhaps someone who crosses the road."""
    inner, outer = street.half_width + street.verge + 0.5, street.edge - 0.4
    for x in along(rng, world.pedestrians, 60):
        if street.on_crossing(x, 0.3):
            continue
        heading = rng.choice((0, np.pi)) + rng.normal(0, 0.35)
        y = side * rng.uniform(inner, max(inner + 0.1, outer))
        for mate in range(int(rng.choice(3, p=(0.62, 0.28, 0.1))) + 1):
            place = (x + rng.normal(0, 0.15), y + side * mate * 0.62)
            street.put(people.person(rng), *place, KERB, heading + rng.normal(0, 0.15), gap=0.02)
    if side > 0 and rng.random() < 0.4:  # someone crosses the road
        x = rng.uniform(6, 25) * rng.choice((-1, 1))
        if street.crossing is not None and rng.random() < 0.7:
            x = street.crossing[0] - np.sign(street.crossing[0]) * (street.crossing[1] + 2.2)
        for _ in range(int(rng.integers(1, 4))):
            y = rng.uniform(-0.8, 0.8) * street.half_width
            street.put(people.person(rng), x + rng.normal(0, 0.6), y, 0, np.pi / 2 * rng.choice((-1, 1)), gap=0.1)
