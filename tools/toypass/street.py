"""What stands where: one street with sidewalks, plots, perhaps a crossing, traffic, people and things that are rare.

Right-hand traffic along x: lanes with y < 0 go towards +x. The camera stands at x = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from toypass import buildings, furniture, people, plants, vehicles
from toypass.knobs import World
from toypass.shapes import Mesh, slab
from toypass.things import Thing

Rng = np.random.Generator

LENGTH = 110.0  # of the street ahead and behind, and what closes it
SIDE_LENGTH = 70.0  # of a crossing street to each side
KERB = 0.12


class Placed(NamedTuple):
    """A thing at (x, y, z), turned by ``yaw`` counter-clockwise from above."""

    thing: Thing
    x: float
    y: float
    z: float
    yaw: float


@dataclass
class Street:
    """All things of one scene and where the ground is.

    Args:
        half_width: From the middle of the road to its kerb.
        verge: Width of the strip of grass beside the road, 0 without.
        sidewalk: Width of the pavement.
        crossing: x of the middle and half width of a crossing street, None without.
        parking: Whether cars are parked at the right (y < 0) and the left kerb.
        camera: Rectangle (x0, x1, y0, y1) that stays free.
    """

    half_width: float
    verge: float
    sidewalk: float
    crossing: tuple[float, float] | None
    parking: tuple[bool, bool]
    camera: tuple[float, float, float, float]
    placed: list[Placed] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def edge(self) -> float:
        """Where the plots begin, as a distance from the middle of the road."""
        return self.half_width + self.verge + self.sidewalk

    def on_crossing(self, x: float, margin: float = 0.0) -> bool:
        """Whether x lies on the crossing street or within a margin of it."""
        return self.crossing is not None and abs(x - self.crossing[0]) < self.crossing[1] + margin

    def put(
        self, things: Thing | list[Thing], x: float, y: float, z: float, yaw: float = 0.0, gap: float = 0.3
    ) -> bool:
        """Places things that belong together if their footprints, a gap around them, are free."""
        group = things if isinstance(things, list) else [things]
        x0, x1, y0, y1 = np.array([thing.footprint() for thing in group]).T
        corners = np.array([[x0.min(), x0.min(), x1.max(), x1.max()], [y0.min(), y1.max(), y0.min(), y1.max()]])
        c, s = np.cos(yaw), np.sin(yaw)
        turned = np.array([[c, -s], [s, c]]) @ corners
        turned += np.array([[x], [y]])
        (left, low), (right, high) = turned.min(axis=1), turned.max(axis=1)
        if self.taken:
            others = np.array(self.taken)
            apart = (others[:, 0] > right + gap) | (others[:, 1] < left - gap)
            apart |= (others[:, 2] > high + gap) | (others[:, 3] < low - gap)
            if not apart.all():
                return False
        self.taken.append((left, right, low, high))
        self.always(group, x, y, z, yaw)
        return True

    def always(self, things: Thing | list[Thing], x: float, y: float, z: float, yaw: float = 0.0) -> None:
        """Places things whatever stands there."""
        group = things if isinstance(things, list) else [things]
        self.placed += [Placed(thing, x, y, z, yaw) for thing in group]


Around = Callable[[Rng, float, float], float]


def build_street(rng: Rng, world: World, index: int, forward_only: bool, sidewalk_camera: bool) -> Street:
    """Builds the ``index``-th scene of a split.

    Args:
        rng: Source of all that varies; scenes differ by it alone.
        world: The knobs.
        index: Decides by ``world.periods`` which rare things stand close to the camera.
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

    _ground(street, rng)
    _rare_things(street, rng, world, index, (1,) if forward_only else (1, -1))
    _crossing_furniture(street, rng)
    for side in (-1, 1):
        _plots(street, rng, world, side)
        _kerb(street, rng, world, side)
    _traffic(street, rng, world)
    for side in (-1, 1):
        _people(street, rng, world, side)
    _horizon(street, rng)
    return street


