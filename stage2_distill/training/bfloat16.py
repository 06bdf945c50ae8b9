"""Mixed precision with bfloat16, on GPUs and on CPUs; MMEngine's own wrapper works on GPUs alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


def bfloat16_is_fast() -> bool:
    """Return whether bfloat16 saves time here: on a GPU, or on a CPU whose instructions oneDNN can use for it.

    On other CPUs a convolution in bfloat16 takes about 20 times as long as in float32.
    """
    return torch.cuda.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast; weights and optimizer stay float32.

    bfloat16 has float32's range, so no loss scaling is needed.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        """The context of one forward pass."""
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield
