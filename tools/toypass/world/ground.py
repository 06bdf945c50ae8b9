"""The ground of a street: road with its markings, kerbs, pavements, verges and the land beyond."""

from __future__ import annotations

import numpy as np

from toypass.things.shapes import Mesh, slab
from toypass.things.thing import Thing
from toypass.world.street import KERB, LENGTH, SIDE_LENGTH, Rng, Street


def lay_ground(street: Street, rng: Rng) -> None:
    """Place the road, the pavements, the verges and the land beyond, each one instance on both sides."""
    street.always(_road(street, rng), 0, 0, 0)
    street.always(_borders(street), 0, 0, 0)
    street.always(_one('terrain', 'grass', slab((-500, 500), (-500, 500), (-1, -0.2))), 0, 0, 0)


def _road(street: Street, rng: Rng) -> Thing:
    """The road and the crossing street, with lane dashes, stop lines and zebra crossings."""
    half = street.half_width
    road = _one('road', 'asphalt', slab((-LENGTH - 40, LENGTH + 40), (-half, half), (-0.3, 0)))
    dashes = np.arange(-LENGTH, LENGTH, 9.0).tolist()
    marks = [slab((x, x + 4.0), (-0.07, 0.07), (0, 0.012)) for x in dashes if not street.on_crossing(x + 2, 3)]
    if half > 6.4:
        for lane in (-half * 0.48, half * 0.48):
            marks += [slab((x, x + 3.0), (lane - 0.06, lane + 0.06), (0, 0.012)) for x in (dash + 2 for dash in dashes)]
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
                stripes = np.arange(-half + 0.5, half - 0.4, 1.0).tolist()
                marks += [slab((x - 1.3, x + 1.3), (y, y + 0.5), (0, 0.012)) for y in stripes]
    road.add('markings', 'marking', *marks)
    return road


def _borders(street: Street) -> list[Thing]:
    """Kerbs and pavements, the land beyond them, and the verges where there are any."""
    half, edge = street.half_width, street.edge
    walk, verge, land = Thing('sidewalk'), Thing('terrain'), Thing('terrain')
    for side in (-1, 1):
        for x in street.spans():
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
    return [walk, land, *([verge] if street.verge else [])]


def _one(kind: str, material: str, *meshes: Mesh) -> Thing:
    thing = Thing(kind)
    thing.add(kind, material, *meshes)
    return thing


def _sorted(a: float, b: float) -> tuple[float, float]:
    return (a, b) if a < b else (b, a)
