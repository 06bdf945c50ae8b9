"""Street furniture: lamp posts, signs, traffic lights, fences, walls, and the void things that no class names."""

from __future__ import annotations

import numpy as np

from toypass.things.shapes import ball, box, cylinder, tube
from toypass.things.thing import VOID, Thing

Rng = np.random.Generator


def lamp_post(rng: Rng) -> Thing:
    """A post with one arm towards +x, or a short old one with a globe."""
    thing = Thing('pole')
    if rng.random() < 0.3:
        tall = rng.uniform(3.2, 4.2)
        thing.add('post', 'pole metal', cylinder(0.08, tall, (0, 0, tall / 2)))
        thing.add('post', 'pole metal', cylinder(0.14, 0.5, (0, 0, 0.25)))
        thing.add('lamp', 'lamp', ball((0.24, 0.24, 0.28), (0, 0, tall + 0.2)))
        return thing
    tall, arm = rng.uniform(5.5, 8.5), rng.uniform(0.8, 2.0)
    thing.add(
        'post', 'pole metal', cylinder(0.1, tall, (0, 0, tall / 2)), tube((0, 0, tall), (arm, 0, tall + 0.3), 0.06)
    )
    thing.add('post', 'pole metal', cylinder(0.15, 1.0, (0, 0, 0.5)))
    thing.add('lamp', 'lamp', box((0.7, 0.28, 0.14), (arm, 0, tall + 0.3)))
    return thing


def utility_pole(rng: Rng) -> Thing:
    """A wooden mast with a crossbar."""
    thing = Thing('pole')
    tall = rng.uniform(6.5, 9.0)
    thing.add('post', 'timber', cylinder(0.14, tall, (0, 0, tall / 2)), box((0.14, 2.0, 0.14), (0, 0, tall - 0.6)))
    thing.add('post', 'dark plastic', *(cylinder(0.05, 0.2, (0, y, tall - 0.43)) for y in (-0.85, -0.35, 0.35, 0.85)))
    return thing


def bollards(rng: Rng) -> list[Thing]:
    """A row along x."""
    row, tall = [], rng.uniform(0.8, 1.05)
    for i in range(int(rng.integers(3, 7))):
        thing = Thing('pole')
        thing.add('post', 'pole metal', cylinder(0.07, tall, (i * 1.4, 0, tall / 2), sections=8))
        row.append(thing)
    return row


# Outline, and the material of the border and of the symbol.
_SIGNS = {
    'round': ('sign red', 'sign white', 'sign black'),
    'speed': ('sign red', 'sign white', 'sign black'),
    'triangle': ('sign red', 'sign white', 'sign black'),
    'stop': ('sign red', 'sign red', 'sign white'),
    'square': ('sign white', 'sign blue', 'sign white'),
    'diamond': ('sign white', 'sign yellow', 'sign yellow'),
    'direction': ('sign white', 'sign blue', 'sign white'),
    'guide': ('sign white', 'sign green', 'sign white'),
}
_SECTIONS = {'round': 20, 'speed': 20, 'triangle': 3, 'stop': 8, 'square': 4, 'diamond': 4}


def sign(rng: Rng) -> list[Thing]:
    """A post (class pole) and one or two plates facing +x (class traffic sign)."""
    post = Thing('pole')
    tall = rng.uniform(2.3, 3.1)
    post.add('post', 'pole metal', cylinder(0.045, tall, (0, 0, tall / 2), sections=8))
    plates, height = [], tall
    for _ in range(1 if rng.random() < 0.65 else 2):
        kind = str(rng.choice(list(_SIGNS)))
        size = rng.uniform(0.34, 0.5) if kind in _SECTIONS else rng.uniform(0.7, 1.1)
        plate = Thing('traffic sign')
        rim, face, symbol = _SIGNS[kind]
        centre = np.array((0.06, 0, height - size * 0.55))
        if kind in _SECTIONS:
            for radius, depth, paint in ((size, 0.03, rim), (size * 0.82, 0.045, face)):
                disc = cylinder(radius, depth, (0, 0, 0), 'x', _SECTIONS[kind])
                # trimesh's polygon has a corner on its first axis, which has become -z.
                roll = {'triangle': np.pi, 'stop': np.pi / 8, 'square': np.pi / 4}.get(kind, 0.0)
                c, s = np.cos(roll), np.sin(roll)
                turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
                plate.add('plate', paint, disc._replace(vertices=disc.vertices @ turn.T + centre))
            if kind != 'diamond':
                wide, tall_mark = ((0.9, 0.28), (0.25, 0.8), (0.6, 0.6))[int(rng.integers(3))]
                mark = box((0.06, wide * size, tall_mark * size), centre - (0, 0, 0.12 * size * (kind == 'triangle')))
                plate.add('plate', symbol, mark._replace(vertices=(mark.vertices - centre) * (1, 0.75, 0.75) + centre))
        else:
            wide, high = size, size * rng.uniform(0.35, 0.6)
            centre[2] = height - high / 2
            plate.add('plate', rim, box((0.03, wide, high), centre))
            plate.add('plate', face, box((0.045, wide * 0.94, high * 0.88), centre))
            for line in (-0.2, 0.2):
                plate.add('plate', symbol, box((0.06, wide * 0.7, high * 0.14), centre + np.array((0, 0, line * high))))
        plate.add('back', 'sign back', box((0.02, size * 0.3, size * 0.3), centre - (0.03, 0, 0)))
        plates.append(plate)
        height -= size * (2.1 if kind in _SECTIONS else 0.7)
    return [post, *plates]


