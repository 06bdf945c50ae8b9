"""Masks of an image on their way from the device to the host."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stage1_sam_cache.sam.exact_generation import PackedMasks


class DeviceMasks(NamedTuple):
    """Masks of a crop, on their device: bits, scores, boxes, and which of the answers, three per point."""

    bits: Tensor
    iou: Tensor
    stability: Tensor
    boxes: Tensor
    answer: Tensor


class ArrivingMasks:
    """Masks of an image on their way from the device to the host; another thread can wait for them.

    Args:
        masks: On their device.
        width: Of the image.
    """

    def __init__(self, masks: DeviceMasks, width: int) -> None:
        device, self._width = masks.bits.device, width
        free = device.type in ('cpu', 'cuda')  # other devices do not say when a copy is complete
        self._bits = masks.bits.to('cpu', non_blocking=free)
        self._scores = torch.stack([masks.iou, masks.stability]).to('cpu', non_blocking=free)
        self._arrived = torch.cuda.Event(blocking=True) if device.type == 'cuda' else None
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(device))

    def wait(self) -> PackedMasks:
        """Return the masks when they have arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        iou, stability = self._scores.tolist()
        return PackedMasks(self._bits.numpy(), self._width, iou, stability)
