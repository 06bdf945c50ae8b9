"""From patches to three levels of features: SAM 2's image encoder with low-rank updates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from stage1_sam_cache.adaptation.lora import update_blocks
from stage1_sam_cache.sam.adapter import updated_rows
from stage1_sam_cache.sam.sam2_sizes import check_patch
from stage2_distill.errors import ConfigError

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

ENCODERS = ('lora', 'full')


@dataclass(frozen=True)
class PatchFeatures:
    """Features of a batch of square patches of side S; d is the width of SAM 2's neck.

    Attributes:
        high: ``(B, d/8, S/4, S/4)``.
        medium: ``(B, d/4, S/8, S/8)``.
        low: ``(B, d, S/16, S/16)``, before any memory.
        code: Sine code of the places of ``low``, as ``low``.
    """

    high: Tensor
    medium: Tensor
    low: Tensor
    code: Tensor


class PatchEncoder(nn.Module):
    """SAM 2's image encoder and the projections of its two fine levels (``conv_s0``, ``conv_s1``).

    Args:
        sam2: Whose modules are taken, not copied; it is of no other use afterwards.
        rank: Of the low-rank updates of queries and values in every block.
        literal_rows: Where the width doubles, update only the rows that the authors' code updates.
        encoder: ``'lora'``: trunk and neck are frozen but for the updates. ``'full'``: everything is trained, without
            updates.
        checkpoint: Keep only the inputs of the trunk's blocks for the backward pass, and compute the rest again there.

    Raises:
        ConfigError: For another ``encoder``, or a rank that is no positive number.
    """

    def __init__(
        self,
        sam2: SAM2Base,
        rank: int = 4,
        literal_rows: bool = False,
        encoder: str = 'lora',
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            raise ConfigError(f'encoder={encoder!r} is not one of {", ".join(map(repr, ENCODERS))}', 'choose one')
        if rank < 1:
            raise ConfigError(f'low-rank updates of rank {rank}', "set rank to at least 1, or encoder='full'")
        self.image_encoder = sam2.image_encoder
        self.conv_s0, self.conv_s1 = sam2.sam_mask_decoder.conv_s0, sam2.sam_mask_decoder.conv_s1
        neck, trunk = self.image_encoder.neck, self.image_encoder.trunk
        self.position_encoding, neck.position_encoding = neck.position_encoding, _NoCode()
        self.image_encoder.requires_grad_(encoder == 'full')
        if encoder == 'lora':
            update_blocks(trunk.blocks, rank, rows=literally_updated_rows if literal_rows else updated_rows)
        if checkpoint:
            for block in trunk.blocks:
                block.forward = partial(recomputed, block.forward, use_reentrant=False)

    def forward(self, patches: Tensor) -> PatchFeatures:
        """Encode patches.

        Args:
            patches: Normalised, ``(B, 3, S, S)``.

        Raises:
            InputSizeError: If SAM 2 can't encode patches of this size.
        """
        check_patch(*patches.shape[-2:])
        high, medium, low = self.image_encoder(patches)['backbone_fpn']
        code = self.position_encoding(low[:1]).to(low.dtype).expand_as(low)
        return PatchFeatures(self.conv_s0(high), self.conv_s1(medium), low, code)

    def sequence(self, patches: Tensor) -> list[PatchFeatures]:
        """Encode all patches of sequences as one batch.

        Args:
            patches: Normalised, ``(B, n, 3, S, S)``.

        Returns:
            ``n`` features; element ``i`` is of all samples' ``i``-th patch.

        Raises:
            InputSizeError: As ``forward``.
        """
        n = patches.shape[1]
        whole = self(patches.transpose(0, 1).flatten(0, 1))
        levels = (level.unflatten(0, (n, -1)) for level in (whole.high, whole.medium, whole.low, whole.code))
        return [PatchFeatures(*of_patch) for of_patch in zip(*levels, strict=True)]


def literally_updated_rows(qkv: nn.Linear) -> dict[str, slice]:
    """Rows that the authors' code updates: only as many as the layer has inputs.

    Where a block doubles the width these are the first half of the queries and the last half of the values; elsewhere
    all of them.
    """
    return {'q': slice(0, qkv.in_features), 'v': slice(qkv.out_features - qkv.in_features, qkv.out_features)}


class _NoCode(nn.Module):
    """Stands in the neck for the sine codes of its four levels: only one level's is needed, once for all patches."""

    def forward(self, level: Tensor) -> Tensor:
        return level.new_empty(0)
