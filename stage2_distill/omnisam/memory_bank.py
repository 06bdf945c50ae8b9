"""The memory along a lap: SAM 2's memory attention and encoder over a bounded bank of entries.

Everything but the codes of distance is SAM 2's own; with its codes a read equals SAM 2's bit for bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stage2_distill.errors import ConfigError, Stage2Error
from stage2_distill.omnisam.features import PatchFeatures
from stage2_distill.omnisam.mask_input import TOKEN, ClassEmbedding

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base


@dataclass(frozen=True)
class MemoryEntry:
    """What is remembered of one patch of every sample; nothing of it carries a gradient.

    Attributes:
        tokens: ``(h w, B, m)``.
        code: Sine code of their places in the patch, as ``tokens``.
        shares: Class shares ``(B, C, h, w)`` for ``ClassEmbedding``, else None.
    """

    tokens: Tensor
    code: Tensor
    shares: Tensor | None = None


class MemoryBank:
    """The last entries of a lap, oldest first.

    Args:
        slots: Entries that are kept; with 0 none is.
    """

    def __init__(self, slots: int) -> None:
        self._entries: deque[MemoryEntry] = deque(maxlen=slots)

    def add(self, entry: MemoryEntry) -> None:
        """Append an entry; beyond ``slots`` the oldest one is lost."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget everything: before every lap and every image."""
        self._entries.clear()

    def __iter__(self) -> Iterator[MemoryEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class MemoryNetwork(nn.Module):
    """Condition patches on earlier ones, and remember them.

    Attributes ``tau`` ``(slots, m)``, codes of the distance in steps, and ``nu`` ``(d,)``, what a patch without memory
    has in its place, are new parameters and not SAM 2's trained ones, as in the authors' code.

    Args:
        sam2: Whose memory modules are taken, not copied. The encoder is frozen, for entries carry no gradient.
        slots: M, entries that are read at most; with 0 every patch is a first one.
        classes: C of the class embedding; with 0 there is none.

    Raises:
        ConfigError: For a negative number of slots.
    """

    def __init__(self, sam2: SAM2Base, slots: int = 9, classes: int = 0) -> None:
        super().__init__()
        if slots < 0:
            raise ConfigError(f'a memory of {slots} slots', 'set memory_slots to 0, which is no memory, or more')
        self.slots = slots
        self.memory_attention = sam2.memory_attention
        self.memory_encoder = sam2.memory_encoder.requires_grad_(False)
        self.tau = nn.Parameter(0.02 * torch.randn(slots, sam2.mem_dim))
        self.nu = nn.Parameter(0.02 * torch.randn(sam2.hidden_dim))
        self.embedding = ClassEmbedding(classes, sam2.mem_dim) if classes else None

    def bank(self) -> MemoryBank:
        """Return an empty bank for one lap."""
        return MemoryBank(self.slots)

    def start(self, features: PatchFeatures) -> Tensor:
        """Return ``f_low + nu`` ``(B, d, h, w)``: what a patch without memory gives the decoder."""
        return features.low + self.nu[:, None, None]

    def read(self, features: PatchFeatures, entries: Iterable[MemoryEntry]) -> Tensor:
        """Condition a patch on earlier ones.

        Args:
            features: Of the patch.
            entries: Of the same samples, oldest first and the step just before last; without any, as ``start``.

        Returns:
            ``f_con``, ``(B, d, h, w)``.

        Raises:
            Stage2Error: If the entries are more than the slots, or of other samples or patch sizes.
        """
        entries = list(entries)
        if not entries:
            return self.start(features)
        self._check(features, entries)
        codes = [entry.code + self.tau[len(entries) - i - 1] for i, entry in enumerate(entries)]
        conditioned = self.memory_attention(
            curr=_as_tokens(features.low),
            curr_pos=_as_tokens(features.code),
            memory=torch.cat([self._tokens(entry) for entry in entries]),
            memory_pos=torch.cat(codes),
        )
        return conditioned.permute(1, 2, 0).unflatten(2, features.low.shape[-2:])

    @torch.no_grad()
    def write(self, features: PatchFeatures, mask: Tensor, shares: Tensor | None = None) -> MemoryEntry:
        """Remember a patch.

        Args:
            features: Of the patch; its ``low`` as it was before the memory attention.
            mask: ``memory_mask`` of its logits, ``(B, 1, S, S)``.
            shares: ``class_shares`` of its logits, for the class embedding.

        Raises:
            Stage2Error: If the mask has not the patch's size.
        """
        size = tuple(TOKEN * side for side in features.low.shape[-2:])
        if mask.shape[-2:] != size:
            raise Stage2Error(
                f'a mask of {mask.shape[-2]}x{mask.shape[-1]} pixels for patches of {size[0]}x{size[1]}',
                "make it from the patch's logits before they are resized to the window",
            )
        out = self.memory_encoder(features.low, mask, skip_mask_sigmoid=True)
        return MemoryEntry(_as_tokens(out['vision_features']), _as_tokens(out['vision_pos_enc'][-1]), shares)

    def _tokens(self, entry: MemoryEntry) -> Tensor:
        if self.embedding is None or entry.shares is None:
            return entry.tokens
        return entry.tokens + self.embedding(entry.shares)

    def _check(self, features: PatchFeatures, entries: list[MemoryEntry]) -> None:
        if len(entries) > self.slots:
            raise Stage2Error(
                f'{len(entries)} entries for a memory of {self.slots} slots', 'keep them in MemoryNetwork.bank()'
            )
        batch, height, width = features.low.shape[0], *features.low.shape[-2:]
        for entry in entries:
            if entry.tokens.shape[:2] != (height * width, batch):
                raise Stage2Error(
                    f'a memory of {entry.tokens.shape[1]} samples with {entry.tokens.shape[0]} tokens each, for '
                    f'{batch} samples of {height * width}',
                    'clear the bank before every lap and every batch',
                )


def _as_tokens(maps: Tensor) -> Tensor:
    """``(B, c, h, w)`` to ``(h w, B, c)``."""
    return maps.flatten(2).permute(2, 0, 1)