def camera_place(street: Street) -> tuple[float, float, float]:
    """Where the camera stands: x, y and the height of the ground."""
    x0, x1, y0, y1 = street.camera
    y = (y0 + y1) / 2
    return (x0 + x1) / 2, y, KERB if abs(y) > street.half_width else 0.0


def _spans(street: Street) -> list[tuple[float, float]]:
    """Stretches of x between the street's ends and the crossing."""
    if street.crossing is None:
        return [(-LENGTH, LENGTH)]
    middle, half = street.crossing
    return [(-LENGTH, middle - half), (middle + half, LENGTH)]


def _one(kind: str, material: str, *meshes: Mesh) -> Thing:
    thing = Thing(kind)
    thing.add(kind, material, *meshes)
    return thing


def _ground(street: Street, rng: Rng) -> None:
    """Road with its markings, verges, pavements and the land beyond, each one instance on both sides."""
    half, edge = street.half_width, street.edge
    road = _one('road', 'asphalt', slab((-LENGTH - 40, LENGTH + 40), (-half, half), (-0.3, 0)))
    dashes = np.arange(-LENGTH, LENGTH, 9.0)
    marks = [slab((x, x + 4.0), (-0.07, 0.07), (0, 0.012)) for x in dashes if not street.on_crossing(x + 2, 3)]
    if half > 6.4:
        for lane in (-half * 0.48, half * 0.48):
            marks += [slab((x, x + 3.0), (lane - 0.06, lane + 0.06), (0, 0.012)) for x in dashes + 2]
    if street.crossing is not None:
        middle, wide = street.crossing
        for way in (-1, 1):
            start = half if way > 0 else -SIDE_LENGTH - 30
            end = SIDE_LENGTH + 30 if way > 0 else -half
            road.add('road', 'asphalt', slab((middle - wide, middle + wide), (start, end), (-0.3, -0.002)))
            stop = middle + way * (wide + 4.2)
            marks.append(slab((stop - 0.2, stop + 0.2), (-half if way < 0 else 0, 0 if way < 0 else half), (0, 0.012)))
            if rng.random() < 0.8:  # a zebra crossing
                x = middle + way * (wide + 2.2)
                stripes = np.arange(-half + 0.5, half - 0.4, 1.0)
                marks += [slab((x - 1.3, x + 1.3), (y, y + 0.5), (0, 0.012)) for y in stripes]
    road.add('markings', 'marking', *marks)
    street.always(road, 0, 0, 0)
    walk, verge, land = Thing('sidewalk'), Thing('terrain'), Thing('terrain')
    for side in (-1, 1):
        for x in _spans(street):
            inner, middle = side * half, side * (half + street.verge)
            if street.verge:
                walk.add('kerb', 'kerb', slab(x, _sorted(inner, inner + side * 0.15), (-0.3, KERB)))
                verge.add('grass', 'grass', slab(x, _sorted(inner + side * 0.15, middle), (-0.3, KERB - 0.01)))
            else:
                walk.add('kerb', 'kerb', slab(x, _sorted(inner, inner + side * 0.15), (-0.3, KERB + 0.004)))
            walk.add('paving', 'paving', slab(x, _sorted(middle, side * edge), (-0.3, KERB)))
            land.add('land', 'grass', slab(x, _sorted(side * edge, side * 140), (-0.3, KERB - 0.02)))
            if street.crossing is not None:  # pavements along the crossing street
                end, way = (x[1], -1) if x[0] == -LENGTH else (x[0], 1)
                strip = _sorted(end, end + way * 2.4)
                walk.add('paving', 'paving', slab(strip, _sorted(side * edge, side * (SIDE_LENGTH + 30)), (-0.3, KERB)))
    street.always([walk, land, *([verge] if street.verge else [])], 0, 0, 0)
    street.always(_one('terrain', 'grass', slab((-500, 500), (-500, 500), (-1, -0.2))), 0, 0, 0)


def _sorted(a: float, b: float) -> tuple[float, float]:
    return (a, b) if a < b else (b, a)


