"""Things that are rare in a street: placed close to the camera in every n-th scene, so that each class is learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toypass.knobs import World
from toypass.things import furniture, people, vehicles
from toypass.things.thing import Thing
from toypass.world.street import KERB, Rng, Street

Around = Callable[[Rng, float, float], float]


def place_rare_things(street: Street, rng: Rng, world: World, index: int, ways: tuple[int, ...]) -> None:
    """Place the rare things of a scene, each at up to 12 random places until it fits.

    Args:
        street, rng, world: As ``build_street``.
        index: Number of the scene.
        ways: 1 for ahead of the camera, -1 for behind; with both, things stand nearer, because a panorama has far
            fewer pixels per degree.
    """
    nearer = 1.0 if len(ways) == 1 else 0.75
    for way in ways:

        def around(generator: Rng, near: float, far: float, way: int = way) -> float:
            return float(way * nearer * generator.uniform(near, far))

        for number, (name, period) in enumerate(sorted(world.periods.items())):
            if (index + number) % period:
                continue
            for _ in range(12):
                if _RARE[name](street, rng, around):
                    break


def _drive(street: Street, rng: Rng, things: Thing | list[Thing], x: float, offset: float = 0.0) -> bool:
    side = int(rng.choice((-1, 1)))
    return street.put(things, x, street.lane(side) + side * offset, 0, 0 if side < 0 else np.pi, gap=0.7)


def _rare_rider(kind: Callable[[Rng], list[Thing]]) -> Callable[[Street, Rng, Around], bool]:
    def place(street: Street, rng: Rng, around: Around) -> bool:
        side = int(rng.choice((-1, 1)))
        kerb = street.free_half_width(side)
        y = side * (kerb - rng.uniform(0.5, 1.2))
        return street.put(kind(rng), around(rng, 3.0, 13), y, 0, (0 if side < 0 else np.pi) + rng.normal(0, 0.06))

    return place


def _rare_rack(street: Street, rng: Rng, around: Around) -> bool:
    side, x = int(rng.choice((-1, 1))), around(rng, 3.5, 14)
    y = side * (street.half_width + street.verge + 0.95)
    slope = rng.uniform(0.9, 1.57)
    bikes = [vehicles.bicycle(rng) for _ in range(int(rng.integers(2, 6)))]
    fits = [street.put(bike, x + 0.62 * i, y, KERB, slope, gap=-0.45) for i, bike in enumerate(bikes)]
    return any(fits)


def _rare_motorcycle(street: Street, rng: Rng, around: Around) -> bool:
    side = int(rng.choice((-1, 1)))
    y = side * (street.half_width + rng.choice((-0.7, street.verge + 0.8)))
    z = KERB if abs(y) > street.half_width else 0
    return street.put(
        vehicles.motorcycle(rng), around(rng, 3.0, 12), y, z, rng.uniform(-0.5, 0.5) + rng.choice((0, np.pi))
    )


def _rare_light(street: Street, rng: Rng, around: Around) -> bool:
    side = int(rng.choice((-1, 1)))
    y = side * (street.half_width + 0.5)
    return street.put(furniture.traffic_light(rng), around(rng, 5, 18), y, KERB, np.pi if side < 0 else 0)


def _rare_sign(street: Street, rng: Rng, around: Around) -> bool:
    x, side = around(rng, 4, 14), int(rng.choice((-1, 1)))
    facing = (np.pi if side < 0 else 0) + rng.normal(0, 0.15)  # for traffic on its side
    return street.put(furniture.sign(rng), x, side * (street.half_width + 0.4), KERB, facing)


def _rare_border(make: Callable[[Rng, float], Thing]) -> Callable[[Street, Rng, Around], bool]:
    def place(street: Street, rng: Rng, around: Around) -> bool:
        length, x = rng.uniform(7, 16), around(rng, 4, 18)
        if street.on_crossing(x, length / 2 + 2.5):
            return False
        return street.put(make(rng, length), x, rng.choice((-1, 1)) * (street.edge + 0.4), KERB, 0)

    return place


_RARE: dict[str, Callable[[Street, Rng, Around], bool]] = {
    'truck': lambda street, rng, around: _drive(street, rng, vehicles.truck(rng), around(rng, 11, 32)),
    'bus': lambda street, rng, around: _drive(street, rng, vehicles.bus(rng), around(rng, 13, 38)),
    'train': lambda street, rng, around: _drive(street, rng, vehicles.tram(rng), around(rng, 20, 45)),
    'motorcycle': _rare_motorcycle,
    'bicycle rider': _rare_rider(people.cyclist),
    'motorcycle rider': _rare_rider(people.motorcyclist),
    'bicycle rack': _rare_rack,
    'traffic light': _rare_light,
    'traffic sign': _rare_sign,
    'wall': _rare_border(furniture.wall),
    'fence': _rare_border(furniture.fence),
}
