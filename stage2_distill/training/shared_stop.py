"""Whether a run was asked to stop, known to all of its processes after the same iteration."""

from __future__ import annotations

import torch
import torch.distributed as dist
from mmengine.dist import get_comm_device, get_world_size
from torch import Tensor

from stage1_sam_cache.system import interruption


class SharedStop:
    """Agrees on whether any process of a run got a signal.

    A signal reaches processes at different moments, and one that stopped alone would leave the others waiting. So the
    largest of one number each is found while an iteration runs. MMEngine waits for the device at its end to log the
    losses, so that the number is there by then and costs no further wait.
    """

    def __init__(self) -> None:
        self._flag: Tensor | None = None

    def begin(self) -> None:
        """Begin an iteration, in all processes."""
        if get_world_size() == 1:
            return
        if self._flag is None:
            self._flag = torch.zeros(1, device=get_comm_device())
        self._flag.fill_(float(interruption.stopping()))
        dist.all_reduce(self._flag, dist.ReduceOp.MAX)

    def end(self) -> bool:
        """Whether all processes stop after this iteration.

        Of several processes, a signal during the iteration counts in the next one.
        """
        return interruption.stopping() if self._flag is None else bool(self._flag)