def _rare_things(street: Street, rng: Rng, world: World, index: int, ways: tuple[int, ...]) -> None:
    """Things that a scene holds by its number, ahead and, for a camera that sees all, behind; tried until one fits.

    A panorama has far fewer pixels a degree, so there they stand nearer.
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


def _lane(street: Street, side: int) -> float:
    """The middle of the lane of a side, clear of parked cars."""
    return side * (street.half_width - 2.2 * street.parking[0 if side < 0 else 1]) * 0.5


def _drive(street: Street, rng: Rng, things: Thing | list[Thing], x: float, offset: float = 0.0) -> bool:
    side = int(rng.choice((-1, 1)))
    return street.put(things, x, _lane(street, side) + side * offset, 0, 0 if side < 0 else np.pi, gap=0.7)


def _rare_rider(kind: Callable[[Rng], list[Thing]]) -> Callable[[Street, Rng, Around], bool]:
    def place(street: Street, rng: Rng, around: Around) -> bool:
        side = int(rng.choice((-1, 1)))
        kerb = street.half_width - 2.2 * street.parking[0 if side < 0 else 1]
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
    facing = (np.pi if side < 0 else 0) + rng.normal(0, 0.15)  # those who drive on its side
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


def _crossing_furniture(street: Street, rng: Rng) -> None:
    if street.crossing is None or rng.random() < 0.25:
        return
    middle, wide = street.crossing
    for way in (-1, 1):
        for side in (-1, 1):
            place = (middle + way * (wide + 0.8), side * (street.half_width + 0.5))
            street.put(furniture.traffic_light(rng), *place, KERB, 0 if way > 0 else np.pi)


def _plots(street: Street, rng: Rng, world: World, side: int) -> None:
    """Fills the land along one side; each plot has a front of its own."""
    names, shares = list(world.plots), np.array(list(world.plots.values()))
    for start, end in _spans(street):
        x = start
        margin = 2.6 if street.crossing is not None else 0.0  # the pavement round the corner
        x, end = x + margin * (start > -LENGTH), end - margin * (end < LENGTH)
        while x < end - 4:
            width = min(rng.uniform(8, 20), end - x)
            name = str(rng.choice(names, p=shares / shares.sum()))
            _PLOTS[name](street, rng, world, (x + width / 2, side, width))
            x += width + (rng.uniform(1, 4) if rng.random() < 0.25 else 0.0)


Plot = tuple[float, int, float]  # middle, side and width


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


def _along(rng: Rng, density: tuple[float, float], reach: float = LENGTH) -> Iterator[float]:
    """Places along the street, on average ``density`` each 100 m, the nearer ones first."""
    count = int(rng.poisson(rng.uniform(*density) * reach / 50))
    yield from sorted(rng.uniform(-reach, reach, count), key=abs)


def _kerb(street: Street, rng: Rng, world: World, side: int) -> None:
    """Parked vehicles, and what stands on the outer edge of the pavement."""
    half, walk = street.half_width, street.half_width + street.verge
    if street.parking[0 if side < 0 else 1]:
        for x in _along(rng, world.parked_cars):
            if not street.on_crossing(x, 6):
                yaw = (0 if side < 0 else np.pi) + rng.normal(0, 0.03)
                street.put(vehicles.car(rng), x, side * (half - 1.05), 0, yaw, gap=0.6)
    inward = -np.pi / 2 if side > 0 else np.pi / 2  # from the kerb to the road
    step = 200 / max(1, rng.poisson(2 * rng.uniform(*world.lamp_posts)))
    make = furniture.utility_pole if rng.random() < 0.2 else furniture.lamp_post
    for x in np.arange(-LENGTH + rng.uniform(0, step), LENGTH, step):
        if not street.on_crossing(x, 0.5):
            street.put(make(rng), x, side * (half + 0.45), KERB, inward, gap=-0.5)
    for x in _along(rng, world.signs, 70):
        if not street.on_crossing(x, 0.5):
            facing = (np.pi if side < 0 else 0) + rng.normal(0, 0.12)
            street.put(furniture.sign(rng), x, side * (half + 0.4), KERB, facing)
    for x in _along(rng, world.street_trees):
        if not street.on_crossing(x, 2):
            street.put(
                plants.tree(rng), x, side * (half + max(0.6, street.verge / 2)), KERB, rng.uniform(0, 6), gap=-1.6
            )
    for x in _along(rng, world.bicycles, 60):
        if not street.on_crossing(x, 1):
            yaw = rng.uniform(-0.2, 0.2) + rng.choice((0, np.pi))
            y = side * (street.edge - 0.35 if rng.random() < 0.4 else walk + 0.4)
            street.put(vehicles.bicycle(rng), x, y, KERB, yaw, gap=0.1)
    for x in _along(rng, (0, 2), 50):
        if not street.on_crossing(x, 1):
            street.put(furniture.bin_(rng), x, side * (walk + 0.5), KERB)
    if rng.random() < 0.25:
        street.put(furniture.bollards(rng), rng.uniform(-25, 20), side * (walk + 0.3), KERB)


def _traffic(street: Street, rng: Rng, world: World) -> None:
    makes = (vehicles.car, vehicles.truck, vehicles.bus)
    for side in (-1, 1):
        for x in _along(rng, world.traffic):
            make = makes[int(rng.choice(3, p=(0.93, 0.04, 0.03)))]
            yaw = (0 if side < 0 else np.pi) + rng.normal(0, 0.02)
            street.put(make(rng), x, _lane(street, side) + rng.normal(0, 0.2), 0, yaw, gap=1.2)
        for x in _along(rng, (0, 2), 60):
            rider = people.cyclist if rng.random() < 0.75 else people.motorcyclist
            kerb = street.half_width - 2.2 * street.parking[0 if side < 0 else 1]
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


def _people(street: Street, rng: Rng, world: World, side: int) -> None:
    inner, outer = street.half_width + street.verge + 0.5, street.edge - 0.4
    for x in _along(rng, world.pedestrians, 60):
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


def _horizon(street: Street, rng: Rng) -> None:
    """Houses and trees that close the street, the crossing and the gaps between the plots."""
    for end in (-1, 1):
        x = end * (LENGTH + rng.uniform(8, 30))
        for y in np.arange(-40, 41, 14):
            if abs(y) < 8 and rng.random() < 0.5:
                continue  # the street goes on to the horizon
            house = buildings.building(rng, 13.9, 10, rng.uniform(6, 22), sides=False)
            street.always(house, x, y, 0, -end * np.pi / 2)
        for _ in range(6):
            place = (end * (LENGTH + rng.uniform(0, 6)), rng.uniform(-40, 40))
            street.put(plants.tree(rng), *place, KERB, gap=-1.0)
        for x in np.arange(-LENGTH, LENGTH, 24):
            back = end * (street.edge + rng.uniform(28, 45))
            if rng.random() < 0.5:
                height = rng.uniform(8, 22)
                house = buildings.building(rng, 18, 10, height, sides=False)
                if not street.on_crossing(x, 10):
                    street.always(house, x, back, KERB, 0 if end > 0 else np.pi)
            elif not street.on_crossing(x, 3):
                for _ in range(3):
                    street.put(plants.tree(rng), x + rng.uniform(-9, 9), back * 0.8, KERB, gap=-1.0)
        if street.crossing is not None:
            middle, wide = street.crossing
            for way in (-1, 1):
                for y in np.arange(street.edge + 14, SIDE_LENGTH, 15):
                    house = buildings.building(rng, 13, 9, rng.uniform(*(5, 16)), sides=False)
                    x = middle + way * (wide + 2.6)
                    # Its front looks at the crossing street.
                    if rng.random() < 0.75:
                        street.always(house, x, end * (y + 7), KERB, -way * np.pi / 2)
            if rng.random() < 0.6:
                house = buildings.building(rng, 2 * wide + 6, 9, rng.uniform(6, 18), sides=False)
                street.always(house, middle, end * (SIDE_LENGTH + 12), 0, 0 if end > 0 else np.pi)
