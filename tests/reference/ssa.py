"""Semantic Segment Anything's fusion: each mask, the largest first, is painted with its most frequent label."""

from __future__ import annotations

from reference.ctcf import extents, label_map


def fuse(masks, logits, support='full'):
    """Labels and weight map. Of labels that are equally frequent the first is taken."""
    height, width = len(logits[0]), len(logits[0][0])
    original = label_map(logits)
    painted = [line[:] for line in original]
    weight = [[0] * width for _ in range(height)]
    for mask, pixels in zip(masks, extents(masks, height, width, support), strict=True):
        inside = [original[y][x] for y, x in pixels]
        for y in range(height):
            for x in range(width):
                if mask[y][x] and inside:
                    painted[y][x] = max(sorted(set(inside)), key=inside.count)
                    weight[y][x] = 1
    return painted, weight
