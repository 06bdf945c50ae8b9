"""One street: its width, lanes and crossing, and the things on it.

Right-hand traffic along x: lanes with y < 0 go towards +x. The camera stands at x = 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from toypass.things.thing import Thing

Rng = np.random.Generator
LENGTH = 110.0  # of the street ahead and behind
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
    """All things of one scene and the shape of its ground.

    Args:
        half_width: From the middle of the road to its kerb.
        verge: Width of the strip of grass at the kerb, 0 if there is none.
        sidewalk: Width of the pavement.
        crossing: x of the middle and half width of a crossing street, None if there is none.
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
        """Distance from the middle of the road to the plots."""
        return self.half_width + self.verge + self.sidewalk

    def parks(self, side: int) -> bool:
        """Whether cars are parked at a side's kerb.

        Args:
            side: -1 for the right side (y < 0), 1 for the left; of all methods.
        """
        return self.parking[0 if side < 0 else 1]

    def free_half_width(self, side: int) -> float:
        """From the middle of the road to the parked cars, or to the kerb where none are parked."""
        return self.half_width - 2.2 * self.parks(side)

    def lane(self, side: int) -> float:
        """y of the middle of a side's lane."""
        return side * self.free_half_width(side) * 0.5

    def spans(self) -> list[tuple[float, float]]:
        """Stretches of x between the ends of the street and the crossing."""
        if self.crossing is None:
            return [(-LENGTH, LENGTH)]
        middle, half = self.crossing
        return [(-LENGTH, middle - half), (middle + half, LENGTH)]

    def on_crossing(self, x: float, margin: float = 0.0) -> bool:
        """Whether x lies on the crossing street or within a margin of it."""
        return self.crossing is not None and abs(x - self.crossing[0]) < self.crossing[1] + margin

    def put(
        self, things: Thing | list[Thing], x: float, y: float, z: float, yaw: float = 0.0, gap: float = 0.3
    ) -> bool:
        """Place things that belong together, unless their footprint or a gap around it is taken.

        Args:
            things: In axes of their own.
            x, y, z: Where their origin is placed.
            yaw: Radians, counter-clockwise from above.
            gap: Free space around the footprint; negative lets footprints overlap.

        Returns:
            Whether the things were placed.
        """
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
        """Place things without a check that the place is free."""
        group = things if isinstance(things, list) else [things]
        self.placed += [Placed(thing, x, y, z, yaw) for thing in group]


def along(rng: Rng, density: tuple[float, float], reach: float = LENGTH) -> Iterator[float]:
    """Draw values of x, ``density`` per 100 m on average, the nearest to the camera first."""
    count = int(rng.poisson(rng.uniform(*density) * reach / 50))
    yield from sorted(rng.uniform(-reach, reach, count).tolist(), key=abs)
