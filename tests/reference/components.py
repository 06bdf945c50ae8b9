"""Connected components of a label map, grown pixel by pixel."""

from __future__ import annotations


def components(labels, things, min_area, things_only, ignored=255):
    """Sets of pixels ``(row, column)``: things first, then stuff, each from large to small, then by the first pixel."""
    height, width = len(labels), len(labels[0])
    seen, found = set(), []
    for start in ((row, column) for row in range(height) for column in range(width)):
        name = labels[start[0]][start[1]]
        if name == ignored or start in seen:
            continue
        region, waiting = set(), [start]
        while waiting:
            row, column = waiting.pop()
            if (row, column) in region or not (0 <= row < height and 0 <= column < width):
                continue
            if labels[row][column] != name:
                continue
            region.add((row, column))
            waiting += [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        seen |= region
        if len(region) >= min_area and (name in things or not things_only):
            found.append((name not in things, -len(region), start, region))
    return [region for *_, region in sorted(found, key=lambda entry: entry[:3])]
