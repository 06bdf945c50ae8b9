"""Cross-task complementary fusion (Eq. 3), one mask and one pixel after another, with exact shares.

What the specification leaves open is read as the code reads it: a pixel in no mask has the assistant's distribution,
or none if it is left out; the nearest mask is the one of the nearest covered pixel, in a straight line; without any
mask there is nothing near, and the assistant's labels stay; where no label has the least share that a candidate needs,
the most frequent one is taken; a softened distribution is made to sum to 1 again.
"""

from __future__ import annotations

from fractions import Fraction
from math import exp, log

IGNORE = 255
NEARLY = 1e-5  # entropies closer than this are not told apart: the code computes them in float32


def softmax(scores, temperature=1.0):
    largest = max(scores)
    powers = [exp((score - largest) / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


def at(array, y, x):
    """The values of all classes at one pixel of ``(C, h, w)``."""
    return [float(plane[y][x]) for plane in array]


def most_likely(scores):
    """The first class of the largest score."""
    return max(range(len(scores)), key=lambda c: (scores[c], -c))


def label_map(logits):
    return [[most_likely(at(logits, y, x)) for x in range(len(logits[0][0]))] for y in range(len(logits[0]))]


def extents(masks, height, width, support):
    """The pixels of each mask that count: all of them, or those on which no later mask lies."""
    found = []
    for k, mask in enumerate(masks):
        pixels = [(y, x) for y in range(height) for x in range(width) if mask[y][x]]
        if support == 'visible':
            pixels = [(y, x) for y, x in pixels if not any(later[y][x] for later in masks[k + 1 :])]
        found.append(pixels)
    return found


def shannon(distribution):
    return -sum(p * log(max(p, 1e-12)) for p in distribution)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def entropy_of(a, pixels, labels, p, kind):
    """How unsure the assistant is of label ``a`` in a mask, by one of the four definitions."""
    labelled = [(y, x) for y, x in pixels if labels[y][x] == a]
    if kind == 'region_mean':
        return mean(shannon(p[y][x]) for y, x in labelled)
    if kind == 'mean_dist':
        return shannon([mean(p[y][x][c] for y, x in labelled) for c in range(len(p[0][0]))])
    if kind == 'spatial':
        total = sum(p[y][x][a] for y, x in pixels)
        return shannon([p[y][x][a] / total for y, x in pixels]) / log(len(pixels)) if len(pixels) > 1 else 0.0
    return mean(shannon([p[y][x][a], 1 - p[y][x][a]]) for y, x in pixels)


def level_of(area, area_range, unit, height, width):
    """``'small'``, ``'medium'`` or ``'large'``."""
    size = Fraction(area)
    if unit == 'sam_input':
        size *= Fraction(1024, max(height, width)) ** 2
    elif unit == 'relative':
        size /= height * width
    smallest, largest = (Fraction(str(bound)) for bound in area_range)
    return 'small' if size < smallest else 'large' if size > largest else 'medium'


def label_of_mask(pixels, labels, p, theta, *, theta_inclusive=True, entropy='region_mean', min_candidate_lcr=0.0):
    """Whether a mask is reliable, and the labels that it may take: several only if entropies are nearly equal."""
    count = {}
    for y, x in pixels:
        count[labels[y][x]] = count.get(labels[y][x], 0) + 1
    by_count = sorted(count, key=lambda c: (-count[c], c))
    share = {c: Fraction(count[c], len(pixels)) for c in count}
    theta, least = Fraction(str(theta)), Fraction(str(min_candidate_lcr))
    if share[by_count[0]] > theta or (theta_inclusive and share[by_count[0]] == theta):
        return True, [by_count[0]]
    candidates = by_count[:3]
    candidates = [c for c in candidates if share[c] >= least] or candidates[:1]
    unsure = {c: entropy_of(c, pixels, labels, p, entropy) for c in candidates}
    return False, [c for c in candidates if unsure[c] <= min(unsure.values()) + NEARLY]


def softened(pixels, p, label):
    """Mean distribution over a mask, the label's mass raised to the largest other, and summing to 1 again."""
    average = [mean(p[y][x][c] for y, x in pixels) for c in range(len(p[0][0]))]
    average[label] = max(average)
    return [value / sum(average) for value in average]


def fuse(
    masks,
    logits,
    *,
    theta_medium=0.7,
    theta_other=0.5,
    area_range=(100, 1000),
    area_unit='window',
    support='full',
    uncovered='ta',
    thetas=None,
    **choice,
):
    """What may stand at each pixel: a dict from label to distribution, and the weight map.

    ``thetas`` are the thresholds of all masks, if they are not the paper's.

    A pixel has more than one label to choose from only where entropies are nearly equal, or where several pixels are
    the nearest.
    """
    height, width = len(logits[0]), len(logits[0][0])
    labels = label_map(logits)
    p = [[softmax(at(logits, y, x)) for x in range(width)] for y in range(height)]
    allowed = [[None] * width for _ in range(height)]
    weight = [[0] * width for _ in range(height)]
    for k, (mask, pixels) in enumerate(zip(masks, extents(masks, height, width, support), strict=True)):
        if not pixels:  # wholly hidden under later masks, so it shows nowhere
            continue
        level = level_of(len(pixels), area_range, area_unit, height, width)
        theta = theta_medium if level == 'medium' else theta_other
        theta = theta if thetas is None else thetas[k]
        reliable, options = label_of_mask(pixels, labels, p, theta, **choice)
        for y in range(height):
            for x in range(width):
                if mask[y][x]:
                    allowed[y][x] = {label: softened(pixels, p, label) for label in options}
                    weight[y][x] = int(reliable)
    covered = [(y, x) for y in range(height) for x in range(width) if allowed[y][x] is not None]
    for y in range(height):
        for x in range(width):
            if (y, x) in covered:
                continue
            if uncovered == 'ignore':
                allowed[y][x] = {IGNORE: None}
            elif uncovered == 'nearest' and covered:
                distance = {(v, u): (v - y) ** 2 + (u - x) ** 2 for v, u in covered}
                near = [at for at in covered if distance[at] == min(distance.values())]
                allowed[y][x] = {label: soft for v, u in near for label, soft in allowed[v][u].items()}
            else:
                allowed[y][x] = {labels[y][x]: p[y][x]}
    return allowed, weight
