"""What a piece of work asks of a device, counted on any machine: kernels, bytes moved without arithmetic, waits."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from segment_anything import sam_model_registry
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import step
from benchmarks.common import Measurement, picture
from benchmarks.random_sam import answers, mask_side, random_generator
from stage1_sam_cache.sam.fast_networks import accelerate
from stage1_sam_cache.sam.settings import SamSettings

# Results whose size, or values that the processor, waits for.
_READ = ('_local_scalar_dense', 'nonzero', '_unique2', 'unique_dim', 'masked_select', 'bincount', 'equal', 'nms')
_TRANSFERS = ('cpu', 'numpy', 'tolist', 'to')
_ARITHMETIC = ('mm', 'addmm', 'bmm', 'baddbmm', 'convolution', 'attention', 'linear')


def measure(model: str, points: int, device: torch.device) -> list[Measurement]:
    """Count what a window of 400x512 asks for, stock and fast, and what a training step asks for beside its networks.

    Args:
        model: Key of ``ARCHITECTURES``.
        points: Points per side, all in one batch.
        device: Where it runs; the counts are the same everywhere but for operations that a device fuses.
    """
    settings = SamSettings(points_per_side=points, points_per_batch=points**2)
    image = np.ascontiguousarray(picture(0))
    found = []
    for level in ('stock', 'fp32-fast'):
        generator = random_generator(model, level, settings, device)
        with (
            answers(points, mask_side(model)),
            mock.patch('stage1_sam_cache.sam.fast_generation.CPU_POINTS', points**2),
        ):
            generator.generate(image)  # prompts are then known, as for all windows but the first
            found.append(counted(partial(generator.generate, image)))
    rows = _rows(f'{model}, {points}x{points} points, a window', *found)
    return rows + decoder(points) + measure_step()


def measure_step() -> list[Measurement]:
    """Count what a training step at 400x2048 asks for, on a device that computes nothing and takes a GPU's ways."""
    nowhere, rows = torch.device('meta'), []
    for frozen in (True, False):
        calls = step.step_and_parts(nowhere, 2 * step.HALF, False, frozen)
        for call in calls:
            call()  # what is made once, such as states of the optimizers, is there
        whole, *parts = (counted(call, nowhere) for call in calls)
        kind = 'frozen' if frozen else 'trained'
        what = f'training step, {2 * step.HALF} rows, assistant {kind}: networks alone, then all'
        rows += _rows(what, _sum(parts[:2]), whole)  # without the copy that labels, which GoodSAM adds
    return rows


def decoder(points: int, dtype: torch.dtype = torch.float32) -> list[Measurement]:
    """Count what SAM's mask decoder asks for to make three masks of each point, stock and fast.

    Args:
        points: How many, in one batch.
        dtype: Of the weights and of what the decoder takes.
    """
    sam = sam_model_registry['vit_b']().eval()
    stock, prompt_encoder = sam.mask_decoder.to(dtype), sam.prompt_encoder
    fast = accelerate(copy.deepcopy(sam)).mask_decoder
    side, width = prompt_encoder.image_embedding_size[0], prompt_encoder.embed_dim
    image, position = torch.randn(2, 1, width, side, side, dtype=dtype)
    prompts, no_mask = torch.randn(points, 2, width, dtype=dtype), torch.randn(width, dtype=dtype)
    dense = no_mask.view(1, -1, 1, 1).expand(points, -1, side, side)
    with torch.no_grad():
        plain = counted(lambda: stock(image, position, prompts, dense, True))
        quick = counted(lambda: fast.decode(fast.share(image, position, no_mask), prompts, (side, side)))
    return _rows(f'mask decoder of SAM, {points} points, all masks', plain, quick)


def counted(call: Callable[[], object], device: torch.device | None = None) -> Counts:
    """Run something and count what it asks for; with a device, what it asks of that one."""
    with Counts(device) as counts:
        call()
    return counts


def _sum(parts: list[Counts]) -> Counts:
    total = Counts()
    for part in parts:
        total.kernels += part.kernels
        total.moved += part.moved
        total.touched += part.touched
        total.waits += part.waits
    return total


