"""What mask generators that run a network on a device have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

from stage1_sam_cache.errors import Stage1Error
from stage1_sam_cache.sam.settings import SamSettings


class OnDevice:
    """A mask generator's device, which one thread uses at a time.

    Args:
        device: Of the network.
        settings: Of the automatic mask generation; the user may choose fewer points per batch.
    """

    def __init__(self, device: torch.device | str, settings: SamSettings) -> None:
        self.device = torch.device(device)
        self._points_per_batch = settings.points_per_batch
        self._in_use = Lock()

    @property
    def made_with(self) -> dict[str, str]:
        """PyTorch's version and the device's name."""
        cuda = self.device.type == 'cuda'
        return {
            'device': torch.cuda.get_device_name(self.device) if cuda else self.device.type,
            'torch': torch.__version__,
        }

    @property
    def on_accelerator(self) -> bool:
        """Whether the device is another than the processor."""
        return self.device.type != 'cpu'

    @contextmanager
    def memory_explained(self) -> Iterator[None]:
        """Tell what helps where the device's memory is too small.

        Raises:
            Stage1Error: In place of PyTorch's error.
        """
        try:
            yield
        except torch.OutOfMemoryError as problem:
            raise Stage1Error(
                f'{self.device} is out of memory with {self._points_per_batch} points per batch',
                'give a smaller --points-per-batch (the masks stay the same) or a smaller --sam',
            ) from problem
