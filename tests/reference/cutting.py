"""Masks of a panorama cut to a box, one pixel after another."""

from __future__ import annotations


def cut(masks, top, left, height, width, least_area=1):
    """``(index, mask)`` of the masks with enough pixels in the box; columns go on at the left border."""
    found = []
    for index, mask in enumerate(masks):
        piece, area = [], 0
        for row in range(height):
            line = []
            for column in range(width):
                inside = bool(mask[top + row][(left + column) % len(mask[0])])
                area += inside
                line.append(inside)
            piece.append(line)
        if area >= least_area:
            found.append((index, piece))
    return found


def put(masks, top, left, height, width, size):
    """Masks of a box at its place in a panorama of ``size``; the rest is outside."""
    found = []
    for mask in masks:
        panorama = [[False] * size[1] for _ in range(size[0])]
        for row in range(height):
            for column in range(width):
                panorama[top + row][(left + column) % size[1]] |= bool(mask[row][column])
        found.append(panorama)
    return found
