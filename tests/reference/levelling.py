"""A tilted panorama levelled the slow way: pixel by pixel, by turning one vector after the other about an axis."""

import math


def turn(vector, axis, degrees):
    """Rodrigues' formula: a vector turned about an axis of length 1, counterclockwise seen from the axis' tip."""
    angle = math.radians(degrees)
    cross = [axis[1] * vector[2] - axis[2] * vector[1], axis[2] * vector[0] - axis[0] * vector[2],
             axis[0] * vector[1] - axis[1] * vector[0]]  # fmt: skip
    along = sum(a * v for a, v in zip(axis, vector, strict=True)) * (1 - math.cos(angle))
    return [v * math.cos(angle) + c * math.sin(angle) + a * along for v, c, a in zip(vector, cross, axis, strict=True)]


def camera_axes(pitch, roll):
    """Forward, right and up of the camera in a level frame of north, east and up; it looked north and stood level.

    First it is pitched up about its right side, then its right side goes down about where it looks.
    """
    # Right-handed axes: x north, y west, z up.
    forward, right, up = [1, 0, 0], [0, -1, 0], [0, 0, 1]
    forward, up = (turn(axis, right, pitch) for axis in (forward, up))
    right, up = (turn(axis, forward, roll) for axis in (right, up))
    return [[x, -y, z] for x, y, z in (forward, right, up)]


def tilted_place(row, column, height, width, pitch, roll):
    """Row and column in the tilted panorama of a pixel of the level one; both show the full sphere."""
    latitude = math.radians(90 - (row + 0.5) * 180 / height)
    longitude = math.radians((column + 0.5) * 360 / width - 180)
    north = math.cos(latitude) * math.cos(longitude)
    east, up = math.cos(latitude) * math.sin(longitude), math.sin(latitude)
    forward, right, above = (north * axis[0] + east * axis[1] + up * axis[2] for axis in camera_axes(pitch, roll))
    seen_latitude = math.degrees(math.asin(max(-1, min(1, above))))
    seen_longitude = math.degrees(math.atan2(right, forward))
    return (90 - seen_latitude) * height / 180 - 0.5, (seen_longitude + 180) * width / 360 - 0.5
