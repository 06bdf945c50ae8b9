"""SEPL's fusion, class after class and mask after mask, in sets of pixels."""

from __future__ import annotations

from reference.ctcf import IGNORE, label_map
from reference.painting import pixels_of


def fuse(masks, logits, unassigned='ta', coverage='all'):
    """Labels and weight map. The map, which the original lacks, is 1 where the label that shows came with a mask.

    A class without a region takes no mask: of 0 pixels there is no share.
    """
    height, width = len(logits[0]), len(logits[0][0])
    original = label_map(logits)
    everywhere = [(y, x) for y in range(height) for x in range(width)]
    masks = [set(pixels_of(mask)) for mask in masks]
    painted, by_mask, accepted = {}, {}, []
    for a in range(len(logits)):
        region = {(y, x) for y, x in everywhere if original[y][x] == a}
        remaining = [k for k in range(len(masks)) if k not in accepted]
        covering = remaining if coverage == 'remaining' else range(len(masks))
        covered = set().union(*(masks[k] for k in covering))
        for k in remaining:
            common = len(masks[k] & region)
            if 2 * common > len(masks[k]) or (region and 100 * common >= 85 * len(region)):
                accepted.append(k)
                painted.update(dict.fromkeys(masks[k], a))
                by_mask.update(dict.fromkeys(masks[k], 1))
        own = region - covered
        painted.update(dict.fromkeys(own, a))
        by_mask.update(dict.fromkeys(own, 0))
    kept = {pixel: original[pixel[0]][pixel[1]] if unassigned == 'ta' else IGNORE for pixel in everywhere}
    labels = [[painted.get((y, x), kept[y, x]) for x in range(width)] for y in range(height)]
    return labels, [[by_mask.get((y, x), 0) for x in range(width)] for y in range(height)]
