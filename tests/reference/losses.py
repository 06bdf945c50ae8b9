"""The losses, pixel after pixel in float64; logits of one crop are ``(C, h, w)``, of several ``(N, C, h, w)``."""

from __future__ import annotations

from math import log

import numpy as np

from reference import boundaries
from reference.ctcf import IGNORE, at, label_map, softmax


def distributions(logits, temperature=1.0):
    """``[y][x]`` is the distribution over the classes."""
    height, width = len(logits[0]), len(logits[0][0])
    return [[softmax(at(logits, y, x), temperature) for x in range(width)] for y in range(height)]


def cross_entropy(scores, target, by_class=None):
    """Of one pixel; the target is a class or a distribution. The logarithm is taken of no rounded probability."""
    by_class = [1.0] * len(scores) if by_class is None else by_class
    scores = np.array(scores, np.float64)
    log_p = scores - scores.max() - np.log(np.exp(scores - scores.max()).sum())
    if np.ndim(target) == 0:
        return -log_p[target] * by_class[target]
    return -sum(share * value * times for share, value, times in zip(target, log_p, by_class, strict=True))


# --- Eq. 1 ---


def consistency(left, right, space='softmax'):
    """Mean of all squared differences, 0 if there are none."""
    squares = []
    for a, b in zip(left, right, strict=True):
        for y in range(a.shape[1]):
            for x in range(a.shape[2]):
                of_a, of_b = at(a, y, x), at(b, y, x)
                if space == 'softmax':
                    of_a, of_b = softmax(of_a), softmax(of_b)
                squares += [(one - other) ** 2 for one, other in zip(of_a, of_b, strict=True)]
    return sum(squares) / len(squares) if squares else 0.0


# --- Eq. 2 and 7 ---


def network_boundary(logits, mode, tau=1.0, radius=1, thickness=2):
    """``'ste'`` has the value of ``'hard'``."""
    if mode == 'soft':
        return boundaries.soft(distributions(logits, tau), thickness, radius)
    return boundaries.hard(label_map(logits), thickness)


def boundary(refined, network):
    """Sum of absolute differences over the number of refined pixels."""
    count, total = 0, 0.0
    for reference_line, network_line in zip(refined, network, strict=True):
        for wanted, found in zip(reference_line, network_line, strict=True):
            count += bool(wanted)
            total += abs(float(wanted) - float(found))
    return total / count if count else 0.0


def boundary_cross_entropy(refined, network):
    """Half the mean over the boundary and half the mean over the rest.

    The code's choices: no probability is taken for less than a millionth, and a crop of boundary alone counts half.
    """
    of_boundary, of_rest = [], []
    for reference_line, network_line in zip(refined, network, strict=True):
        for wanted, found in zip(reference_line, network_line, strict=True):
            (of_boundary if wanted else of_rest).append(-log(max(found if wanted else 1 - found, 1e-6)))
    if not of_boundary:
        return 0.0
    halves = [sum(values) / len(values) for values in (of_boundary, of_rest) if values]
    return 0.5 * sum(halves)


def boundary_weighted(refined, logits, labels):
    """Mean of cross-entropy, 1.2 times where the refined boundary lies on the pixel or on one of its 8 neighbours.

    The code's choices: the mean is over the pixels that count, and an overlap without refined boundary gives 0.
    """
    height, width = len(refined), len(refined[0])
    if not any(wanted for line in refined for wanted in line):
        return 0.0
    losses = []
    for y in range(height):
        for x in range(width):
            if labels[y][x] == IGNORE:
                continue
            around = [
                (v, u) for v in (y - 1, y, y + 1) for u in (x - 1, x, x + 1) if 0 <= v < height and 0 <= u < width
            ]
            band = any(refined[v][u] for v, u in around)
            losses.append((1 + 0.2 * band) * cross_entropy(at(logits, y, x), labels[y][x]))
    return sum(losses) / len(losses) if losses else 0.0


# --- Eq. 4 to 6 ---


def whole_image(student, assistant, soft=False, reduction='mean', by_class=None):
    """With the assistant's labels, or with its distribution."""
    losses = []
    for of_student, of_assistant in zip(student, assistant, strict=True):
        labels = label_map(of_assistant)
        for y in range(of_student.shape[1]):
            for x in range(of_student.shape[2]):
                if soft:
                    target = softmax(at(of_assistant, y, x))
                    losses.append(cross_entropy(at(of_student, y, x), target, by_class))
                else:
                    losses.append(cross_entropy(at(of_student, y, x), labels[y][x], by_class=by_class))
    return sum(losses) / (len(losses) if reduction == 'mean' else 1)


def window(logits, labels, weight=None, lam=0.0, soft=None, reduction='mean', by_class=None):
    """The two sums as the equations write them: over all pixels, and lambda times over the reliable ones."""
    everywhere, reliable, count = 0.0, 0.0, 0
    for i in range(len(logits)):
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                if labels[i][y][x] == IGNORE:
                    continue
                target = labels[i][y][x] if soft is None else at(soft[i], y, x)
                loss = cross_entropy(at(logits[i], y, x), target, by_class=by_class)
                count += 1
                everywhere += loss
                reliable += loss * (0 if weight is None else weight[i][y][x])
    total = everywhere + lam * reliable
    return total / max(count, 1) if reduction == 'mean' else total
