"""What the compiled mask decoder asks for, counted in the code that inductor writes for it; nothing of it runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import torch
from segment_anything import sam_model_registry
from torch._inductor.graph import GraphLowering
from torch._inductor.utils import fresh_cache

from benchmarks.common import Measurement
from benchmarks.counts import counted
from stage1_sam_cache.sam.fast_networks import accelerate

# Calls of compiled kernels, and of PyTorch's own.
_KERNEL = re.compile(r'^ +(?:\w+ = )?(?:cpp_fused\w*|extern_kernels\.\w+|torch\.ops\.\w+\.\w+\S*)\(', re.MULTILINE)


class _Written(Exception):
    """The code is there, and is not needed as a program."""


def measure(points: int) -> list[Measurement]:
    """Count kernels and bytes of SAM's mask decoder for a full batch, as it is and compiled for a CPU.

    Args:
        points: Of the batch; all three masks of each are made.
    """
    sam = accelerate(sam_model_registry['vit_b']().eval())
    decoder, side, width = sam.mask_decoder, sam.prompt_encoder.image_embedding_size[0], sam.prompt_encoder.embed_dim
    image, position = torch.randn(2, 1, width, side, side)
    shared = decoder.share(image, position, torch.randn(width))
    prompts, shown = torch.randn(points, 2, width), torch.randn(points, side, side, width)
    tokens, which = torch.randn(points, 3, width), torch.arange(3 * points)
    rows = []
    with torch.no_grad():
        for name, part, inputs, dynamic in (
            ('answers', decoder.answer, (shared, prompts), None),
            ('masks', decoder.draw, (shown, tokens, which), True),
        ):
            plain = counted(partial(part, *inputs))
            kernels, moved = written(torch.compile(part, dynamic=dynamic), *inputs)
            what = f'{name} of the mask decoder of SAM, {points} points, compiled for a CPU'
            rows.append(Measurement(f'{what}: kernels', plain.kernels, kernels, ''))
            rows.append(Measurement(f'{what}: moved, with arithmetic', plain.touched / 1e6, moved / 1e6, 'MB'))
    return rows


def written(compiled: Callable[..., object], *inputs: Any) -> tuple[int, int]:
    """Return the number of kernels in the code that is written for a compiled function, and the bytes that they move.

    Raises:
        RuntimeError: If the function is not compiled as a whole.
    """
    found: list[tuple[int, int]] = []

    def count(lowering: GraphLowering) -> None:
        code = lowering.codegen()[0].value
        called = code[code.index('def call(') :]
        found.append((len(_KERNEL.findall(called)), lowering.count_bytes()[0]))
        raise _Written

    torch.compiler.reset()
    with mock.patch.object(GraphLowering, 'compile_to_module', count), fresh_cache():
        try:
            compiled(*inputs)
        except Exception:  # what inductor makes of the one above
            if not found:
                raise
    if len(found) != 1:
        raise RuntimeError(f'{len(found)} graphs were compiled')
    return found[0]
