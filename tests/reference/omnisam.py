"""OmniSAM's rules pixel by pixel in plain Python, and its decoder as it is written down."""

from __future__ import annotations

from math import exp

import torch
import torch.nn.functional as F


def softmax(logits):
    highest = max(logits)
    weights = [exp(x - highest) for x in logits]
    return [w / sum(weights) for w in weights]


def predictions_of(pixel, predictions, grid):
    """``(window, logits)`` of all predictions that see a pixel; window pixels are counted from their corner."""
    y, x = pixel
    seen = []
    for window, logits in predictions:
        box = grid.windows[window]
        row, column = y - box.top, x - box.left
        if grid.wrap:
            column %= grid.width
        if 0 <= row < box.height and 0 <= column < box.width:
            seen.append((window, [float(plane[row][column]) for plane in logits]))
    return seen


def unanimous(logits):
    """Scores of the classes: the smallest winning probability for the class that wins everywhere, else 0."""
    winners = {values.index(max(values)) for values in logits}
    scores = [0.0] * len(logits[0])
    if len(winners) == 1:
        (winner,) = winners
        scores[winner] = min(softmax(values)[winner] for values in logits)
    return scores


def vote(logits):
    """Share of votes; of equally many, only the class with the highest winning logit keeps its share."""
    ballots = [(values.index(max(values)), max(values)) for values in logits]
    shares = [sum(label == k for label, _ in ballots) / len(ballots) for k in range(len(logits[0]))]
    tied = [k for k, share in enumerate(shares) if share == max(shares)]
    best = max(tied, key=lambda k: (max(height for label, height in ballots if label == k), -k))
    return [share if k == best else 0.0 for k, share in enumerate(shares)]


def mean(logits):
    each = [softmax(values) for values in logits]
    return [sum(p[k] for p in each) / len(each) for k in range(len(logits[0]))]


def summed(seen):
    """The laps of each window are averaged, the windows are summed."""
    by_window = {}
    for window, values in seen:
        by_window.setdefault(window, []).append(values)
    means = [mean(laps) for laps in by_window.values()]
    return [sum(p[k] for p in means) for k in range(len(means[0]))]


def merged_scores(predictions, grid, rule):
    """Scores of all classes at every pixel, ``[y][x][class]``; the label is the highest, that score its confidence."""
    rules = {'unanimous': unanimous, 'vote': vote, 'mean': mean}
    rows = []
    for y in range(grid.height):
        row = []
        for x in range(grid.width):
            seen = predictions_of((y, x), predictions, grid)
            row.append(summed(seen) if rule == 'sum' else rules[rule]([values for _, values in seen]))
        rows.append(row)
    return rows


def nearest(labels, height, width):
    """A label map resized: each pixel takes the label in which its centre lies."""
    rows, columns = len(labels), len(labels[0])
    return [
        [labels[int((y + 0.5) * rows / height)][int((x + 0.5) * columns / width)] for x in range(width)]
        for y in range(height)
    ]


def decode(head, high, medium, low):
    """SegFormer's decoder: project, enlarge, concatenate from coarse to fine, fuse, classify, enlarge."""
    size = high.shape[-2:]
    levels = []
    for level, projection in ((low, head.project_low), (medium, head.project_medium), (high, head.project_high)):
        projected = projection(level.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        levels.append(F.interpolate(projected, size, mode='bilinear', align_corners=False))
    features = torch.relu(head.norm(head.fuse(torch.cat(levels, 1))))
    logits = head.classify(head.dropout(features))
    return features, F.interpolate(logits, [4 * side for side in size], mode='bilinear', align_corners=False)


def feature_means(features, labels, rows, shape):
    """``{(row, class): mean feature}`` of ``(B, c, h, w)`` pixel by pixel; labels ``(B, h k, w k)``, nearest."""
    seen = {}
    for b, (feature, label) in enumerate(zip(features.tolist(), labels.tolist(), strict=True)):
        height, width = len(feature[0]), len(feature[0][0])
        down, across = len(label) // height, len(label[0]) // width
        for y in range(height):
            for x in range(width):
                c = label[y * down + down // 2][x * across + across // 2]
                if c < shape[1]:
                    seen.setdefault((int(rows[b]), c), []).append([plane[y][x] for plane in feature])
    return {place: [sum(values) / len(values) for values in zip(*all_, strict=True)] for place, all_ in seen.items()}


class RunningPrototypes:
    """Prototypes as a dictionary: all batch means of each row and class are kept."""

    def __init__(self, shape, channels, literal):
        self.shape, self.zero, self.literal, self.batches = shape, [0.0] * channels, literal, {}

    def places(self, means, rows):
        """The rows and classes that count."""
        if self.literal:
            return [(row, c) for row in sorted(set(map(int, rows))) for c in range(self.shape[1])]
        return sorted(means)

    def update(self, means, rows):
        for place in self.places(means, rows):
            self.batches.setdefault(place, []).append(means.get(place, self.zero))

    def mean(self, place):
        all_ = self.batches.get(place, [self.zero])
        return [sum(values) / len(all_) for values in zip(*all_, strict=True)]

    def loss(self, means, rows):
        """Mean over rows and classes, and channels, of squared differences."""
        places = [p for p in self.places(means, rows) if self.literal or p in self.batches]
        squares = [(a - b) ** 2 for p in places for a, b in zip(means.get(p, self.zero), self.mean(p), strict=True)]
        return sum(squares) / len(squares) if squares else 0.0
