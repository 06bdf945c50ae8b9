"""Painting order, id map and boundaries, one pixel after another."""

from __future__ import annotations

from math import isnan


def pixels_of(mask):
    """All ``(row, column)`` of a mask, row by row."""
    return [(y, x) for y in range(len(mask)) for x in range(len(mask[0])) if mask[y][x]]


def bounding_box(mask):
    """Left, top, width, height."""
    rows = [y for y, _ in pixels_of(mask)]
    columns = [x for _, x in pixels_of(mask)]
    return [min(columns), min(rows), max(columns) - min(columns) + 1, max(rows) - min(rows) + 1]


def lies_under(a, b, masks, predicted_iou, stability, order):
    """Whether mask ``a`` is painted before mask ``b``. A missing score is the worst one."""
    area_a, area_b = len(pixels_of(masks[a])), len(pixels_of(masks[b]))
    if order == 'area_desc' and area_a != area_b:
        return area_a > area_b
    if order == 'area_asc' and area_a != area_b:
        return area_a < area_b
    for scores in (predicted_iou, stability):
        score_a, score_b = (0 if isnan(scores[i]) else scores[i] for i in (a, b))
        if score_a != score_b:
            return score_a < score_b
    return a < b


def painting_order(masks, predicted_iou, stability, order='area_desc'):
    """Indices of the masks that are not empty, the first painted first (insertion, one mask at a time)."""
    painted = []
    for new in range(len(masks)):
        if not pixels_of(masks[new]):
            continue
        position = 0
        while position < len(painted) and lies_under(painted[position], new, masks, predicted_iou, stability, order):
            position += 1
        painted.insert(position, new)
    return painted


def id_map(masks, height, width):
    """1 + index of the last mask that was painted on each pixel, 0 where none was."""
    ids = [[0] * width for _ in range(height)]
    for index, mask in enumerate(masks):
        for y, x in pixels_of(mask):
            ids[y][x] = index + 1
    return ids


def neighbours(y, x, height, width, thickness=2):
    """4-neighbours inside the crop; with thickness 1 only the right and the lower one."""
    steps = [(0, 1), (1, 0)] if thickness == 1 else [(0, 1), (1, 0), (0, -1), (-1, 0)]
    return [(y + dy, x + dx) for dy, dx in steps if 0 <= y + dy < height and 0 <= x + dx < width]


def boundary(labels, thickness=2):
    height, width = len(labels), len(labels[0])
    edge = [[False] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            for v, u in neighbours(y, x, height, width, thickness):
                if labels[v][u] != labels[y][x]:
                    edge[y][x] = True
    return edge


def contours(masks, height, width):
    """Union of the inner contours: pixels of a mask with a 4-neighbour in the crop that is not of that mask."""
    edge = [[False] * width for _ in range(height)]
    for mask in masks:
        for y, x in pixels_of(mask):
            for v, u in neighbours(y, x, height, width):
                if not mask[v][u]:
                    edge[y][x] = True
    return edge


def regions_of(label_maps):
    """The regions of several label maps as sets of pixels, map by map, by ascending label, each set once."""
    found = []
    for labels in label_maps:
        for value in sorted({value for line in labels for value in line}):
            region = {(y, x) for y, line in enumerate(labels) for x, other in enumerate(line) if other == value}
            if region not in found:
                found.append(region)
    return found
