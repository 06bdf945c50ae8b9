"""Memory of what runs on a CPU."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # as in malloc.h


def keep_freed_memory() -> bool:
    """Lets the C library keep the memory of freed tensors for the next ones; False where that can't be asked for.

    glibc gives large blocks back to the system at once, which clears them page by page when they are asked for again.
    For tensors of 100 MB that can take longer than what is computed on them (docs/performance.md).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
