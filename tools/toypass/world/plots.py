"""The plots along a street: rows of houses, gardens, parks, walls and fences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toypass.knobs import World
from toypass.things import buildings, furniture, plants
from toypass.things.thing import Thing
from toypass.world.street import KERB, LENGTH, Rng, Street

Plot = tuple[float, int, float]  # middle, side and width


def fill_plots(street: Street, rng: Rng, world: World, side: int) -> None:
    """Fill the land along one side with plots."""
    names, shares = list(world.plots), np.array(list(world.plots.values()))
    for start, end in street.spans():
        x = start
        margin = 2.6 if street.crossing is not None else 0.0  # the pavement round the corner
        x, end = x + margin * (start > -LENGTH), end - margin * (end < LENGTH)
        while x < end - 4:
            width = min(rng.uniform(8, 20), end - x)
            name = str(rng.choice(names, p=shares / shares.sum()))
            _PLOTS[name](street, rng, world, (x + width / 2, side, width))
            x += width + (rng.uniform(1, 4) if rng.random() < 0.25 else 0.0)


def _house(street: Street, rng: Rng, world: World, plot: Plot, setback: float) -> None:
    middle, side, width = plot
    depth = rng.uniform(8, 13)
    house = buildings.building(rng, width - 0.1, depth, rng.uniform(*world.building_height))
    street.always(house, middle, side * (street.edge + setback), KERB, 0 if side > 0 else np.pi)


def _row_plot(street: Street, rng: Rng, world: World, plot: Plot) -> None:
    _house(street, rng, world, plot, 0.05)


def _garden_plot(street: Street, rng: Rng, world: World, plot: Plot) -> None:
    middle, side, width = plot
    setback = rng.uniform(2.5, 6.0)
    _house(street, rng, world, (middle, side, width * 0.85), setback)
    front = int(rng.choice(4, p=(0.3, 0.25, 0.25, 0.2)))
    y = side * (street.edge + 0.45)
    if front < 3:
        make = (plants.hedge, furniture.fence, furniture.wall)[front]
        street.put(make(rng, width * 0.95), middle, y, KERB, 0 if side > 0 else np.pi, gap=0)
    for _ in range(int(rng.integers(1, 4))):
        make_plant = plants.bush if rng.random() < 0.7 else plants.tree
        x = middle + rng.uniform(-0.45, 0.45) * width
        street.put(make_plant(rng), x, side * (street.edge + rng.uniform(1.2, setback)), KERB, gap=-1.0)


def _park_plot(street: Street, rng: Rng, world: World, plot: Plot) -> None:
    middle, side, width = plot
    for _ in range(int(width / 2.5)):
        x, y = middle + rng.uniform(-0.5, 0.5) * width, side * (street.edge + rng.uniform(2, 26))
        street.put(plants.tree(rng) if rng.random() < 0.7 else plants.bush(rng), x, y, KERB, gap=-1.5)
    street.put(furniture.bench(rng), middle, side * (street.edge + 1), KERB, np.pi if side > 0 else 0)
    if rng.random() < 0.35:
        street.put(furniture.fence(rng, width * 0.95), middle, side * (street.edge + 0.4), KERB, gap=0)


def _bounded_plot(make: Callable[[Rng, float], Thing]) -> Callable[[Street, Rng, World, Plot], None]:
    def fill(street: Street, rng: Rng, world: World, plot: Plot) -> None:
        middle, side, width = plot
        yaw = 0 if side > 0 else np.pi
        street.put(make(rng, width), middle, side * (street.edge + 0.4), KERB, yaw, gap=0)
        for _ in range(int(width / 4)):
            x, y = middle + rng.uniform(-0.5, 0.5) * width, side * (street.edge + rng.uniform(2.5, 14))
            street.put(plants.tree(rng) if rng.random() < 0.6 else plants.bush(rng), x, y, KERB, gap=-1.5)
        if rng.random() < 0.5:
            _house(street, rng, world, (middle, side, width * 0.8), rng.uniform(15, 20))

    return fill


_PLOTS: dict[str, Callable[[Street, Rng, World, Plot], None]] = {
    'building': _row_plot,
    'garden': _garden_plot,
    'park': _park_plot,
    'walled': _bounded_plot(furniture.wall),
    'fenced': _bounded_plot(furniture.fence),
}
