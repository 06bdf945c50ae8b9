"""Rectangles of a panorama: windows, overlaps of two windows, and tiles with their owners; all in pixels."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Box(NamedTuple):
    """A rectangle of the panorama in pixels; with wrap-around it may run past the right border."""

    top: int
    left: int
    height: int
    width: int


class Overlap(NamedTuple):
    """The pixels that two neighbouring windows share.

    ``first`` and ``second`` are window indices, ``box`` is in panorama pixels. ``axis`` is ``'columns'`` where the
    windows are neighbours from left to right (the paper's overlap ``O_i``), ``'rows'`` from top to bottom.
    """

    first: int
    second: int
    box: Box
    axis: Literal['columns', 'rows']


class Owner(NamedTuple):
    """One tile of the panorama and the window that it is taken from; all owners together partition the panorama."""

    window: int
    box: Box


def inside(window: Box, box: Box, width: int) -> Box:
    """Return where a box lies in a window that shows all of it, in rows and columns of the window.

    Args:
        window, box: In the panorama.
        width: Columns of the panorama, for windows across the seam.
    """
    return Box(box.top - window.top, (box.left - window.left) % width, box.height, box.width)
