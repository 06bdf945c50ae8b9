"""Memory: how much is free on a device, and how a CPU keeps what was freed."""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

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


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that this process can still get on a device; None if that is not known.

    On a CPU it is the least of what the machine has left, what the container may use, and the process's own limits
    (``ulimit -v``). Processes that torchrun started on one machine share its memory in equal parts.
    """
    if device.type == 'cuda':
        import torch

        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    if device.type != 'cpu':
        return None
    shares = os.environ.get('LOCAL_WORLD_SIZE', '')
    share = max(1, int(shares)) if shares.isdecimal() else 1
    common = [left // share for left in (_machine_left(), _group_left()) if left is not None]
    found = common + _own_left()
    return max(0, min(found)) if found else None


def _machine_left() -> int | None:
    with suppress(OSError, StopIteration, ValueError):  # Linux only
        lines = Path('/proc/meminfo').read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith('MemAvailable:')).split()[1])
    return None


def _group_left() -> int | None:
    """What the control groups of this process, a container or a job for example, may still use; None without a limit.

    Pages of files that were read count as used, but can be dropped at any time, so that they are free.
    """
    found = []
    with suppress(OSError, ValueError):  # Linux only
        for line in Path('/proc/self/cgroup').read_text().splitlines():
            _, kinds, path = line.split(':', 2)
            if not kinds:
                found += _limits_up_to(Path('/sys/fs/cgroup'), path, 'memory.max', 'memory.current')
            elif 'memory' in kinds.split(','):
                names = ('memory.limit_in_bytes', 'memory.usage_in_bytes')
                found += _limits_up_to(Path('/sys/fs/cgroup/memory'), path, *names)
    return min(found) if found else None


def _limits_up_to(top: Path, path: str, limit: str, used: str) -> list[int]:
    """What a control group and those above it may still use."""
    found = []
    folder = top / path.lstrip('/')
    for place in (folder, *folder.parents):
        with suppress(OSError, ValueError):  # also 'max', which is no limit
            bound = int((place / limit).read_text())
            pages = dict(line.split() for line in (place / 'memory.stat').read_text().splitlines())
            found.append(max(0, bound - int((place / used).read_text()) + int(pages.get('inactive_file', 0))))
        if place == top:
            break
    return found


def _own_left() -> list[int]:
    """What the limits of the process leave; empty where there are none."""
    left = []
    with suppress(OSError, ValueError):  # Linux only
        pages = [int(number) for number in Path('/proc/self/statm').read_text().split()]
        for limit, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
            bound = resource.getrlimit(limit)[0]
            if bound != resource.RLIM_INFINITY:
                left.append(bound - used * resource.getpagesize())
    return left
