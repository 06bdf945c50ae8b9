"""People on foot, and riders, who are a class of their own on a bicycle or motorcycle that keeps its class."""

from __future__ import annotations

import numpy as np

from toypass.things.shapes import Mesh, ball, box, tube
from toypass.things.thing import Thing
from toypass.things.vehicles import bicycle, motorcycle

Rng = np.random.Generator


def _clothes(rng: Rng) -> tuple[str, str]:
    return str(rng.choice(['cloth bright', 'cloth dark', 'cloth light'])), str(rng.choice(['jeans', 'cloth dark']))


def person(rng: Rng) -> Thing:
    """Someone standing or walking, sometimes a child, sometimes with a bag."""
    thing = Thing('person')
    tall = rng.normal(1.72, 0.08) if rng.random() < 0.88 else rng.uniform(1.05, 1.4)
    upper, lower = _clothes(rng)
    stride = rng.uniform(0.0, 0.28) * tall / 1.7
    broad = rng.uniform(0.9, 1.15) * 0.23 * tall / 1.7
    hip, shoulder, swing = 0.5 * tall, 0.82 * tall, rng.choice((-1, 1))
    for side in (-1, 1):
        foot = (swing * side * stride, side * broad * 0.5, 0.05)
        knee = (swing * side * stride * 0.5 + 0.04, side * broad * 0.5, 0.27 * tall)
        top = (0, side * broad * 0.45, hip)
        thing.add('legs', lower, tube(top, knee, 0.078 * tall / 1.7), tube(knee, foot, 0.062 * tall / 1.7))
        thing.add('legs', 'shoe', box((0.25 * tall / 1.7, 0.09, 0.08), (foot[0] + 0.05, foot[1], 0.04)))
        hand = (-swing * side * stride * 0.8, side * (broad + 0.07), hip - 0.02)
        thing.add('torso', upper, tube((0, side * broad, shoulder), hand, 0.052 * tall / 1.7))
        thing.add('head', 'skin', ball((0.05, 0.045, 0.06), hand))
    thing.add('torso', upper, _torso(hip, shoulder, broad))
    _head(thing, rng, (0.02, 0, 0.925 * tall), tall)
    if rng.random() < 0.3:
        bag = (-0.2, 0, 0.7 * tall) if rng.random() < 0.5 else (0, broad + 0.13, 0.45 * tall)
        thing.add('bag', 'cloth bright', box((0.18, 0.3, 0.4), bag))
    if rng.random() < 0.2:
        thing.add('torso', upper, box((0.3, 2.1 * broad, 0.45), (0, 0, hip - 0.15), (0.7, 0.8)))  # coat or skirt
    return thing


def _torso(hip: float, shoulder: float, broad: float) -> Mesh:
    return box((0.24, 1.7 * broad, shoulder - hip + 0.08), (0, 0, (shoulder + hip) / 2), (1, 1.2))


def _head(thing: Thing, rng: Rng, centre: tuple[float, float, float], tall: float = 1.7) -> None:
    size = 0.115 * tall / 1.7
    thing.add('head', 'skin', ball((size, size * 0.85, size * 1.15), centre))
    above = (centre[0] - 0.02, 0, centre[2] + 0.035)
    thing.add('head', 'hair', ball((size * 1.05, size * 0.95, size * 1.05), above))


def _rider(rng: Rng, hip: float, seat: float, hand: tuple[float, float, float], foot: float, helmet: bool) -> Thing:
    thing = Thing('rider')
    upper, lower = _clothes(rng)
    lean = rng.uniform(0.1, 0.35)
    shoulder = np.array((seat + lean, 0, hip + 0.52))
    for side in (-1, 1):
        knee = (seat + 0.36, side * 0.15, hip - 0.22 + side * 0.06)
        thing.add('legs', lower, tube((seat, side * 0.11, hip), knee, 0.08))
        thing.add('legs', lower, tube(knee, (seat + 0.2, side * 0.13, foot + 0.05 + side * 0.06), 0.064))
        thing.add('legs', 'shoe', box((0.26, 0.1, 0.09), (seat + 0.25, side * 0.13, foot + side * 0.06)))
        thing.add(
            'torso', upper, tube(shoulder + np.array((0, side * 0.21, 0)), (hand[0], side * hand[1], hand[2]), 0.055)
        )
        thing.add('head', 'skin', ball((0.05, 0.05, 0.05), (hand[0], side * hand[1], hand[2])))
    spine = np.array((seat, 0, hip))
    thing.add('torso', upper, tube(spine, shoulder, 0.19, 8), ball((0.17, 0.25, 0.14), shoulder - (0, 0, 0.04)))
    if rng.random() < 0.35:
        thing.add('bag', 'cloth bright', box((0.2, 0.32, 0.42), (spine + shoulder) / 2 + (-0.22, 0, 0.08)))
    top = (float(shoulder[0]) + 0.06, 0, float(shoulder[2]) + 0.2)
    _head(thing, rng, top)
    if helmet:
        thing.add('head', 'motorcycle paint', ball((0.16, 0.14, 0.15), (top[0] - 0.01, 0, top[2] + 0.05)))
    return thing


def cyclist(rng: Rng) -> list[Thing]:
    """A rider and the bicycle below."""
    return [bicycle(rng), _rider(rng, 1.0, -0.2, (0.34, 0.27, 1.05), 0.22, rng.random() < 0.5)]


def motorcyclist(rng: Rng) -> list[Thing]:
    """A rider and the motorcycle below."""
    return [motorcycle(rng), _rider(rng, 0.95, -0.28, (0.4, 0.32, 1.08), 0.34, True)]
