"""The window rule pixel by pixel: plain Python on plain lists, no array operation."""

from __future__ import annotations

from fractions import Fraction
from math import floor


def axis_starts(size, window, stride):
    """Windows are laid one after another until the last pixel is seen; none may leave the panorama."""
    starts = [0]
    while starts[-1] + window < size:
        starts.append(min(starts[-1] + stride, size - window))
    return starts


def cyclic_starts(size, stride):
    """As many windows as strides are needed to walk around, spread evenly, on the nearest whole column."""
    count = 0
    while count * stride < size:
        count += 1
    return [floor(Fraction(i * size, count) + Fraction(1, 2)) for i in range(count)]


def axis_overlaps(starts, window, cycle=None):
    """``(first, second, positions)`` of each pair of neighbours that share pixels.

    An overlap begins where the second window begins and ends where the first ends. On a cyclic axis of length
    ``cycle`` the last window's right neighbour is the first one, met a full turn later.
    """
    overlaps = []
    for first in range(len(starts)):
        second, begin = first + 1, None
        if second < len(starts):
            begin = starts[second]
        elif cycle is not None and len(starts) > 1:
            second, begin = 0, starts[0] + cycle
        if begin is None:
            continue
        positions = []
        position = begin
        while position < starts[first] + window:
            positions.append(position if cycle is None else position % cycle)
            position += 1
        if positions:
            overlaps.append((first, second, positions))
    return overlaps


def axis_owners(starts, window, size):
    """The owner of each position: the walk from the left, one position at a time."""
    owner_of, owner = [], None
    for position in range(size):
        if owner is None or position >= starts[owner] + window:
            owner = 0
            for index, start in enumerate(starts):
                if start <= position:
                    owner = index
        owner_of.append(owner)
    return owner_of


class Grid:
    """All windows of one panorama, each as the list of panorama rows and columns that it shows."""

    def __init__(self, height, width, window, stride, wrap):
        self.height, self.width, self.window, self.wrap = height, width, window, wrap
        self.row_starts = axis_starts(height, window[0], stride[0])
        self.starts = cyclic_starts(width, stride[1]) if wrap else axis_starts(width, window[1], stride[1])
        self.corners = [(top, left) for top in self.row_starts for left in self.starts]

    def place(self, corner, row, column):
        """The panorama pixel under a window's pixel, or ``None`` in the padding."""
        y, x = corner[0] + row, corner[1] + column
        if self.wrap:
            x = x % self.width
        return (y, x) if y < self.height and x < self.width else None

    def crop(self, panorama, corner, height, width):
        """The pixels right and below of a corner; 0 in the padding."""
        piece = []
        for row in range(height):
            line = []
            for column in range(width):
                place = self.place(corner, row, column)
                line.append(0 if place is None else panorama[place[0]][place[1]])
            piece.append(line)
        return piece

    def owners(self):
        """``owner[y][x]``: the window that each panorama pixel is taken from."""
        of_row = axis_owners(self.row_starts, self.window[0], self.height)
        of_column = axis_owners(self.starts, self.window[1], self.width)
        return [[row * len(self.starts) + column for column in of_column] for row in of_row]

    def stitch_owners(self, pieces):
        owners = self.owners()
        panorama = [[None] * self.width for _ in range(self.height)]
        for index, corner in enumerate(self.corners):
            for row in range(self.window[0]):
                for column in range(self.window[1]):
                    place = self.place(corner, row, column)
                    if place is not None and owners[place[0]][place[1]] == index:
                        panorama[place[0]][place[1]] = pieces[index][row][column]
        return panorama

    def stitch_mean(self, pieces):
        seen = [[[] for _ in range(self.width)] for _ in range(self.height)]
        for corner, piece in zip(self.corners, pieces, strict=True):
            for row in range(self.window[0]):
                for column in range(self.window[1]):
                    place = self.place(corner, row, column)
                    if place is not None:
                        seen[place[0]][place[1]].append(piece[row][column])
        return [[sum(values) / len(values) for values in line] for line in seen]

    def times_seen(self):
        """How many windows show each panorama pixel."""
        counts = [[0] * self.width for _ in range(self.height)]
        for corner in self.corners:
            for row in range(self.window[0]):
                for column in range(self.window[1]):
                    place = self.place(corner, row, column)
                    if place is not None:
                        counts[place[0]][place[1]] += 1
        return counts
