"""Labels of a panorama from masks and predictions of windows, window by window and pixel by pixel.

A window that has several labels to choose from (see ``ctcf.fuse``) is left to the caller.
"""

from __future__ import annotations

from fractions import Fraction

from reference import ctcf, ssa
from reference.omnisam import softmax


def mean_logits(predictions, window):
    """The mean of a window's laps, ``[class][row][column]``."""
    laps = [logits for index, logits in predictions if index == window]
    classes, height, width = laps[0].shape
    return [
        [[sum(float(lap[c][y][x]) for lap in laps) / len(laps) for x in range(width)] for y in range(height)]
        for c in range(classes)
    ]


def fused(masks, logits, rule):
    """The labels that each pixel of a window may have, and whether they are reliable."""
    if rule == 'ssa':
        labels, weight = ssa.fuse(masks, logits)
        return [[[label] for label in row] for row in labels], weight
    allowed, weight = ctcf.fuse(masks, logits)
    return [[list(options) for options in row] for row in allowed], weight


def merged(predictions, grid, masks, rule):
    """Label and confidence of every pixel, ``[y][x]``; None where a window has several labels to choose from."""
    windows = []
    for window, of_window in enumerate(masks):
        logits = mean_logits(predictions, window)
        windows.append((logits, *fused(of_window, logits, rule)))
    return [[_pixel(windows, grid, y, x) for x in range(grid.width)] for y in range(grid.height)]


def _pixel(windows, grid, y, x):
    ballots = []
    for box, (logits, allowed, weight) in zip(grid.windows, windows, strict=True):
        row, column = y - box.top, x - box.left
        if grid.wrap:
            column %= grid.width
        if not (0 <= row < box.height and 0 <= column < box.width):
            continue
        options = allowed[row][column]
        if len(options) > 1:
            return None
        probabilities = softmax([plane[row][column] for plane in logits])
        ballots.append((options[0], bool(weight[row][column]), probabilities[options[0]]))

    def rank(label):
        mine = [(reliable, probability) for given, reliable, probability in ballots if given == label]
        return sum(reliable for reliable, _ in mine), len(mine), max(probability for _, probability in mine)

    best = max({label for label, *_ in ballots}, key=rank)
    return best, Fraction(rank(best)[0], len(ballots))
