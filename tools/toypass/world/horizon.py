"""What closes the view: houses and trees at the ends of the street, along the crossing and behind the plots."""

from __future__ import annotations

import numpy as np

from toypass.things import buildings, plants
from toypass.world.street import KERB, LENGTH, SIDE_LENGTH, Rng, Street


def close_horizon(street: Street, rng: Rng) -> None:
    """Place the houses and trees that close the street, the crossing and the gaps between the plots."""
    for end in (-1, 1):
        _close_street(street, rng, end)
        _fill_gaps(street, rng, end)
        if street.crossing is not None:
            _close_crossing(street, rng, end, *street.crossing)


def _close_street(street: Street, rng: Rng, end: int) -> None:
    """Houses and trees at one end of the street; ``end`` is -1 or 1."""
    x = end * (LENGTH + rng.uniform(8, 30))
    for y in range(-40, 41, 14):
        if abs(y) < 8 and rng.random() < 0.5:
            continue  # the street goes on to the horizon
        house = buildings.building(rng, 13.9, 10, rng.uniform(6, 22), sides=False)
        street.always(house, x, y, 0, -end * np.pi / 2)
    for _ in range(6):
        place = (end * (LENGTH + rng.uniform(0, 6)), rng.uniform(-40, 40))
        street.put(plants.tree(rng), *place, KERB, gap=-1.0)


def _fill_gaps(street: Street, rng: Rng, side: int) -> None:
    """Houses and trees behind the plots of one side."""
    for x in np.arange(-LENGTH, LENGTH, 24).tolist():
        back = side * (street.edge + rng.uniform(28, 45))
        if rng.random() < 0.5:
            height = rng.uniform(8, 22)
            house = buildings.building(rng, 18, 10, height, sides=False)
            if not street.on_crossing(x, 10):
                street.always(house, x, back, KERB, 0 if side > 0 else np.pi)
        elif not street.on_crossing(x, 3):
            for _ in range(3):
                street.put(plants.tree(rng), x + rng.uniform(-9, 9), back * 0.8, KERB, gap=-1.0)


def _close_crossing(street: Street, rng: Rng, side: int, middle: float, wide: float) -> None:
    """Houses along one half of the crossing street and perhaps at its end; ``wide`` is its half width."""
    for way in (-1, 1):
        for y in np.arange(street.edge + 14, SIDE_LENGTH, 15).tolist():
            house = buildings.building(rng, 13, 9, rng.uniform(5, 16), sides=False)
            if rng.random() < 0.75:  # its front looks at the crossing street
                street.always(house, middle + way * (wide + 2.6), side * (y + 7), KERB, -way * np.pi / 2)
    if rng.random() < 0.6:
        house = buildings.building(rng, 2 * wide + 6, 9, rng.uniform(6, 18), sides=False)
        street.always(house, middle, side * (SIDE_LENGTH + 12), 0, 0 if side > 0 else np.pi)
