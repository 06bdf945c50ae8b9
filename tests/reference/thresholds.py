"""The adaptive threshold of GoodSAM++, one mask after another, with exact shares.

The theta of a mask is the mean share of the most frequent label in all masks of the same level (small, medium, large),
of one panorama or of one window.
"""

from __future__ import annotations

from fractions import Fraction

from reference.ctcf import extents, label_map, level_of


def share_and_level(pixels, labels, area_range, unit):
    """What a mask with at least one pixel adds to the mean of its level."""
    found = [labels[y][x] for y, x in pixels]
    most = max(found.count(label) for label in found)
    return Fraction(most, len(found)), level_of(len(found), area_range, unit, len(labels), len(labels[0]))


def level_means(panoramas, scope, clamp, area_range=(100, 1000), area_unit='window', support='full'):
    """The threshold of every mask, None for wholly hidden ones.

    ``panoramas`` is a list of panoramas, a panorama a list of windows, a window its masks and its logits; the answer
    is nested like it.
    """
    answer = []
    for panorama in panoramas:
        measured = []
        for masks, logits in panorama:
            labels = label_map(logits)
            all_pixels = extents(masks, len(labels), len(labels[0]), support)
            measured.append(
                [share_and_level(pixels, labels, area_range, area_unit) if pixels else None for pixels in all_pixels]
            )
        answer.append([])
        for window in measured:
            peers = [found for other in measured for found in other] if scope == 'panorama' else window
            thetas = []
            for found in window:
                if found is None:
                    thetas.append(None)
                    continue
                shares = [peer[0] for peer in peers if peer is not None and peer[1] == found[1]]
                theta = sum(shares) / len(shares)
                if clamp is not None:
                    theta = min(max(theta, Fraction(str(clamp[0]))), Fraction(str(clamp[1])))
                thetas.append(theta)
            answer[-1].append(thetas)
    return answer
