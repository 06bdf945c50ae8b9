"""The ensemble labels of a panorama as training sees them, of its whole area."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stage2_distill.geometry.window_batch import stitch_windows
from stage2_distill.heads.lesson import without_left_out
from stage2_distill.models.goodsam import GoodSAM


@torch.no_grad()
def ensemble_labels(model: GoodSAM, packed: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return ensemble labels and weight map of one panorama, without augmentation.

    Where windows overlap, each pixel has the label of the window that owns it, as in scores and pictures.

    Args:
        model: In evaluation mode; its averaged assistant makes the labels, if it has one.
        packed: A sample with ``cached_masks``, as ``PackPanorama`` packs it.

    Returns:
        Class ids, uint8 ``(H, W)``, 255 where a pixel is ignored or left out; weights, float32 ``(H, W)``, 0 to 1.

    Raises:
        MaskCacheError: As ``GoodSAM.make_lesson``.
    """
    data = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
    data = model.data_preprocessor(data, False)
    lesson = without_left_out(model.ask(data['inputs'], data['data_samples'])[1], data['data_samples'])
    labels, weight = (stitch_windows(part, lesson.grid)[0].cpu() for part in lesson.ensemble[:2])
    return labels.to(torch.uint8).numpy(), weight.float().numpy()
