"""SegFormer in one line of a config: a size, and whose layout its weights have.

The authors' networks, which Hugging Face has too, differ from mmseg's in the head: projections are linear, without a
norm and without ReLU, and from B2 on the head is 768 channels wide, not 256. Layer norms add 1e-5 to the variance in
Hugging Face's, 1e-6 in mmseg's; the authors' own code does the former in some and the latter in others.
"""

from __future__ import annotations

from typing import Any

import torch
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor

from stage1_sam_cache.system.nearest import known
from stage2_distill.checkpoints.segformer_sizes import HEADS, LAYOUTS, SIZES
from stage2_distill.errors import ConfigError
from stage2_distill.models.mix_transformer import FusedMixVisionTransformer
from stage2_distill.models.segformer_head import LevelwiseSegformerHead, LinearSegformerHead

_NAME = 'SegFormer'
_BATCH_NORM_EPS = 1e-5  # PyTorch's default
_OF_MMSEG = {
    FusedMixVisionTransformer.__name__: 'MixVisionTransformer',
    LevelwiseSegformerHead.__name__: 'SegformerHead',
    LinearSegformerHead.__name__: 'SegformerHead',
}


def segformer_config(
    size: str,
    layout: str = 'mmseg',
    num_classes: int = 19,
    backbone: dict[str, Any] | None = None,
    decode_head: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The config of an mmseg ``EncoderDecoder`` that is a SegFormer; arguments as ``SegFormer``.

    Raises:
        ConfigError: If there is no such size or layout.
    """
    if size not in SIZES:
        raise ConfigError(f'there is no SegFormer {size!r}', known(str(size), SIZES))
    if layout not in LAYOUTS:
        raise ConfigError(f'SegFormer has no layout {layout!r}', known(str(layout), LAYOUTS))
    chosen = SIZES[size]
    authors = layout == 'authors'
    mix: dict[str, Any] = {
        'type': FusedMixVisionTransformer.__name__,
        'embed_dims': chosen.width,
        'num_layers': list(chosen.blocks),
        'num_heads': list(HEADS),
        'sr_ratios': [8, 4, 2, 1],
        'patch_sizes': [7, 3, 3, 3],
        'drop_path_rate': 0.1,
        'norm_cfg': {'type': 'LN', 'eps': 1e-5 if authors else 1e-6},
    }
    mix.update(backbone or {})
    head: dict[str, Any] = {
        'type': (LinearSegformerHead if authors else LevelwiseSegformerHead).__name__,
        'in_channels': [mix['embed_dims'] * heads for heads in mix['num_heads']],
        'in_index': [0, 1, 2, 3],
        'channels': chosen.head if authors else 256,
        'dropout_ratio': 0.1,
        'num_classes': num_classes,
        'norm_cfg': {'type': 'BN', 'requires_grad': True},
        'align_corners': False,
        'loss_decode': {
            'type': 'CrossEntropyLoss',
            'use_sigmoid': False,
            'loss_weight': 1.0,
            'avg_non_ignore': True,
        },
    }
    head.update(decode_head or {})
    return {'type': 'EncoderDecoder', 'backbone': mix, 'decode_head': head}


def as_encoder_decoder(model: dict[str, Any]) -> dict[str, Any]:
    """A network's config as plain mmseg has it: that of a ``SegFormer`` spelled out, any other as it is.

    Raises:
        ConfigError: As ``segformer_config``.
    """
    if model.get('type') != _NAME:
        return model
    names = ('size', 'layout', 'num_classes', 'backbone', 'decode_head')
    rest = {name: value for name, value in model.items() if name not in (*names, 'type')}
    return {**segformer_config(**{name: model[name] for name in names if name in model}), **rest}


def as_mmsegs_own(model: dict[str, Any], weights: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A network that plain mmseg builds, with the same logits in evaluation.

    Parts that this project only computes in another way get mmseg's names. The authors' head becomes mmseg's without
    activation and with norms behind its projections that add the bias alone; trained, it would be another one.

    Args:
        model: Config of an ``EncoderDecoder``.
        weights: Its weights.
    """
    parts = {name: dict(model[name]) for name in ('backbone', 'decode_head')}
    linear = parts['decode_head']['type'] == LinearSegformerHead.__name__
    for part in parts.values():
        part['type'] = _OF_MMSEG.get(part['type'], part['type'])
    result = dict(weights)
    if linear:
        parts['decode_head']['act_cfg'] = None
        for i in range(len(parts['decode_head']['in_channels'])):
            start = f'decode_head.convs.{i}'
            bias = result.pop(f'{start}.conv.bias')
            scale = (1 + _BATCH_NORM_EPS) ** 0.5
            norm = {'weight': torch.full_like(bias, scale), 'bias': bias, 'running_mean': torch.zeros_like(bias)}
            norm |= {'running_var': torch.ones_like(bias), 'num_batches_tracked': torch.tensor(0)}
            result |= {f'{start}.bn.{name}': value for name, value in norm.items()}
    return {**model, **parts}, result


@MODELS.register_module()
class SegFormer(EncoderDecoder):
    """A SegFormer, whose weights have the names of mmseg's ``EncoderDecoder``.

    Args:
        size: ``b0`` to ``b5``.
        layout: ``mmseg`` for OpenMMLab's weights and those that this project's recipes train; ``authors`` for those of
            NVIDIA and of Hugging Face.
        num_classes: Number of classes.
        backbone: What differs from ``FusedMixVisionTransformer`` of that size, such as ``drop_path_rate``.
        decode_head: What differs from the head.
        train_cfg: As ``EncoderDecoder``.
        test_cfg: As ``EncoderDecoder``; None sees whole images.
        data_preprocessor: As ``EncoderDecoder``.
        init_cfg: As ``EncoderDecoder``; ``dict(type='Pretrained', checkpoint=...)`` takes a file, an address,
            ``hf:ORG/NAME`` or a folder of Hugging Face.

    Raises:
        ConfigError: If there is no such size or layout.
    """

    def __init__(
        self,
        size: str,
        layout: str = 'mmseg',
        num_classes: int = 19,
        backbone: dict[str, Any] | None = None,
        decode_head: dict[str, Any] | None = None,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        data_preprocessor: Any = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        parts = segformer_config(size, layout, num_classes, backbone, decode_head)
        parts.pop('type')
        super().__init__(
            **parts,
            train_cfg=train_cfg,
            test_cfg=test_cfg or {'mode': 'whole'},
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
