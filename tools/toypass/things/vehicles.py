"""Cars, trucks, buses, trams, motorcycles and bicycles, each about its own centre and facing +x."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from toypass.things.shapes import ball, box, cylinder, prism, ring, tube
from toypass.things.thing import Thing

Rng = np.random.Generator


def car(rng: Rng) -> Thing:
    """A saloon, a hatchback or a van."""
    thing = Thing('car')
    body = rng.choice(3, p=(0.4, 0.38, 0.22))
    length, width = rng.uniform((4.3, 3.7, 4.4)[body], (4.9, 4.2, 5.2)[body]), rng.uniform(1.7, 1.9)
    waist, top = ((0.92, 1.45), (0.95, 1.52), (1.05, 2.0))[body]
    top *= rng.uniform(0.96, 1.05)
    front, back = length / 2, -length / 2
    nose = (0.24, 0.22, 0.13)[body] * length  # bonnet, then where the windscreen stands
    tail = (0.13, 0.02, 0.02)[body] * length
    profile = [(back, 0.25), (front, 0.25), (front, 0.62), (front - nose, waist), (back + tail, waist)]
    thing.add('body', 'car paint', prism([*profile, (back, waist - 0.06)], width))
    slope = (0.17, 0.16, 0.10)[body] * length
    base = (back + tail + 0.03, front - nose - 0.02)
    roof = (back + tail + slope * (1.1, 0.5, 0.25)[body], front - nose - slope)
    cabin = [(base[0], waist), (base[1], waist), (roof[1], top - 0.05), (roof[0], top - 0.05)]
    thing.add('windows', 'car glass', prism(cabin, width - 0.14))
    thing.add('body', 'car paint', box((roof[1] - roof[0] + 0.1, width - 0.16, 0.07), (sum(roof) / 2, 0, top - 0.03)))
    middle = base[0] * 0.5 + base[1] * 0.5
    for side in (-1, 1):
        y = side * (width / 2 - 0.07)
        for x in (middle, *(() if body == 1 else (base[0] * 0.8 + base[1] * 0.2,))):
            thing.add('body', 'car paint', box((0.1, 0.03, top - waist - 0.05), (x, y, (top + waist) / 2 - 0.03)))
        thing.add(
            'body', 'car paint', box((0.18, 0.2, 0.13), (base[1] - 0.25, side * (width / 2 + 0.06), waist + 0.06))
        )
        for x in (front - 0.8, back + 0.75):
            thing.add('wheels', 'tyre', cylinder(0.33, 0.22, (x, side * (width / 2 - 0.1), 0.33), 'y', 14))
            thing.add('wheels', 'hub', cylinder(0.2, 0.24, (x, side * (width / 2 - 0.1), 0.33), 'y', 10))
        thing.add('lights', 'headlight', box((0.08, 0.36, 0.14), (front, side * (width / 2 - 0.26), 0.66)))
        thing.add('lights', 'tail light', box((0.08, 0.3, 0.17), (back, side * (width / 2 - 0.22), 0.74)))
    for x in (front, back):
        thing.add('body', 'dark plastic', box((0.06, width * 0.92, 0.2), (x, 0, 0.36)))
        thing.add('plate', 'sign white', box((0.1, 0.5, 0.11), (x, 0, 0.5)))
    return thing


def _wheel_pairs(thing: Thing, places: list[float], width: float, radius: float) -> None:
    for x in places:
        for side in (-1, 1):
            thing.add('wheels', 'tyre', cylinder(radius, 0.3, (x, side * (width / 2 - 0.15), radius), 'y', 14))
            thing.add('wheels', 'hub', cylinder(radius * 0.55, 0.32, (x, side * (width / 2 - 0.15), radius), 'y', 10))


def truck(rng: Rng) -> Thing:
    """A lorry: a cab, and a box, a flat bed or a tipper behind it."""
    thing = Thing('truck')
    length, width, height = rng.uniform(6.0, 8.5), rng.uniform(2.3, 2.5), rng.uniform(2.8, 3.5)
    front, cab_length = length / 2, rng.uniform(1.7, 2.1)
    cab_top = rng.uniform(2.4, 2.8)
    cab = [
        (front - cab_length, 0.5),
        (front, 0.5),
        (front, 1.4),
        (front - 0.25, cab_top),
        (front - cab_length, cab_top),
    ]
    thing.add('cab', 'truck paint', prism(cab, width * 0.96))
    thing.add('windows', 'car glass', box((0.1, width * 0.84, 0.75), (front - 0.1, 0, cab_top - 0.62)))
    for side in (-1, 1):
        thing.add('windows', 'car glass', box((0.8, 0.05, 0.6), (front - 0.8, side * width * 0.475, cab_top - 0.6)))
        thing.add(
            'cab', 'dark plastic', box((0.12, 0.22, 0.5), (front - 0.1, side * (width / 2 + 0.12), cab_top - 0.6))
        )
        thing.add('lights', 'headlight', box((0.08, 0.34, 0.2), (front, side * (width / 2 - 0.35), 0.75)))
        thing.add('lights', 'tail light', box((0.08, 0.25, 0.2), (-front, side * (width / 2 - 0.3), 0.75)))
    thing.add('cab', 'dark plastic', box((0.08, width * 0.9, 0.3), (front, 0, 0.62)))
    thing.add('chassis', 'dark plastic', box((length - 0.3, 0.9, 0.3), (-0.1, 0, 0.65)))
    bed = length - cab_length - 0.15
    middle = -front + bed / 2
    load = rng.choice(3, p=(0.6, 0.2, 0.2))
    if load == 0:
        thing.add('load', 'truck box', box((bed, width, height - 0.85), (middle, 0, (height + 0.85) / 2)))
        stripe = box((bed * 0.8, width + 0.03, 0.35), (middle, 0, 0.6 * height))
        thing.add('load', 'truck stripe', stripe)
    elif load == 1:
        thing.add('load', 'truck box', box((bed, width, 0.8), (middle, 0, 1.25)))
        thing.add('load', 'timber', *(box((bed * 0.9, 0.5, 0.5), (middle, y, 1.75)) for y in (-0.7, 0, 0.7)))
    else:
        thing.add('load', 'truck box', box((bed, width, 1.3), (middle, 0, 1.5), (1.0, 1.0)))
        thing.add('load', 'soil', box((bed * 0.92, width * 0.9, 0.4), (middle, 0, 2.3), (0.5, 0.4)))
    _wheel_pairs(thing, [front - 1.0, -front + 1.0, -front + 2.1], width, 0.48)
    return thing


def _carriage(thing: Thing, x: float, length: float, width: float, floor: float, top: float, paint: str) -> None:
    """A box of a bus or tram with a band of windows and a band of another colour below."""
    thing.add('body', paint, box((length, width, top - floor), (x, 0, (top + floor) / 2), (0.995, 0.93)))
    glass = top - 0.55 * (top - floor)
    panes = max(3, round(length / 1.7))
    step = (length - 0.5) / panes
    for i in range(panes):
        place = (x - length / 2 + 0.25 + (i + 0.5) * step, 0, glass + 0.18 * (top - floor))
        thing.add('windows', 'car glass', box((step * 0.88, width + 0.02, 0.38 * (top - floor)), place, (1, 0.97)))
    thing.add(
        'body', 'band', box((length * 0.98, width + 0.03, 0.14 * (top - floor)), (x, 0, floor + 0.2 * (top - floor)))
    )


def bus(rng: Rng) -> Thing:
    """A city bus."""
    thing = Thing('bus')
    length, width, top = rng.uniform(8.5, 11.5), 2.5, rng.uniform(2.9, 3.2)
    _carriage(thing, 0, length, width, 0.35, top, 'bus paint')
    front = length / 2
    thing.add('windows', 'car glass', box((0.12, width * 0.86, 1.3), (front - 0.02, 0, top - 1.25)))
    thing.add('windows', 'car glass', box((0.12, width * 0.7, 0.8), (-front + 0.02, 0, top - 0.95)))
    thing.add('display', 'lamp amber', box((0.16, width * 0.6, 0.24), (front - 0.02, 0, top - 0.28)))
    for x in (front - 1.0, -0.3):
        thing.add('doors', 'car glass', box((1.1, 0.06, 2.0), (x, -width / 2 - 0.01, 1.45)))
    for side in (-1, 1):
        thing.add('lights', 'headlight', box((0.08, 0.34, 0.18), (front, side * 0.9, 0.7)))
        thing.add('lights', 'tail light', box((0.08, 0.2, 0.4), (-front, side * 1.05, 0.9)))
        thing.add('body', 'dark plastic', box((0.12, 0.16, 0.4), (front + 0.15, side * (width / 2 + 0.12), top - 0.9)))
    _wheel_pairs(thing, [front - 2.4, -front + 2.6], width, 0.48)
    return thing


def tram(rng: Rng) -> Thing:
    """A tram, which Cityscapes calls a train: two or three carriages with joints and a pantograph."""
    thing = Thing('train')
    count = int(rng.integers(2, 4))
    length, width, top = rng.uniform(6.0, 7.5), 2.4, rng.uniform(3.2, 3.5)
    total = count * length + (count - 1) * 0.5
    for i in range(count):
        x = -total / 2 + length / 2 + i * (length + 0.5)
        _carriage(thing, x, length, width, 0.35, top, 'tram paint')
        if i:
            thing.add('joint', 'dark plastic', box((0.6, width * 0.85, top - 0.8), (x - length / 2 - 0.25, 0, 1.95)))
        for axle in (-length * 0.28, length * 0.28):
            thing.add('wheels', 'dark plastic', box((1.6, width * 0.8, 0.4), (x + axle, 0, 0.3)))
    for end in (-1, 1):
        thing.add('windows', 'car glass', box((0.12, width * 0.82, 1.2), (end * (total / 2), 0, top - 1.15)))
        thing.add('lights', 'headlight', *(box((0.1, 0.25, 0.2), (end * total / 2, y, 0.95)) for y in (-0.8, 0.8)))
    thing.add('display', 'lamp amber', box((0.16, width * 0.5, 0.22), (total / 2, 0, top - 0.3)))
    arm = ((0.0, 0.0, top), (0.9, 0.0, top + 0.6), (0.0, 0.0, top + 1.1))
    for low, high in pairwise(arm):
        thing.add('pantograph', 'pole metal', tube(low, high, 0.05))
    thing.add('pantograph', 'pole metal', tube((0, -0.8, top + 1.1), (0, 0.8, top + 1.1), 0.05))
    return thing


def motorcycle(rng: Rng) -> Thing:
    """A motorcycle or scooter; parked unless a rider is put on it."""
    thing = Thing('motorcycle')
    radius = rng.uniform(0.29, 0.33)
    rear, front = (-0.68, 0, radius), (0.72, 0, radius)
    for hub in (rear, front):
        thing.add('wheels', 'tyre', ring(radius - 0.06, 0.065, hub))
        thing.add('wheels', 'hub', cylinder(radius * 0.55, 0.08, hub, 'y', 10))
    thing.add('body', 'dark plastic', box((0.62, 0.34, 0.36), (0.0, 0, 0.45)))
    thing.add('body', 'motorcycle paint', ball((0.34, 0.17, 0.17), (0.18, 0, 0.82)))
    thing.add('body', 'motorcycle paint', ball((0.3, 0.15, 0.12), (-0.55, 0, 0.80)))
    thing.add('seat', 'dark plastic', box((0.62, 0.26, 0.11), (-0.32, 0, 0.84)))
    thing.add('body', 'hub', tube((0.44, 0, 1.0), (0.72, 0, radius), 0.05))
    thing.add('body', 'motorcycle paint', box((0.38, 0.16, 0.06), (0.72, 0, 2 * radius + 0.03)))
    thing.add('handlebar', 'dark plastic', tube((0.4, -0.36, 1.06), (0.4, 0.36, 1.06), 0.035))
    thing.add('lights', 'headlight', ball((0.09, 0.1, 0.1), (0.56, 0, 0.94)))
    thing.add('body', 'hub', cylinder(0.06, 0.8, (-0.35, -0.2, 0.36), 'x', 8))
    if rng.random() < 0.4:  # a scooter's or tourer's screen and case
        thing.add('body', 'motorcycle paint', box((0.06, 0.42, 0.6), (0.46, 0, 0.75)))
        thing.add('body', 'dark plastic', box((0.34, 0.36, 0.3), (-0.8, 0, 1.02)))
    return thing


def bicycle(rng: Rng) -> Thing:
    """A bicycle with rings for wheels, spokes and a tube frame."""
    thing = Thing('bicycle')
    radius = rng.uniform(0.32, 0.36)
    rear, front = np.array((-0.52, 0, radius)), np.array((0.54, 0, radius))
    for hub in (rear, front):
        thing.add('wheels', 'tyre', ring(radius - 0.03, 0.035, hub))
        for angle in np.arange(6) * np.pi / 6:
            arm = (radius - 0.04) * np.array((np.cos(angle), 0, np.sin(angle)))
            thing.add('wheels', 'hub', tube(hub - arm, hub + arm, 0.009, 4))
        if rng.random() < 0.6:
            thing.add('frame', 'bicycle paint', box((0.46, 0.07, 0.03), hub + np.array((0, 0, radius + 0.04))))
    crank, seat, head = (-0.05, 0, 0.3), (-0.2, 0, 0.86), (0.38, 0, 0.85)
    tubes: list[tuple[ArrayLike, ArrayLike]] = [
        (rear, crank),
        (rear, seat),
        (crank, seat),
        (crank, head),
        (seat, head),
        (head, front),
    ]
    thing.add('frame', 'bicycle paint', *(tube(start, end, 0.032) for start, end in tubes))
    thing.add('frame', 'hub', cylinder(0.1, 0.04, crank, 'y', 10))
    thing.add('handlebar', 'dark plastic', tube((0.36, -0.3, 1.02), (0.36, 0.3, 1.02), 0.022))
    thing.add('handlebar', 'dark plastic', tube(head, (0.36, 0, 1.02), 0.025))
    thing.add('saddle', 'dark plastic', box((0.28, 0.16, 0.07), (-0.22, 0, 0.93)))
    if rng.random() < 0.35:
        thing.add('basket', 'timber', box((0.3, 0.34, 0.24), (0.62, 0, 0.92), (1.1, 1.1)))
    return thing
