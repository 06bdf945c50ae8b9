"""The constructor calls of SAM 2, which need the package ``sam2``; ``sam2_networks.build_sam2`` is the way to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine, compute_axial_cis
from sam2.modeling.sam.transformer import Attention, RoPEAttention
from sam2.modeling.sam2_base import SAM2Base
from torch.overrides import TorchFunctionMode

from stage1_sam_cache.sam.sam2_sizes import Sam2Size

_STRIDE = 16  # of the level that memory attention and mask decoder work on


class RotaryAttention(RoPEAttention):
    """SAM 2's attention with rotary positions, whose table of positions stays on the CPU until it is used.

    The constructor of the base class would move the table to a GPU wherever there is one, in a process that may have no
    business there, and fail on the device ``meta``.
    """

    def __init__(self, side: int, repeat_keys: bool, **options: Any) -> None:
        Attention.__init__(self, **options)
        self.compute_cis = partial(compute_axial_cis, dim=self.internal_dim // self.num_heads, theta=10000.0)
        with torch.device('cpu'):
            self.freqs_cis = self.compute_cis(end_x=side, end_y=side)
        self.rope_k_repeat = repeat_keys


class ScheduleOnCpu(TorchFunctionMode):
    """Lets Hiera be built on the device ``meta``: its constructor reads the values of a ``linspace``."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, on the CPU if it is ``linspace``."""
        options = dict(kwargs or {})
        if func is torch.linspace:
            options['device'] = 'cpu'
        return func(*args, **options)


def construct(size: Sam2Size, stable_masks: bool) -> SAM2Base:
    """Build SAM 2.1 at a size; every number that is not in the table is the same in all official configurations."""
    stable = {
        'dynamic_multimask_via_stability': True,
        'dynamic_multimask_stability_delta': 0.05,
        'dynamic_multimask_stability_thresh': 0.98,
    }
    return SAM2Base(
        image_encoder=_image_encoder(size),
        memory_attention=_memory_attention(size),
        memory_encoder=_memory_encoder(size),
        num_maskmem=7,
        image_size=size.image_size,
        backbone_stride=_STRIDE,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
        sam_mask_decoder_extra_args=stable if stable_masks else None,
    )


def _positions(channels: int) -> PositionEmbeddingSine:
    # Without the warm-up, which would compute codes on a GPU wherever there is one.
    return PositionEmbeddingSine(channels, temperature=10000, normalize=True, scale=None, warmup_cache=False)


def _image_encoder(size: Sam2Size) -> ImageEncoder:
    with ScheduleOnCpu():
        trunk = Hiera(
            embed_dim=size.width,
            num_heads=size.heads,
            stages=size.stages,
            global_att_blocks=size.global_blocks,
            window_pos_embed_bkg_spatial_size=(size.positions, size.positions),
            window_spec=size.windows,
        )
    neck = FpnNeck(
        position_encoding=_positions(size.dim),
        d_model=size.dim,
        backbone_channel_list=list(size.channels[::-1]),
        fpn_top_down_levels=[2, 3],
        fpn_interp_model='nearest',
    )
    return ImageEncoder(trunk, neck, scalp=1)


def _memory_attention(size: Sam2Size) -> MemoryAttention:
    side = size.image_size // _STRIDE
    common: dict[str, Any] = {'embedding_dim': size.dim, 'num_heads': 1, 'downsample_rate': 1, 'dropout': 0.1}
    layer = MemoryAttentionLayer(
        activation='relu',
        dim_feedforward=8 * size.dim,
        dropout=0.1,
        pos_enc_at_attn=False,
        self_attention=RotaryAttention(side, False, **common),
        d_model=size.dim,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=RotaryAttention(side, True, kv_in_dim=size.memory_dim, **common),
    )
    return MemoryAttention(d_model=size.dim, pos_enc_at_input=True, layer=layer, num_layers=size.memory_layers)


def _memory_encoder(size: Sam2Size) -> MemoryEncoder:
    return MemoryEncoder(
        out_dim=size.memory_dim,
        position_encoding=_positions(size.memory_dim),
        mask_downsampler=MaskDownSampler(embed_dim=size.dim, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(CXBlock(size.dim, kernel_size=7, padding=3, layer_scale_init_value=1e-6), num_layers=2),
        in_dim=size.dim,
    )
