"""The memory that a step of SAM's adaptation needs, counted on any machine: the tensors that live at once."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.common import HEIGHT, WIDTH, Measurement
from stage1_sam_cache.adaptation.adaptation import Adaptation
from stage1_sam_cache.adaptation.prompts import Prompts
from stage1_sam_cache.adaptation.settings import AdaptSettings
from stage1_sam_cache.adaptation.window_dataset import PromptedWindow


def measure() -> list[Measurement]:
    """Count a step's memory with all activations kept, and with blocks that are computed twice."""
    rows = []
    for model, batch in (('vit_b', 1), ('vit_h', 1), ('vit_h', 4)):
        kept, again = (peak(model, batch, checkpointing) / 2**30 for checkpointing in (False, True))
        what = f'{model}, bfloat16, {batch} window{"s" * (batch > 1)} of 40 masks: memory, blocks computed twice'
        rows.append(Measurement(what, kept, again, 'GiB'))
    return rows


def peak(model: str, batch: int, checkpointing: bool) -> int:
    """Return the most bytes of tensors that live at once in a step, weights among them.

    Args:
        model: Key of SAM's registry.
        batch: Windows.
        checkpointing: Of ``AdaptSettings``.
    """
    # Fake tensors compute nothing and hold no values; autocast takes them for those of a processor.
    with FakeTensorMode():
        sam = sam_model_registry[model]().eval()
        sam.prompt_encoder = _Prompts(sam.prompt_encoder)
        # The background would be looked for in values.
        settings = AdaptSettings(checkpointing=checkpointing, contrast_background=False)
        adaptation = Adaptation(sam, settings)
        windows = [_window(settings.instances // 2) for _ in range(batch)]
        with LiveBytes(sam.parameters()) as live:
            with torch.autocast('cpu', torch.bfloat16):
                losses, targets = adaptation.teacher_losses(windows)
            _total(losses).backward()
            del losses
            with torch.autocast('cpu', torch.bfloat16):
                losses = adaptation.student_losses(windows, targets)
            _total(losses).backward()
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, while they live.

    Args:
        there: Tensors that are there before.

    Attributes:
        now, peak: Bytes.
    """

    def __init__(self, there: Any = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}
        for tensor in there:
            self._add(tensor)

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it makes."""
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone(_: Any) -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)


class _Prompts(nn.Module):
    """What a prompt encoder gives, by shape: the real one looks at its labels' values."""

    def __init__(self, real: PromptEncoder) -> None:
        super().__init__()
        self.mask_input_size, self.width, self.grid = real.mask_input_size, real.embed_dim, real.image_embedding_size

    def forward(self, points: Any, boxes: Any, masks: Any) -> tuple[Tensor, Tensor]:
        """Two tokens a prompt, and no mask."""
        count = len(boxes if points is None else points[0])
        sparse, dense = torch.empty(count, 2, self.width), torch.empty(self.width)
        return sparse, dense.view(1, -1, 1, 1).expand(count, -1, *self.grid)

    def get_dense_pe(self) -> Tensor:
        """The position of each place."""
        return torch.empty(1, self.width, *self.grid)


def _window(count: int) -> PromptedWindow:
    """A window with ``count`` masks asked for by a point, and as many by a box."""
    size = 1024
    view = torch.empty(3, size * HEIGHT // WIDTH, size, dtype=torch.uint8)
    masks = torch.empty(count, HEIGHT, WIDTH, dtype=torch.bool)
    points = Prompts('point1', masks, torch.empty(count, 1, 2), torch.empty(count, 1, dtype=torch.int64))
    return PromptedWindow(view, view, [points, Prompts('box', masks, boxes=torch.empty(count, 4))])


def _total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack([value for name, value in losses.items() if name.startswith('loss')]).sum()
