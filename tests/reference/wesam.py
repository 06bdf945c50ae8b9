"""The losses of WeSAM, pixel after pixel in float64; masks are ``(N, h, w)``, embeddings ``(C, h, w)``."""

from __future__ import annotations

from math import exp, log, log1p, sqrt


def sigmoid(m):
    return 1 / (1 + exp(-m)) if m >= 0 else exp(m) / (1 + exp(m))


def cross_entropy(m, y):
    """Of one pixel's logit: ``-log sigmoid(m)`` inside, ``-log(1 - sigmoid(m))`` outside."""
    signed = m if y else -m
    return log1p(exp(-signed)) if signed >= 0 else -signed + log1p(exp(signed))


def pixels(masks, targets):
    """Logit and target of every pixel of every instance."""
    for mask, target in zip(masks, targets, strict=True):
        for row_m, row_y in zip(mask, target, strict=True):
            yield from zip((float(m) for m in row_m), (bool(y) for y in row_y), strict=True)


def dice(masks, targets, smooth=1.0):
    overlap = total = 0.0
    for m, y in pixels(masks, targets):
        overlap += sigmoid(m) * y
        total += sigmoid(m) + y
    return 1 - (2 * overlap + smooth) / (total + smooth)


def focal(masks, targets, alpha=0.8):
    costs = []
    for m, y in pixels(masks, targets):
        bce = cross_entropy(m, y)
        q = exp(-bce)
        costs.append(alpha * (1 - q) ** 2 * bce)
    return sum(costs) / len(costs)


def iou(mask, target):
    both = either = 0
    for m, y in pixels([mask], [target]):
        both += m > 0 and y
        either += m > 0 or y
    return both / either if either else 0.0


def iou_error(masks, expected, targets):
    errors = [(float(u) - iou(m, y)) ** 2 for m, u, y in zip(masks, expected, targets, strict=True)]
    return sum(errors) / len(masks)


def self_training(masks, expected, targets, alpha=0.8, smooth=1.0):
    return 20 * focal(masks, targets, alpha) + dice(masks, targets, smooth) + iou_error(masks, expected, targets)


def anchor(student, teacher, targets):
    return 0.5 * dice(student, targets) + 0.5 * dice(teacher, targets)


# --- contrast between instances ---


def places_of(region):
    return {(y, x) for y, row in enumerate(region) for x, inside in enumerate(row) if inside}


def prototype(embedding, places):
    channels = len(embedding)
    total = [0.0] * channels
    for y, x in places:
        values = [float(embedding[c][y][x]) for c in range(channels)]
        length = max(sqrt(sum(v * v for v in values)), 1e-12)
        total = [t + v / length for t, v in zip(total, values, strict=True)]
    return [t / max(1, len(places)) for t in total]


def cosine(a, b):
    lengths = [max(sqrt(sum(v * v for v in one)), 1e-12) for one in (a, b)]
    return sum(x * y for x, y in zip(a, b, strict=True)) / (lengths[0] * lengths[1])


def contrast(
    teacher, anchor, teacher_regions, anchor_regions, tau=0.3, form='joint', background=False, skip_nested=False
):
    ours, theirs = [places_of(r) for r in teacher_regions], [places_of(r) for r in anchor_regions]
    if background:
        grid = {(y, x) for y in range(len(teacher[0])) for x in range(len(teacher[0][0]))}
        outside = grid.difference(*ours), grid.difference(*theirs)
        if all(outside):
            ours, theirs = [*ours, outside[0]], [*theirs, outside[1]]
    v_t, v_a = [prototype(teacher, r) for r in ours], [prototype(anchor, r) for r in theirs]
    n = len(ours)
    terms = {}
    for k in range(n):
        for l in range(n):  # noqa: E741  the symbol of the formula
            shared, smaller = len(ours[k] & theirs[l]), min(len(ours[k]), len(theirs[l]))
            if k == l or not (skip_nested and shared > 0.5 * smaller):
                terms[k, l] = exp(cosine(v_t[k], v_a[l]) / tau)
    if form == 'rows':
        return sum(-log(terms[k, k] / sum(v for (i, _), v in terms.items() if i == k)) for k in range(n)) / n
    return -log(sum(terms[k, k] for k in range(n)) / sum(terms.values()))