def traffic_light(rng: Rng) -> list[Thing]:
    """A post (class pole) and one or two lanterns facing +x (class traffic light), one perhaps on an arm over the road.

    The arm goes towards +y.
    """
    post = Thing('pole')
    arm = rng.uniform(2.0, 4.0) if rng.random() < 0.5 else 0.0
    tall = 5.2 if arm else rng.uniform(2.9, 3.4)
    post.add('post', 'pole metal', cylinder(0.085, tall, (0, 0, tall / 2), sections=10))
    places = [(0.0, 2.75)]
    if arm:
        post.add('post', 'pole metal', tube((0, 0, tall - 0.1), (0, arm, tall - 0.1), 0.06))
        places.append((arm, tall - 0.55))
    state = int(rng.choice(3, p=(0.45, 0.1, 0.45)))
    lanterns = []
    for y, z in places:
        lantern = Thing('traffic light')
        lantern.add('housing', 'lantern', box((0.26, 0.36, 1.05), (0.16, y, z)))
        lantern.add('housing', 'lantern', box((0.03, 0.52, 1.2), (0.1, y, z)))
        for i, colour in enumerate(('red', 'amber', 'green')):
            paint = f'lamp {colour}' if i == state else 'lamp off'
            lantern.add('lamps', paint, cylinder(0.125, 0.06, (0.3, y, z + 0.33 * (1 - i)), 'x', 14))
        lanterns.append(lantern)
    if rng.random() < 0.6:  # for those on foot, on the side of the post
        small = Thing('traffic light')
        small.add('housing', 'lantern', box((0.3, 0.24, 0.6), (0, -0.22, 2.1)))
        small.add('lamps', 'lamp red' if state == 2 else 'lamp off', cylinder(0.1, 0.05, (0, -0.36, 2.24), 'y', 12))
        small.add('lamps', 'lamp off' if state == 2 else 'lamp green', cylinder(0.1, 0.05, (0, -0.36, 1.96), 'y', 12))
        lanterns.append(small)
    return [post, *lanterns]


def fence(rng: Rng, length: float) -> Thing:
    """A fence along x: pickets, rails between posts, or bars of iron."""
    thing = Thing('fence')
    style = int(rng.choice(3, p=(0.45, 0.25, 0.3)))
    tall = rng.uniform(1.1, 1.9)
    paint = ('fence wood', 'fence wood', 'fence metal')[style]
    ends = np.linspace(-length / 2, length / 2, max(2, round(length / 2.2) + 1)).tolist()
    thing.add('posts', paint, *(box((0.12, 0.12, tall + 0.1), (x, 0, tall / 2)) for x in ends))
    rails = {0: (0.3, 0.8), 1: (0.25, 0.5, 0.75, 0.97), 2: (0.15, 0.92)}[style]
    thick = 0.16 if style == 1 else 0.08
    thing.add('rails', paint, *(box((length, 0.06, thick), (0, 0, tall * z)) for z in rails))
    if style != 1:
        width, gap = ((0.13, 0.19), (0, 0), (0.04, 0.14))[style]
        places = np.arange(-length / 2 + gap, length / 2, gap).tolist()
        thing.add('bars', paint, *(box((width, 0.04, tall * 0.96), (x, 0.04, tall * 0.5)) for x in places))
    return thing


def wall(rng: Rng, length: float) -> Thing:
    """A free-standing wall along x with a coping."""
    thing = Thing('wall')
    tall = rng.uniform(1.3, 2.8)
    material = str(rng.choice(['wall brick', 'wall stone', 'concrete']))
    thing.add('wall', material, box((length, 0.3, tall), (0, 0, tall / 2)))
    thing.add('coping', 'concrete', box((length + 0.1, 0.42, 0.12), (0, 0, tall + 0.06)))
    for x in np.arange(-length / 2, length / 2 + 0.1, max(4.0, length / 4)).tolist():
        thing.add('pillars', material, box((0.5, 0.46, tall + 0.15), (x, 0, tall / 2)))
    return thing


def bench(rng: Rng) -> Thing:
    """A bench facing +y; void, as in Cityscapes."""
    thing = Thing(VOID)
    thing.add('bench', 'timber', box((1.7, 0.45, 0.07), (0, 0, 0.46)), box((1.7, 0.07, 0.42), (0, -0.22, 0.74)))
    thing.add('bench', 'dark plastic', *(box((0.08, 0.42, 0.44), (x, 0, 0.22)) for x in (-0.7, 0.7)))
    return thing


def bin_(rng: Rng) -> Thing:
    """A litter bin; void, as in Cityscapes."""
    thing = Thing(VOID)
    tall = rng.uniform(0.75, 1.1)
    thing.add('bin', 'bin paint', cylinder(0.27, tall, (0, 0, tall / 2)))
    thing.add('bin', 'dark plastic', cylinder(0.29, 0.1, (0, 0, tall)))
    return thing
