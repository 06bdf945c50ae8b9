"""Boundary maps: where neighbouring pixels carry different labels (Sec. 3.2).

One definition serves SAM's maps here and the maps of teacher assistant and student in stage 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.masks.instance_masks import InstanceMasks

RULES = ('labels', 'contours')


def boundary_map(labels: NDArray[np.integer], thickness: int = 2) -> NDArray[np.bool_]:
    """Mark pixels with a 4-neighbour of another label.

    The border of the crop is not a boundary: only neighbours inside the crop count.

    Args:
        labels: Integer ``(h, w)``; any value is a label, 0 too.
        thickness: 2 marks both sides of an edge; 1 only the upper or left side (right and lower neighbours compared).

    Returns:
        bool ``(h, w)``.

    Raises:
        ValueError: If the thickness is neither 1 nor 2.
    """
    if thickness not in (1, 2):
        raise ValueError(f'boundary thickness {thickness}; 1 or 2 is needed')
    # Thickness 2 is skimage.segmentation.find_boundaries(mode='thick'). It is written out because that function has no
    # thickness 1 and stage 2 needs the same few lines on tensors.
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:-1] |= down
    edge[:, :-1] |= right
    if thickness == 2:
        edge[1:] |= down
        edge[:, 1:] |= right
    return edge


def contour_map(masks: InstanceMasks) -> NDArray[np.bool_]:
    """Unite the inner contours of all masks, hidden ones too.

    An alternative to ``boundary_map`` of the id map; denser, because edges of parts under other masks count.

    Args:
        masks: Any number of masks over ``(h, w)``.

    Returns:
        bool ``(h, w)``: pixels of a mask with a 4-neighbour inside the crop that is not in that mask.
    """
    inside = masks.masks
    contour = np.zeros(masks.shape, dtype=bool)
    contour[1:] |= (inside[:, 1:] & ~inside[:, :-1]).any(axis=0)
    contour[:-1] |= (inside[:, :-1] & ~inside[:, 1:]).any(axis=0)
    contour[:, 1:] |= (inside[:, :, 1:] & ~inside[:, :, :-1]).any(axis=0)
    contour[:, :-1] |= (inside[:, :, :-1] & ~inside[:, :, 1:]).any(axis=0)
    return contour