def _rows(what: str, plain: Counts, fast: Counts) -> list[Measurement]:
    return [
        Measurement(f'{what}: kernels', plain.kernels, fast.kernels, ''),
        Measurement(f'{what}: moved', plain.moved / 1e6, fast.moved / 1e6, 'MB'),
        Measurement(f'{what}: moved, with arithmetic', plain.touched / 1e6, fast.touched / 1e6, 'MB'),
        Measurement(f'{what}: waits', plain.waits.total(), fast.waits.total(), ''),
    ]


class Counts(TorchDispatchMode):
    """Counts PyTorch's operations while it is entered.

    Attributes:
        kernels: Operations that compute something; views are free.
        moved: Bytes that these read and write, without matrix products, convolutions and attention: what elementwise
            operations, copies and reductions cost a device, whose time for them is their bytes.
        touched: Bytes that all kernels read and write, with those.
        waits: By name, how often the thread that asks would wait for a GPU: values or sizes that it reads, and copies
            of a device's tensors to the host; also what is copied to it in a way that waits. Other threads may wait.
            Lists as indices are copied too, but PyTorch does that where it can't be seen.

    Args:
        device: Whose tensors are waited for. None: every tensor stands for one of a device, those of the CPU too.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self._device, self._inside = device, False
        self.kernels = 0
        self.moved = 0
        self.touched = 0
        self.by_name: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self._thread = 0
        self._patches = [
            mock.patch.object(Tensor, name, self._noticed(getattr(Tensor, name), name)) for name in _TRANSFERS
        ]

    def _noticed(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def noticed(tensor: Tensor, *args: Any, **options: Any) -> Any:
            # A device that is given as a value may be the one that the tensor is on already.
            to_host = bool(args) and isinstance(args[0], str) and args[0] == 'cpu' and not options.get('non_blocking')
            asking = threading.get_ident() == self._thread and not self._inside and self._is_there(tensor)
            if not asking or (name == 'to' and not to_host):
                return method(tensor, *args, **options)
            self.waits[name] += 1
            self._inside = True  # a list of many numbers is one wait
            try:
                return method(tensor, *args, **options)
            finally:
                self._inside = False

        return noticed

    def __enter__(self) -> Counts:
        self._thread = threading.get_ident()
        for patch in self._patches:
            patch.start()
        super().__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        super().__exit__(*problem)
        for patch in self._patches:
            patch.stop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation and run it."""
        result = func(*args, **(kwargs or {}))
        name = func.name().split('::')[1].split('.')[0]
        if self._waits(name, args, kwargs or {}, result):
            self.waits[name] += 1
        if not (func.is_view or name in ('detach', 'empty', 'empty_strided', 'new_empty', '_unsafe_view')):
            self.kernels += 1
            size = _bytes((args, kwargs, result))
            self.touched += size
            if not any(part in name for part in _ARITHMETIC):
                self.moved += size
                self.by_name[name] += size
        return result

    def _is_there(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and (self._device is None or tensor.device.type == self._device.type)

    def _waits(self, name: str, args: Any, kwargs: dict[str, Any], result: Any) -> bool:
        """Whether the processor would wait for this operation."""
        if name in _READ:
            return not self._inside and self._is_there(args[0])
        if name in ('index', 'index_put', 'index_put_'):
            places = [x for x in args[1] if x is not None]
            return self._is_there(args[0]) and any(x.dtype == torch.bool or x.device != args[0].device for x in places)
        if name in ('_to_copy', 'copy_'):
            source, blocks = args[name == 'copy_'], not (kwargs.get('non_blocking') or True in args[2:])
            return blocks and source.ndim > 0 and source.device != result.device
        return False


def _bytes(tree: Any) -> int:
    tensors: Iterable[Tensor] = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return sum(_stored(tensor) for tensor in tensors)


def _stored(tensor: Tensor) -> int:
    """Bytes that a tensor's values take in memory; a broadcast value is read once."""
    numbers = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numbers *= size if stride else 1
    return numbers * tensor.element_size()
