"""Memory of work on a CPU."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # as in malloc.h


def keep_freed_memory() -> bool:
    """Make the C library keep the memory of freed tensors for the next ones; False if it has no such option.

    glibc returns large blocks to the system at once, and the system clears them page by page before they are used
    again. For tensors of 100 MB that can take longer than the computation on them (docs/performance.md).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
