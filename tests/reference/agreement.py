"""Overlap agreement, read literally: the pixels that two windows share, and the best mask for each mask there."""

from __future__ import annotations


def agreement(dense, grid, min_area):
    """IoU with its best mask for each mask of at least ``min_area`` pixels in an overlap, sorted."""
    found = []
    for overlap in grid.overlaps:
        box = grid.valid(overlap.box)
        shared = [(box.top + y, (box.left + x) % grid.width) for y in range(box.height) for x in range(box.width)]
        sides = []
        for index in (overlap.first, overlap.second):
            window = grid.windows[index]
            sides.append(
                [
                    {(y, x) for y, x in shared if mask[y - window.top][(x - window.left) % grid.width]}
                    for mask in dense[index]
                ]
            )
        for one, other in (sides, sides[::-1]):
            for mask in one:
                if len(mask) >= min_area:
                    ious = [len(mask & rival) / len(mask | rival) for rival in other]
                    found.append(max(ious, default=0.0))
    return sorted(found)
