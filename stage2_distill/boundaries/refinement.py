"""Boundary refinement (Sec. 3.2, Fig. 3): the assistant's edges in an overlap move to SAM's where it is undecided."""

from __future__ import annotations

import torch
from torch import Tensor

ITERATES = ('i', 'both')
TIES = ('up', 'down')


@torch.no_grad()
def refine(
    b_i: Tensor,
    b_j: Tensor,
    b_sam: Tensor,
    margin_i: Tensor,
    margin_j: Tensor,
    alpha: float = 0.3,
    *,
    iterate: str = 'i',
    max_search: int | None = None,
    tie: str = 'up',
    axis: str = 'columns',
) -> Tensor:
    """Refine the boundary map of one overlap or many to ``B_ref``.

    A pixel of ``b_i`` stays where all three maps agree. Otherwise it moves to the nearest pixel of ``b_sam`` in its
    column, if either window's prediction is undecided at that pixel: its two largest probabilities are less than
    ``alpha`` apart. Otherwise it stays.

    In this reading, agreement with window j decides nothing: where SAM has a pixel too, the nearest one is the pixel
    itself. The other window counts through its margin alone, unless both maps are walked.

    Args:
        b_i: Boundary map of the teacher assistant seen from window i, bool ``(..., h, o)``.
        b_j: The same seen from window j.
        b_sam: SAM's boundary map.
        margin_i: Largest minus second largest probability of window i in the overlap, ``(..., h, o)`` in [0, 1];
            ``pixelwise.margins``.
        margin_j: The same of window j.
        alpha: Margin below which a prediction is undecided; 0.3 in the paper.
        iterate: Walk over ``b_i`` (``'i'``, as in the text) or over both windows' maps (``'both'``).
        max_search: How far to look, in pixels; None: the whole column.
        tie: Which of two SAM pixels at the same distance, the upper (``'up'``) or lower (``'down'``) one.
        axis: ``'columns'`` for windows beside each other, searched along the column; ``'rows'`` for windows above each
            other, searched along the row (up is then left).

    Returns:
        bool ``(..., h, o)``.

    Raises:
        ValueError: If the shapes don't fit or a setting is unknown.
    """
    if iterate not in ITERATES or tie not in TIES or axis not in ('columns', 'rows'):
        raise ValueError(f'iterate={iterate!r}, tie={tie!r}, axis={axis!r}: i or both, up or down, columns or rows')
    given = b_i, b_j, b_sam, margin_i, margin_j
    shapes = {tuple(part.shape) for part in given}
    if len(shapes) != 1:
        raise ValueError(f'maps and margins of different overlaps: {sorted(shapes)}')
    if axis == 'rows':
        b_i, b_j, b_sam, margin_i, margin_j = (part.transpose(-1, -2) for part in given)
    nearest, exists = _nearest_row(b_sam, max_search, tie)
    undecided = (margin_i < alpha) | (margin_j < alpha)
    sam_believed = exists & undecided.gather(-2, nearest)
    refined = _move(b_i, b_j & b_sam, sam_believed, nearest)
    if iterate == 'both':
        refined |= _move(b_j, b_i & b_sam, sam_believed, nearest)
    return refined.transpose(-1, -2) if axis == 'rows' else refined


def _move(walked: Tensor, others: Tensor, sam_believed: Tensor, nearest: Tensor) -> Tensor:
    """Move the pixels of one map that SAM decides onto its boundary; the others stay."""
    moved = walked & ~others & sam_believed
    height = moved.shape[-2]
    target = moved.new_zeros(*moved.shape[:-2], height + 1, moved.shape[-1])
    target.scatter_(-2, nearest.where(moved, height), True)  # pixels that do not move go to a spare row
    return (walked & ~moved) | target[..., :height, :]


def _nearest_row(boundary: Tensor, max_search: int | None, tie: str) -> tuple[Tensor, Tensor]:
    """Find the nearest boundary row in the column of every pixel, int64 (0 if none), and whether there is one."""
    height = boundary.shape[-2]
    kind = torch.int16 if height < 8000 else torch.int32
    row = torch.arange(height, device=boundary.device, dtype=kind)[:, None]
    on_gpu = boundary.device.type != 'cpu'
    above = running_max(torch.where(boundary, row, -2 * height), on_gpu)
    below = -running_max(torch.where(boundary, -row, -3 * height).flip(-2), on_gpu).flip(-2)
    up, down = row - above, below - row
    take_above = up <= down if tie == 'up' else up < down
    distance = torch.minimum(up, down)
    exists = distance < height if max_search is None else distance <= min(max_search, height - 1)
    return torch.where(take_above, above, below).where(exists, 0).long(), exists


def running_max(values: Tensor, few_kernels: bool) -> Tensor:
    """Compute ``cummax`` down the rows of ``(..., h, w)``.

    Args:
        values: Of any type.
        few_kernels: By PyTorch's own function along memory, as suits a GPU; else in log2(h) steps, faster on a CPU.
    """
    if few_kernels:
        return values.transpose(-1, -2).contiguous().cummax(-1).values.transpose(-1, -2)
    step = 1
    while step < values.shape[-2]:
        values = torch.cat([values[..., :step, :], torch.maximum(values[..., step:, :], values[..., :-step, :])], -2)
        step *= 2
    return values
