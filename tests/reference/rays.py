"""What a ray hits, found the slow way: every triangle is tried (Möller and Trumbore), in float64."""

import numpy as np


def first_hit(origin, direction, corners):
    """Index of the nearest triangle on one ray and its distance; (-1, inf) if there is none.

    ``corners`` float64 ``(T, 3, 3)``: triangle, corner, axis.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    edge1, edge2 = b - a, c - a
    p = np.cross(direction, edge2)
    determinant = (edge1 * p).sum(1)
    with np.errstate(divide='ignore', invalid='ignore'):
        inverse = 1 / determinant
        from_a = origin - a
        u = (from_a * p).sum(1) * inverse
        q = np.cross(from_a, edge1)
        v = (q @ direction) * inverse
        distance = (edge2 * q).sum(1) * inverse
    inside = (np.abs(determinant) > 1e-14) & (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 1e-6)
    if not inside.any():
        return -1, np.inf
    distance = np.where(inside, distance, np.inf)
    nearest = int(distance.argmin())
    return nearest, float(distance[nearest])


def equirectangular_direction(row, column, height, width, heading_turns, vertical_fov_degrees):
    """The textbook: longitude grows to the right from the heading in the middle, latitude upwards."""
    longitude = ((column + 0.5) / width - 0.5) * 360 + heading_turns * 360
    latitude = vertical_fov_degrees / 2 - (row + 0.5) * vertical_fov_degrees / height
    lon, lat = np.radians(longitude), np.radians(latitude)
    return np.array([np.cos(lat) * np.cos(lon), -np.cos(lat) * np.sin(lon), np.sin(lat)])


def pinhole_direction(row, column, height, width, heading_turns, fov_degrees, pitch_degrees):
    """Through the pixel of an image plane at distance 1, pitched about the camera's right, then turned clockwise."""
    half = np.tan(np.radians(fov_degrees / 2))
    right = ((column + 0.5) - width / 2) / (width / 2) * half
    up = -((row + 0.5) - height / 2) / (width / 2) * half
    pitch, heading = np.radians(pitch_degrees), np.radians(heading_turns * 360)
    ahead, lifted = np.cos(pitch) - up * np.sin(pitch), np.sin(pitch) + up * np.cos(pitch)
    x = ahead * np.cos(heading) - right * np.sin(heading)
    y = -ahead * np.sin(heading) - right * np.cos(heading)
    direction = np.array([x, y, lifted])
    return direction / np.linalg.norm(direction)
