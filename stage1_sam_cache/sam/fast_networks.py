"""SAM's networks with less work: ``accelerate`` makes them those of ``fast_encoder`` and ``fast_decoder``."""

from __future__ import annotations

from segment_anything.modeling import MaskDecoder, Sam
from segment_anything.modeling.image_encoder import Attention, Block
from segment_anything.modeling.transformer import TwoWayTransformer

from stage1_sam_cache.sam.fast_decoder import SharedMaskDecoder
from stage1_sam_cache.sam.fast_encoder import FewCopiesBlock, FusedImageAttention


def accelerate(sam: Sam) -> Sam:
    """Replace a SAM's networks by fast ones, in place; its mask decoder then has ``decode``.

    Raises:
        TypeError: If its decoder is not SAM's own.
    """
    faster = {Attention: FusedImageAttention, Block: FewCopiesBlock}
    for module in sam.image_encoder.modules():
        module.__class__ = faster.get(type(module), type(module))
    if type(sam.mask_decoder) is not MaskDecoder or type(sam.mask_decoder.transformer) is not TwoWayTransformer:
        raise TypeError(f'{type(sam.mask_decoder).__name__} is not the mask decoder of segment_anything')
    sam.mask_decoder.__class__ = SharedMaskDecoder
    return sam
