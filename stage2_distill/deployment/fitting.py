"""Which plan the free memory suffices for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stage1_sam_cache.geometry.windows import WindowSettings
from stage2_distill.deployment.enlarge import BYTES_PER_PIXEL
from stage2_distill.deployment.plans import WINDOW

_USABLE = 0.7  # of the free memory: libraries take some inside of operations, and other programs take some too


def first_that_fits(
    plans: Sequence[WindowSettings | None],
    size: tuple[int, int],
    wrap: bool,
    needed: Callable[[tuple[int, int]], int | None],
    free: int | None,
    bytes_per_pixel: int = BYTES_PER_PIXEL,
) -> int:
    """Return the index of the first plan that the free memory suffices for; of the last if it suffices for none.

    Args:
        plans: As ``Mode.plans`` returns them.
        size: Rows and columns of the image.
        wrap: As ``Mode``.
        needed: As ``models.dry_run.needed_bytes`` of the student's network.
        free: Bytes; None if that is not known. Then what is larger than two windows of ``WINDOW`` does not fit.
        bytes_per_pixel: What is needed at the image's size, beside the network's own.

    Raises:
        InputSizeError: If the image is too small for the network.
    """
    for index, plan in enumerate(plans):
        seen = seen_size(plan, size, wrap)
        network_bytes = needed(seen)
        if free is None or network_bytes is None:
            if seen[0] * seen[1] <= 2 * WINDOW[0] * WINDOW[1]:
                return index
        elif network_bytes + bytes_per_pixel * size[0] * size[1] <= _USABLE * free:
            return index
    return len(plans) - 1


def seen_size(plan: WindowSettings | None, size: tuple[int, int], wrap: bool) -> tuple[int, int]:
    """Return the rows and columns that the network sees at once."""
    if plan is None:
        return size[0], size[1] + 2 * seam_columns(size[1], wrap)
    rows, columns = (min(window, side) for window, side in zip(plan.window, size, strict=True))
    return rows, columns


def seam_columns(width: int, wrap: bool) -> int:
    """Return how many columns of the opposite side are added at each border of a whole image."""
    return width // 8 if wrap else 0
