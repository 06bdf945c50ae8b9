"""Houses: storeys of windows, doors, balconies, gabled or flat roofs."""

from __future__ import annotations

import numpy as np

from toypass.things.shapes import Mesh, box, cylinder, prism
from toypass.things.thing import Thing

Rng = np.random.Generator


def building(rng: Rng, width: float, depth: float, height: float, sides: bool = True) -> Thing:
    """A house whose front is the line y = 0, facing -y, centred on x = 0 and reaching back to y = depth.

    Args:
        rng: Source of all that varies.
        width, depth, height: In metres, without the roof.
        sides: Whether the side walls have windows too, for a house with a gap beside it.
    """
    thing = Thing('building')
    facade = str(rng.choice(['plaster', 'brick', 'concrete'], p=(0.6, 0.28, 0.12)))
    thing.add('facade', facade, box((width, depth, height), (0, depth / 2, height / 2)))
    ground = rng.uniform(3.0, 4.0)
    storeys = max(1, int((height - ground) / rng.uniform(2.7, 3.2)) + 1)
    storey = (height - ground - 0.4) / max(1, storeys - 1)
    shop = rng.random() < 0.35
    bay = rng.uniform(2.0, 3.4)
    size = (rng.uniform(0.4, 0.65) * bay, rng.uniform(0.5, 0.62) * min(storey, 3.2) if storeys > 1 else 1.4)
    frame = 'window frame' if rng.random() < 0.7 else 'dark plastic'
    count = max(1, int((width - 0.8) / bay))
    places = (np.arange(count) - (count - 1) / 2) * (width - 0.8) / count
    door = int(rng.integers(count))
    for i, x in enumerate(places):
        if i == door:
            thing.add('doors', 'door', box((1.2, 0.08, 2.3), (x, -0.03, 1.15)))
        elif shop:
            pane = (width - 0.8) / count * 0.86
            thing.add('windows', 'window', box((pane, 0.06, ground - 1.0), (x, -0.03, ground / 2)))
            thing.add('facade', frame, box((pane + 0.12, 0.12, 0.12), (x, -0.05, 0.42)))
        else:
            _window(thing, (x, 0, 1.75), size, frame)
        for level in range(1, storeys):
            _window(thing, (x, 0, ground + (level - 0.5) * storey), size, frame)
    if shop:
        thing.add('shop front', 'awning', box((width * 0.92, 0.16, 0.5), (0, -0.07, ground - 0.2)))
        if rng.random() < 0.5:
            slope = [(-1.3, ground - 0.9), (0, ground - 0.3), (0, ground - 0.22), (-1.3, ground - 0.82)]
            thing.add('shop front', 'awning', _across(prism(slope, width * 0.8)))
    if storeys > 2 and rng.random() < 0.35:
        _balconies(thing, rng, places, ground, storey, storeys, size[0])
    if sides:
        rows = max(1, int((depth - 1) / bay))
        for y in 0.5 + (np.arange(rows) + 0.5) * (depth - 1) / rows:
            for level in range(storeys):
                z = 1.75 if level == 0 else ground + (level - 0.5) * storey
                for x in (-width / 2, width / 2):
                    thing.add('windows', 'window', box((0.08, size[0], size[1]), (x, y, z)))
    for level in range(1, storeys if rng.random() < 0.5 else 1):
        z = ground + (level - 1) * storey
        thing.add('facade', 'window frame', box((width + 0.06, 0.12, 0.16), (0, -0.02, z)))
    _roof(thing, rng, width, depth, height)
    return thing


def _window(thing: Thing, centre: tuple[float, float, float], size: tuple[float, float], frame: str) -> None:
    x, y, z = centre
    thing.add('facade', frame, box((size[0] + 0.16, 0.06, size[1] + 0.16), (x, y - 0.01, z)))
    thing.add('windows', 'window', box((size[0], 0.1, size[1]), (x, y - 0.01, z)))
    thing.add('facade', 'window frame', box((size[0] + 0.3, 0.2, 0.08), (x, y - 0.06, z - size[1] / 2 - 0.1)))


def _across(mesh: Mesh) -> Mesh:
    """Turn a prism of the x-z plane so that its profile lies in the y-z plane."""
    return mesh._replace(vertices=mesh.vertices[:, [1, 0, 2]], faces=mesh.faces[:, ::-1])


def _balconies(
    thing: Thing, rng: Rng, places: np.ndarray, ground: float, storey: float, storeys: int, window: float
) -> None:
    chosen = places[rng.random(len(places)) < 0.5]
    for level in range(1, storeys):
        z = ground + (level - 1) * storey + 0.1
        for x in chosen:
            wide = window + 0.9
            thing.add('balconies', 'concrete', box((wide, 1.0, 0.15), (x, -0.5, z)))
            thing.add('balconies', 'fence metal', box((wide, 0.05, 0.9), (x, -0.98, z + 0.5)))


def _roof(thing: Thing, rng: Rng, width: float, depth: float, height: float) -> None:
    style = int(rng.choice(3, p=(0.45, 0.2, 0.35)))
    if style == 0:  # the ridge along the street
        rise = min(depth * 0.35, 4.0)
        profile = [(-0.4, height - 0.05), (depth + 0.4, height - 0.05), (depth / 2, height + rise)]
        thing.add('roof', 'roof', _across(prism(profile, width + 0.1)))
    elif style == 1:  # a gable towards the street
        rise = min(width * 0.35, 4.0)
        profile = [(-width / 2 - 0.2, height - 0.05), (width / 2 + 0.2, height - 0.05), (0, height + rise)]
        gable = prism(profile, depth + 0.1)
        thing.add('roof', 'roof', gable._replace(vertices=gable.vertices + np.array((0, depth / 2, 0))))
    else:
        thing.add('roof', 'concrete', box((width + 0.2, depth + 0.2, 0.4), (0, depth / 2, height + 0.2)))
        if rng.random() < 0.4:
            thing.add(
                'roof', 'concrete', box((2.5, 2.5, 2.2), (rng.uniform(-0.3, 0.3) * width, depth / 2, height + 1.2))
            )
    if style < 2:
        x = rng.uniform(-0.4, 0.4) * width
        thing.add('roof', 'brick', box((0.8, 0.8, 3.2), (x, depth * 0.4, height + 1.6)))
        thing.add('roof', 'roof', cylinder(0.14, 0.5, (x, depth * 0.4, height + 3.4), sections=8))
