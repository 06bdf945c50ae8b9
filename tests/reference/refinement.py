"""Boundary refinement (Fig. 3), the walk over the assistant's boundary pixels as the text tells it."""

from __future__ import annotations


def margin(distribution):
    """Largest minus second largest probability. With one class there is no second, and the largest is the margin."""
    ordered = sorted(distribution, reverse=True)
    return ordered[0] - ordered[1] if len(ordered) > 1 else ordered[0]


def nearest_row(b_sam, y, x, tie='up'):
    """The row of column ``x`` with a SAM pixel that is nearest to ``y``, or None."""
    rows = [row for row in range(len(b_sam)) if b_sam[row][x]]
    return min(rows, key=lambda row: (abs(row - y), row if tie == 'up' else -row), default=None)


def walk(b_i, b_j, b_sam, p_i, p_j, alpha, max_search, tie):
    """Where the boundary pixels of ``b_i`` end up; ``p_i[y][x]`` is a distribution."""
    refined = set()
    for y in range(len(b_i)):
        for x in range(len(b_i[0])):
            if not b_i[y][x]:
                continue
            if b_j[y][x] and b_sam[y][x]:
                refined.add((y, x))
                continue
            q = nearest_row(b_sam, y, x, tie)
            in_reach = q is not None and (max_search is None or abs(q - y) <= max_search)
            if in_reach and (margin(p_i[q][x]) < alpha or margin(p_j[q][x]) < alpha):
                refined.add((q, x))
            else:
                refined.add((y, x))
    return refined


def refine(b_i, b_j, b_sam, p_i, p_j, alpha=0.3, iterate='i', max_search=None, tie='up'):
    """The refined map. ``'both'`` walks over both windows' maps, with exchanged roles, and unites what it finds."""
    refined = walk(b_i, b_j, b_sam, p_i, p_j, alpha, max_search, tie)
    if iterate == 'both':
        refined |= walk(b_j, b_i, b_sam, p_j, p_i, alpha, max_search, tie)
    return [[(y, x) in refined for x in range(len(b_i[0]))] for y in range(len(b_i))]
