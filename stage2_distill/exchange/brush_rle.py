"""Label Studio's run-length encoding of a mask: bits, packed into bytes.

A header of 32 bits for the number of values, 5 for the bits of a value and 4 for each of four sizes of lengths, all but
the first less 1; then for each run a 1, two bits that choose a size, the length less 1 in so many bits, and the value.
The values are those of an image of four channels, so a mask's pixel stands there four times, as 255 or 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stage2_distill.exchange.label_map import run_lengths

CHANNELS, INSIDE = 4, 255
VALUE_BITS = 8
LENGTH_BITS = (3, 4, 8, 16)  # as Label Studio's own encoder has them
_LONGEST = 1 << LENGTH_BITS[-1]


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask as Label Studio's ``value.rle``.

    Args:
        mask: bool ``(H, W)``.

    Returns:
        Bytes as numbers.
    """
    lengths = CHANNELS * run_lengths(mask)
    values = np.where(np.arange(len(lengths)) % 2, INSIDE, 0)
    values, lengths = values[lengths > 0], lengths[lengths > 0]
    pieces = -(-lengths // _LONGEST)  # a run that is too long becomes several, the last one shorter
    last = np.cumsum(pieces) - 1
    values, short = np.repeat(values, pieces), np.full(int(pieces.sum()), _LONGEST)
    short[last] = lengths - (pieces - 1) * _LONGEST
    choice = np.searchsorted([1 << bits for bits in LENGTH_BITS], short)
    size = np.array(LENGTH_BITS)[choice]
    # A run as one number: 1, choice, length - 1, value.
    codes = (((4 | choice) << size) | (short - 1)) << VALUE_BITS | values
    head = [(mask.size * CHANNELS, 32), (VALUE_BITS - 1, 5), *((bits - 1, 4) for bits in LENGTH_BITS)]
    numbers = np.concatenate([[number for number, _ in head], codes])
    widths = np.concatenate([[width for _, width in head], 3 + size + VALUE_BITS])
    packed: list[int] = np.packbits(_bits(numbers, widths)).tolist()
    return packed


def _bits(numbers: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return numbers as bits, one after the other, each in its width, the highest bit first."""
    ends = np.cumsum(widths)
    shift = np.repeat(ends, widths) - np.arange(ends[-1]) - 1
    return ((np.repeat(numbers, widths) >> shift) & 1).astype(np.uint8)
