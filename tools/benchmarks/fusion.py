"""Fusion and boundary refinement: the loops that the paper's text suggests against stage 2's code."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import CLASSES, HEIGHT, WIDTH, Measurement, alternate, blobs, smooth_logits
from stage2_distill.boundaries.label_boundary import hard_boundary
from stage2_distill.boundaries.refinement import refine
from stage2_distill.fusion import ctcf
from stage2_distill.fusion.mask_atoms import MaskAtoms
from stage2_distill.fusion.pixelwise import margins

_WINDOWS = 7  # of a panorama


def measure_fusion(times: int, device: torch.device, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> list[Measurement]:
    """Measure CTCF of one window and of the seven windows of a panorama."""
    drawn = [blobs(np.random.default_rng(seed), shape=shape).in_painting_order() for seed in range(_WINDOWS)]
    dense = [torch.from_numpy(masks.masks).to(device) for masks in drawn]
    logits = smooth_logits(0, _WINDOWS, *shape).to(device)
    one = MaskAtoms.from_masks(drawn[0]).to(device)
    atoms = MaskAtoms.stack([MaskAtoms.from_masks(masks) for masks in drawn]).to(device)

    def plain() -> list[tuple[Tensor, Tensor]]:
        return [plain_ctcf(masks, scores) for masks, scores in zip(dense, logits, strict=True)]

    slow, fast, prepared, slow_all, fast_all = alternate(
        [
            lambda: plain_ctcf(dense[0], logits[0]),
            lambda: ctcf.fuse(one, logits[:1]),
            lambda: MaskAtoms.from_masks(drawn[0]),
            plain,
            lambda: ctcf.fuse(atoms, logits),
        ],
        times,
        device,
    )
    fused = ctcf.fuse(atoms, logits)
    expected = [torch.stack(part) for part in zip(*plain(), strict=True)]
    differ = sum(int((a != b).sum()) for a, b in zip(fused[:2], expected, strict=True))
    said = 'identical' if differ == 0 else f'{differ} pixels differ'
    notes = {'masks': len(drawn[0]), 'atoms in a worker, ms': prepared}
    return [
        Measurement('CTCF, one window', slow, fast, agreement=said, notes=notes),
        Measurement(f'CTCF, {_WINDOWS} windows', slow_all, fast_all, agreement=said),
    ]


def plain_ctcf(masks: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Apply Eq. 3 mask by mask, as the paper states it."""
    log_p = logits.log_softmax(0)
    entropy = -(log_p.exp() * log_p).sum(0).double()
    labels = logits.argmax(0)
    ensemble, weight = labels.clone(), torch.zeros_like(logits[0])
    for mask in masks:
        inside = labels[mask]
        count = torch.bincount(inside, minlength=CLASSES)
        area = len(inside)
        label = int(count.argmax())
        share = int(count[label]) / area
        reliable = share >= (0.7 if 100 <= area <= 1000 else 0.5)
        if not reliable:
            order = sorted(range(CLASSES), key=lambda c: (-int(count[c]), c))[:3]
            doubt = {c: float(entropy[mask & (labels == c)].mean()) for c in order if count[c]}
            label = min(doubt, key=lambda c: doubt[c])
        ensemble[mask] = label
        weight[mask] = float(reliable)
    return ensemble, weight


def measure_boundary(times: int, device: torch.device) -> list[Measurement]:
    """Measure the refinement of the six overlaps of a panorama."""
    overlaps = _WINDOWS - 1
    left, right = (smooth_logits(seed, overlaps)[..., : WIDTH // 2].softmax(1) for seed in (0, 1))
    sam = [blobs(np.random.default_rng(seed)).in_painting_order().id_map[:, : WIDTH // 2] for seed in range(overlaps)]
    b_sam = hard_boundary(torch.from_numpy(np.stack(sam).astype(np.int64)))
    b_i, b_j = hard_boundary(left.argmax(1)), hard_boundary(right.argmax(1))
    b_i, b_j, b_sam = (b.to(device) for b in (b_i, b_j, b_sam))
    left, right = left.to(device), right.to(device)
    margin_i, margin_j = margins(left), margins(right)
    slow, fast, slow_alone, fast_alone = alternate(
        [
            lambda: plain_refine(b_i, b_j, b_sam, plain_margins(left), plain_margins(right)),
            lambda: refine(b_i, b_j, b_sam, margins(left), margins(right)),
            lambda: plain_refine(b_i, b_j, b_sam, margin_i, margin_j),
            lambda: refine(b_i, b_j, b_sam, margin_i, margin_j),
        ],
        times,
        device,
    )
    plain = plain_refine(b_i, b_j, b_sam, plain_margins(left), plain_margins(right))
    said = 'identical' if torch.equal(plain, refine(b_i, b_j, b_sam, margin_i, margin_j)) else 'DIFFERENT'
    what = f'boundary refinement, {overlaps} overlaps of {HEIGHT}x{WIDTH // 2}'
    pixels = {'boundary pixels': float(b_i.sum())}
    return [
        Measurement(f"{what}, margins known from fusion's pass", slow_alone, fast_alone, agreement=said, notes=pixels),
        Measurement(f'{what}, from probabilities', slow, fast, agreement=said),
    ]


def plain_margins(probabilities: Tensor) -> Tensor:
    """Return the largest probability minus the second largest."""
    return -probabilities.topk(2, dim=1).values.diff(dim=1)[:, 0]


def plain_refine(
    b_i: Tensor, b_j: Tensor, b_sam: Tensor, margin_i: Tensor, margin_j: Tensor, alpha: float = 0.3
) -> Tensor:
    """Refine one boundary pixel after the other."""
    margins = [margin.cpu().numpy() for margin in (margin_i, margin_j)]
    maps = [b.cpu().numpy() for b in (b_i, b_j, b_sam)]
    refined = np.zeros_like(maps[0])
    for n, y, x in zip(*np.nonzero(maps[0]), strict=True):
        rows = np.flatnonzero(maps[2][n, :, x])
        agreed = maps[1][n, y, x] and maps[2][n, y, x]
        if not agreed and len(rows):
            nearest = rows[np.abs(rows - y).argmin()]
            if margins[0][n, nearest, x] < alpha or margins[1][n, nearest, x] < alpha:
                y = nearest
        refined[n, y, x] = True
    return torch.from_numpy(refined).to(b_i.device)
