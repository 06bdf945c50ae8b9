"""Instance masks in the form that fusion computes on: atoms, sets of pixels that lie in the same masks.

Masks overlap, so counting labels inside each of them touches many pixels many times. A window of 75 masks has some 500
atoms: counting touches every pixel once, and the rest is arithmetic on a few thousand pairs of atom and mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stage1_sam_cache.masks.instance_masks import InstanceMasks


@dataclass(frozen=True, eq=False)
class MaskAtoms:
    """The masks of ``N`` windows: ``K`` masks and ``A`` atoms in all, numbered across the windows.

    Masks keep their painting order: of two that overlap, the one of higher number lies on top.

    Attributes:
        atom_map: int64 ``(N, h, w)``, the atom of each pixel.
        atom_of_pair: int64 ``(P,)``; with ``mask_of_pair`` it says which atoms lie in which masks.
        mask_of_pair: int64 ``(P,)``.
        top: int64 ``(A,)``, the topmost mask of each atom, -1 where no mask lies.
        window_of_mask: int64 ``(K,)``.
    """

    atom_map: Tensor
    atom_of_pair: Tensor
    mask_of_pair: Tensor
    top: Tensor
    window_of_mask: Tensor

    @classmethod
    def from_masks(cls, masks: InstanceMasks | Tensor | NDArray[np.bool_]) -> MaskAtoms:
        """Take the masks of one window.

        Args:
            masks: As the cache holds them, or bool ``(K, h, w)``; in painting order, later ones on top.

        Raises:
            ValueError: If an array is not of three dimensions, or holds an empty mask.
        """
        if not isinstance(masks, InstanceMasks):
            dense = np.asarray(masks.detach().cpu() if isinstance(masks, Tensor) else masks)
            masks = InstanceMasks.from_dense(dense)
            if len(masks) != len(dense):
                raise ValueError('a mask without a pixel: remove empty masks first')
        for seed in range(8):
            atoms = cls._by_hash(masks, seed)
            if atoms is not None:
                return atoms
        raise AssertionError('eight seeds gave colliding hashes')

    @classmethod
    def _by_hash(cls, masks: InstanceMasks, seed: int) -> MaskAtoms | None:
        """Add a random number over each mask: equal sums are the same set of masks. None after a collision."""
        height, width = masks.shape
        size, count = height * width, len(masks)
        number = np.random.default_rng(seed).integers(1, 2**63, count, dtype=np.uint64)[masks.mask_of_run]
        starts = masks.rows * width + masks.starts
        ends = masks.rows * width + masks.ends
        change = np.zeros(size + 1, np.uint64)
        np.add.at(change, starts, number)
        np.subtract.at(change, ends, number)
        # Between two places where a mask begins or ends all pixels belong to one atom.
        breaks = np.zeros(size + 1, bool)
        breaks[starts], breaks[ends], breaks[0] = True, True, True
        piece_starts = np.flatnonzero(breaks[:size])
        sums = np.cumsum(change[:size], dtype=np.uint64)[piece_starts]
        atom_sums, atom_of_piece = np.unique(sums, return_inverse=True)
        pieces = np.diff(piece_starts, append=size)
        # Every run covers whole pieces: those from its start up to its end.
        piece_at = np.cumsum(breaks) - 1
        first, last = piece_at[starts], piece_at[ends - 1]
        lengths = last - first + 1
        before = np.cumsum(lengths) - lengths
        covered = np.arange(lengths.sum()) + np.repeat(first - before, lengths)
        member = np.zeros((len(atom_sums), count), bool)
        member[atom_of_piece[covered], np.repeat(masks.mask_of_run, lengths)] = True
        area = np.bincount(atom_of_piece, pieces, minlength=len(atom_sums))
        if count and not np.array_equal(area @ member, masks.area):
            return None
        atom, mask = np.nonzero(member)
        top = np.full(len(atom_sums), -1)
        np.maximum.at(top, atom, mask)
        maps = np.repeat(atom_of_piece, pieces).reshape(1, height, width)
        return cls(*map(torch.from_numpy, (maps, atom, mask, top, np.zeros(count, np.int64))))

    @classmethod
    def stack(cls, parts: Sequence[MaskAtoms]) -> MaskAtoms:
        """Join the windows of several, in order.

        Raises:
            ValueError: If there are none, or their windows differ in size.
        """
        if not parts or len({part.atom_map.shape[1:] for part in parts}) != 1:
            raise ValueError('masks of windows of one size are needed')
        if len(parts) == 1:
            return parts[0]
        atoms = np.cumsum([0] + [part.atoms for part in parts])
        masks = np.cumsum([0] + [part.masks for part in parts])
        windows = np.cumsum([0] + [part.windows for part in parts])
        shifted = [
            (p.atom_map + a, p.atom_of_pair + a, p.mask_of_pair + m, p.top + m * (p.top >= 0), p.window_of_mask + w)
            for p, a, m, w in zip(parts, atoms.tolist(), masks.tolist(), windows.tolist(), strict=False)
        ]
        return cls(*(torch.cat(part) for part in zip(*shifted, strict=True)))

    @property
    def windows(self) -> int:
        """``N``."""
        return self.atom_map.shape[0]

    @property
    def masks(self) -> int:
        """``K``."""
        return self.window_of_mask.shape[0]

    @property
    def atoms(self) -> int:
        """``A``."""
        return self.top.shape[0]

    @property
    def covered(self) -> Tensor:
        """bool ``(N, h, w)``: whether any mask lies there."""
        return self.spread(self.top >= 0)

    def flipped(self) -> MaskAtoms:
        """Mirror every window left to right; their order stays."""
        return replace(self, atom_map=self.atom_map.flip(-1))

    def sum_atoms(self, values: Tensor) -> Tensor:
        """Add up the values of each atom's pixels.

        Args:
            values: ``(N, h, w)`` or ``(N, D, h, w)``.

        Returns:
            ``(A,)`` or ``(A, D)``.
        """
        if values.ndim == 4:
            values = values.movedim(1, -1)
            flat = values.reshape(-1, values.shape[-1])
            return flat.new_zeros(self.atoms, flat.shape[1]).index_add_(0, self.atom_map.flatten(), flat)
        return values.new_zeros(self.atoms).index_add_(0, self.atom_map.flatten(), values.flatten())

    def sum_masks(self, values: Tensor, support: str = 'full') -> Tensor:
        """Add up the values of each mask's atoms.

        Args:
            values: ``(A, ...)``.
            support: ``'full'``, the whole mask; ``'visible'``, the part that no other mask hides.

        Returns:
            ``(K, ...)``.

        Raises:
            ValueError: If the support is unknown.
        """
        total = values.new_zeros(self.masks, *values.shape[1:])
        if support == 'full':
            return total.index_add_(0, self.mask_of_pair, values[self.atom_of_pair])
        if support == 'visible':
            seen = self.top >= 0
            return total.index_add_(0, self.top.clamp(min=0), values * _like(seen, values)) if self.masks else total
        raise ValueError(f"support {support!r} is neither 'full' nor 'visible'")

    def spread(self, values: Tensor) -> Tensor:
        """Give every pixel its atom's value: ``(A,)`` to ``(N, h, w)``."""
        return values.index_select(0, self.atom_map.flatten()).view(self.atom_map.shape)

    def paint(self, values: Tensor, elsewhere: Tensor | float) -> Tensor:
        """Paint masks in their order.

        Args:
            values: ``(K,)``, one for each mask.
            elsewhere: Kept where no mask lies: ``(N, h, w)`` of the same dtype, or one number.

        Returns:
            ``(N, h, w)``.
        """
        if not isinstance(elsewhere, Tensor):
            bare = values.new_full(self.top.shape, elsewhere)
            return self.spread(torch.where(self.top < 0, bare, values[self.top]) if self.masks else bare)
        if not self.masks:
            return elsewhere.clone()
        return torch.where(self.covered, self.spread(values[self.top]), elsewhere)

    def to(self, *args: object, **kwargs: object) -> MaskAtoms:
        """Move to another device, as ``Tensor.to``."""
        return replace(self, **{field.name: getattr(self, field.name).to(*args, **kwargs) for field in fields(self)})

    def pin_memory(self) -> MaskAtoms:
        """Copy to pinned memory, for non-blocking copies to a GPU."""
        return replace(self, **{field.name: getattr(self, field.name).pin_memory() for field in fields(self)})


def _like(flags: Tensor, values: Tensor) -> Tensor:
    """Flags ``(A,)`` in a shape and dtype that multiply ``(A, ...)``."""
    return flags.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
