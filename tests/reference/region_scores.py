"""Scores of regions, one class and one pixel after another."""

from __future__ import annotations

from math import sqrt


def near_contour(mask, scored, distance, closed):
    """Pixels of a mask from which a scored pixel outside it is at most ``distance`` rows and columns away."""
    height, width = len(mask), len(mask[0])
    near = set()
    for y in range(height):
        for x in range(width):
            if not (mask[y][x] and scored[y][x]):
                continue
            for v in range(y - distance, y + distance + 1):
                for u in range(x - distance, x + distance + 1):
                    column = u % width if closed else u
                    inside = 0 <= v < height and 0 <= column < width
                    if inside and scored[v][column] and not mask[v][column]:
                        near.add((y, x))
    return near


def regions_of(y, x, height, width, degrees):
    """The names of the regions that a pixel of a panorama lies in, by its centre."""
    angle = (x + 0.5) * 360 / width
    third = (y + 0.5) / height * 3
    at_seam = angle <= degrees or 360 - angle <= degrees
    return 'seam' if at_seam else 'elsewhere', 'top' if third < 1 else 'middle' if third < 2 else 'bottom'


def counts(prediction, label, classes, closed, ratio, degrees, ignore):
    """Pixels of intersection, union and label: ``{region: ([...], [...], [...])}``, a number for each class."""
    height, width = len(label), len(label[0])
    pixels = [(y, x) for y in range(height) for x in range(width)]
    scored = [[label[y][x] != ignore for x in range(width)] for y in range(height)]
    distance = max(1, round(ratio * sqrt(height**2 + width**2)))
    names = ['boundary', 'seam', 'elsewhere', 'top', 'middle', 'bottom'] if closed else ['boundary']
    found = {name: ([0] * classes, [0] * classes, [0] * classes) for name in names}
    for c in range(classes):
        masks = [[[ids[y][x] == c for x in range(width)] for y in range(height)] for ids in (prediction, label)]
        for name in names:
            if name == 'boundary':
                predicted, true = (near_contour(mask, scored, distance, closed) for mask in masks)
            else:
                predicted, true = (
                    {
                        (y, x)
                        for y, x in pixels
                        if mask[y][x] and scored[y][x] and name in regions_of(y, x, height, width, degrees)
                    }
                    for mask in masks
                )
            for total, part in zip(found[name], (predicted & true, predicted | true, true), strict=True):
                total[c] = len(part)
    return found
