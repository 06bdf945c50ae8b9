"""Prototypes by field of view (FPA): where a class looks a certain way on source patches, it should on target patches.

``g`` are the head's features ``(B, c, h, w)``. Each pixel belongs to a row, which says where its patch lies, and to a
class. A prototype is the mean of the source's features in a row and class, by the frozen anchor and the true labels;
the target's features, by the trained model and its pseudo-labels, are pulled towards it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from stage2_distill.errors import ConfigError
from stage2_distill.omnisam.patches import nearest_places

INDICES = ('window', 'step', 'class')


class FeatureSums(NamedTuple):
    """Sums of features by row and class.

    Attributes:
        sums: float32 ``(R, C, c)``.
        pixels: How many pixels each is the sum of, float32 ``(R, C)``.
        visited: Rows of which there was a patch, bool ``(R,)``.
    """

    sums: Tensor
    pixels: Tensor
    visited: Tensor

    def plus(self, other: FeatureSums) -> FeatureSums:
        """Return the sums of both."""
        return FeatureSums(self.sums + other.sums, self.pixels + other.pixels, self.visited | other.visited)

    def means(self) -> Tensor:
        """Return the mean features ``(R, C, c)``, 0 where there is no pixel."""
        return self.sums / self.pixels.clamp(min=1)[..., None]


def sum_features(features: Tensor, labels: Tensor, rows: Tensor, shape: tuple[int, int]) -> FeatureSums:
    """Add up the features of every row and class.

    Args:
        features: ``g``, floating point ``(B, c, h, w)``; the gradient passes through.
        labels: Class ids of any integer type ``(B, h', w')``, enlarged or reduced to ``h, w``, nearest; ids of C and
            more, such as 255, are left out.
        rows: The row of each patch, int64 ``(B,)``.
        shape: R and C.
    """
    rows_of_all, classes = shape
    channels, (height, width) = features.shape[1], features.shape[-2:]
    at = [nearest_places(*sides, labels.device) for sides in zip(labels.shape[-2:], (height, width), strict=True)]
    small = labels[..., at[0][:, None], at[1]].long()
    nowhere = rows_of_all * classes  # a last place for pixels that are left out
    place = (rows[:, None, None] * classes + small).masked_fill(small >= classes, nowhere).flatten()
    pixels = features.float().movedim(1, -1).reshape(-1, channels)
    sums = pixels.new_zeros(nowhere + 1, channels).index_add(0, place, pixels)
    counts = pixels.new_zeros(nowhere + 1).index_add(0, place, torch.ones_like(pixels[:, 0]))
    visited = torch.zeros(rows_of_all, dtype=torch.bool, device=features.device).index_fill(0, rows, True)
    return FeatureSums(
        sums[:-1].unflatten(0, (rows_of_all, classes)), counts[:-1].unflatten(0, (rows_of_all, classes)), visited
    )


def of_all_processes(found: FeatureSums) -> FeatureSums:
    """Add up the sums of all processes.

    Each process keeps the gradient of its own part, as many times as there are processes: so the mean of all
    processes' gradients, which distributed training takes, is the gradient of one process with the whole batch.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return found
    flat = torch.cat([found.sums.detach().flatten(), found.pixels.flatten(), found.visited.float()])
    dist.all_reduce(flat)
    sizes = [found.sums.numel(), found.pixels.numel(), found.visited.numel()]
    sums, pixels, visited = flat.split(sizes)
    own = dist.get_world_size() * (found.sums - found.sums.detach())
    return FeatureSums(sums.view_as(found.sums) + own, pixels.view_as(found.pixels), visited > 0)


class Prototypes(nn.Module):
    """Running means of source features, by row and class; buffers, so that checkpoints have them.

    Args:
        classes: C.
        channels: c, of the features.
        index: What a row is. ``'window'``: the place of the patch in the image, so that position and distortion are the
            same. ``'step'``: its place in the order of the visit, as the authors' first revision; with reversed orders
            it mixes windows. ``'class'``: there is one row for all patches, as the second revision has it (which also
            weighs newer features more and normalises those of the source).
        positions: R, how many windows or steps there are; 1 with ``'class'``.
        literal: Count absent classes as features of 0, in the mean and in the loss, as the authors' code: rare classes
            shrink towards 0. False: a class counts only where it is present.

    Attributes:
        means: P, float32 ``(R, C, c)``.
        counts: How many batches each is the mean of, int64 ``(R, C)``.

    Raises:
        ConfigError: For another ``index``, or no rows.
    """

    means: Tensor
    counts: Tensor

    def __init__(
        self, classes: int, channels: int = 256, index: str = 'window', positions: int = 9, literal: bool = False
    ) -> None:
        super().__init__()
        if index not in INDICES:
            raise ConfigError(f'model.prototypes.index={index!r}', f'give one of {", ".join(INDICES)}')
        if not isinstance(positions, int) or positions < 1:
            raise ConfigError(f'model.prototypes.positions={positions}', 'give the number of windows')
        self.index, self.literal = index, literal
        self.positions = 1 if index == 'class' else positions
        self.register_buffer('means', torch.zeros(self.positions, classes, channels))
        self.register_buffer('counts', torch.zeros(self.positions, classes, dtype=torch.long))
        self.register_load_state_dict_pre_hook(_begin_without)

    def rows(self, windows: Tensor, step: int) -> Tensor:
        """Return the row of each sample's patch.

        Args:
            windows: Indices of the windows, int64 ``(B,)``.
            step: The place in the order of the visit.
        """
        if self.index == 'window':
            return windows
        return torch.full_like(windows, step if self.index == 'step' else 0)

    def sums(self, features: Tensor, labels: Tensor, rows: Tensor) -> FeatureSums:
        """As ``sum_features``, of this number of rows and classes."""
        return sum_features(features, labels, rows, (self.means.shape[0], self.means.shape[1]))

    @torch.no_grad()
    def update(self, source: FeatureSums) -> None:
        """Take in a batch: ``P += (T - P) / s``, ``s`` the number of batches with it, also this one.

        The authors' ``s`` is the step of the whole run, which jumps at the second round and leaves P where it is.

        Args:
            source: Of all processes.
        """
        new = source.visited[:, None].expand_as(self.counts) if self.literal else source.pixels > 0
        self.counts += new
        share = new / self.counts.clamp(min=1)
        self.means += share[..., None] * (source.means() - self.means)

    def loss(self, target: FeatureSums) -> Tensor:
        """Mean squared difference of the target's mean features and the prototypes (L_fpa).

        The paper divides a Frobenius norm by the number of values; whether the norm is squared is left open. It is
        here, so that the loss is a mean of squares and does not depend on how many classes a batch has.

        Args:
            target: Of all processes.

        Returns:
            Scalar: the mean over channels, and over the rows and classes that target and prototypes both have; 0 if
            there are none. With ``literal`` over all classes of the rows that were visited.
        """
        if self.literal:
            both = target.visited[:, None].expand_as(self.counts)
        else:
            both = (target.pixels > 0) & (self.counts > 0)
        squares = (target.means() - self.means).square().mean(-1)
        return (squares * both).sum() / both.sum().clamp(min=1)


def _begin_without(prototypes: Prototypes, weights: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Let prototypes be as they are where a checkpoint, of the source training, has none."""
    for name, value in prototypes.named_buffers():
        weights.setdefault(f'{prefix}{name}', value)
