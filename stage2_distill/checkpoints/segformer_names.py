"""SegFormer's weights under the names of Hugging Face, of its authors and of MMSegmentation: pure renaming.

The three differ in more than names:

- Hugging Face keeps query, key and value apart, the authors query and the pair, mmseg one matrix ``in_proj``.
- Feed-forward weights are matrices there and 1x1 convolutions in mmseg, with two axes more; so are the projections of
  the head.
- The fusing convolution of the head takes the four levels from the deepest to the finest there, in mmseg the other way
  round, so the four blocks of its input channels are reversed.

What comes out fits ``LinearSegformerHead``, not mmseg's ``SegformerHead``, whose projections have a norm and ReLU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

HUB, AUTHORS = 'Hugging Face', 'its authors'
LEVELS = 4
_HUB_BLOCK = r'(?:segformer\.)?encoder\.block\.(\d+)\.(\d+)\.'
_BLOCK = r'backbone\.layers\.(\d+)\.1\.(\d+)\.'
_QKV = ('query', 'key', 'value')
# Names of Hugging Face and of mmseg, as templates: {0} is a level, {1} a block of it.
_PAIRS = (
    ('segformer.encoder.patch_embeddings.{0}.proj', 'backbone.layers.{0}.0.projection'),
    ('segformer.encoder.patch_embeddings.{0}.layer_norm', 'backbone.layers.{0}.0.norm'),
    ('segformer.encoder.layer_norm.{0}', 'backbone.layers.{0}.2'),
    ('segformer.encoder.block.{0}.{1}.layer_norm_1', 'backbone.layers.{0}.1.{1}.norm1'),
    ('segformer.encoder.block.{0}.{1}.layer_norm_2', 'backbone.layers.{0}.1.{1}.norm2'),
    ('segformer.encoder.block.{0}.{1}.attention.self.sr', 'backbone.layers.{0}.1.{1}.attn.sr'),
    ('segformer.encoder.block.{0}.{1}.attention.self.layer_norm', 'backbone.layers.{0}.1.{1}.attn.norm'),
    ('segformer.encoder.block.{0}.{1}.attention.output.dense', 'backbone.layers.{0}.1.{1}.attn.attn.out_proj'),
    ('segformer.encoder.block.{0}.{1}.mlp.dense1', 'backbone.layers.{0}.1.{1}.ffn.layers.0'),
    ('segformer.encoder.block.{0}.{1}.mlp.dwconv.dwconv', 'backbone.layers.{0}.1.{1}.ffn.layers.1'),
    ('segformer.encoder.block.{0}.{1}.mlp.dense2', 'backbone.layers.{0}.1.{1}.ffn.layers.4'),
    ('decode_head.linear_c.{0}.proj', 'decode_head.convs.{0}.conv'),
    ('decode_head.linear_fuse', 'decode_head.fusion_conv.conv'),
    ('decode_head.batch_norm', 'decode_head.fusion_conv.bn'),
    ('decode_head.classifier', 'decode_head.conv_seg'),
)
# Linear layers there that are 1x1 convolutions in mmseg.
_CONVOLUTIONS = re.compile(r'(ffn\.layers\.[04]|decode_head\.convs\.\d\.conv)\.weight$')
_FUSE = 'decode_head.fusion_conv.conv.weight'
# Names of the authors, whose levels count from 1, and of Hugging Face; queries and keys are split before.
_AUTHORS = (
    (r'^(?:backbone\.)?patch_embed(\d)\.proj', 'segformer.encoder.patch_embeddings.{}.proj'),
    (r'^(?:backbone\.)?patch_embed(\d)\.norm', 'segformer.encoder.patch_embeddings.{}.layer_norm'),
    (r'^(?:backbone\.)?norm(\d)\.', 'segformer.encoder.layer_norm.{}.'),
    (r'^(?:backbone\.)?block(\d)\.', 'segformer.encoder.block.{}.'),
    (r'^decode_head\.linear_c(\d)\.proj', 'decode_head.linear_c.{}.proj'),
)
_AUTHORS_BLOCKS = (
    ('.norm1.', '.layer_norm_1.'),
    ('.norm2.', '.layer_norm_2.'),
    ('.attn.q.', '.attention.self.query.'),
    ('.attn.k.', '.attention.self.key.'),
    ('.attn.v.', '.attention.self.value.'),
    ('.attn.sr.', '.attention.self.sr.'),
    ('.attn.norm.', '.attention.self.layer_norm.'),
    ('.attn.proj.', '.attention.output.dense.'),
    ('.mlp.fc1.', '.mlp.dense1.'),
    ('.mlp.fc2.', '.mlp.dense2.'),
    ('decode_head.linear_fuse.conv.', 'decode_head.linear_fuse.'),
    ('decode_head.linear_fuse.bn.', 'decode_head.batch_norm.'),
    ('decode_head.linear_pred.', 'decode_head.classifier.'),
)
# What transformers calls them in memory since its version 5.20; its files keep the older names.
_RENAMED = (
    (r'^(?:segformer\.)?stages\.(\d+)\.patch_embeddings\.', r'segformer.encoder.patch_embeddings.\1.'),
    (r'^(?:segformer\.)?stages\.(\d+)\.blocks\.', r'segformer.encoder.block.\1.'),
    (r'^(?:segformer\.)?stages\.(\d+)\.layer_norm\.', r'segformer.encoder.layer_norm.\1.'),
    (r'\.attention\.q_proj\.', '.attention.self.query.'),
    (r'\.attention\.k_proj\.', '.attention.self.key.'),
    (r'\.attention\.v_proj\.', '.attention.self.value.'),
    (r'\.attention\.sequence_reduction\.sequence_reduction\.', '.attention.self.sr.'),
    (r'\.attention\.sequence_reduction\.layer_norm\.', '.attention.self.layer_norm.'),
    (r'\.attention\.o_proj\.', '.attention.output.dense.'),
    (r'\.mlp\.fc(\d)\.', r'.mlp.dense\1.'),
    (r'\.layernorm_before\.', '.layer_norm_1.'),
    (r'\.layernorm_after\.', '.layer_norm_2.'),
    (r'^decode_head\.linear_projections\.', 'decode_head.linear_c.'),
)


def names_of(weights: Mapping[str, Tensor]) -> str | None:
    """Whose names weights have: ``HUB``, ``AUTHORS``, or None for any others, mmseg's among them."""
    if any(re.match(rf'{_HUB_BLOCK}|(?:segformer\.)?stages\.\d+\.blocks\.', name) for name in weights):
        return HUB
    return AUTHORS if any(re.match(r'(?:backbone\.)?block1\.0\.attn\.q\.', name) for name in weights) else None


def to_mmseg(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of mmseg's ``EncoderDecoder``.

    Args:
        weights: Under the names of Hugging Face or of the authors; a backbone alone is enough.

    Returns:
        Those that ``MixVisionTransformer`` and ``LinearSegformerHead`` have. Others, such as the classifier of
        ImageNet, have no place there and are not among them.

    Raises:
        ValueError: If the names are neither's, or a query has no key and value.
    """
    names = names_of(weights)
    if names is None:
        raise ValueError('no names of a SegFormer by Hugging Face or its authors')
    hub = _as_hub(weights) if names == AUTHORS else dict(_renamed(weights))
    result = {}
    for name, value in hub.items():
        query = re.fullmatch(rf'{_HUB_BLOCK}attention\.self\.query\.(weight|bias)', name)
        if query:
            parts = [hub.get(name.replace('.query.', f'.{part}.')) for part in _QKV]
            if any(part is None for part in parts):
                raise ValueError(f'{name} has no key or value beside it')
            level, block, kind = query.groups()
            joined = torch.cat([part for part in parts if part is not None])
            result[f'backbone.layers.{level}.1.{block}.attn.attn.in_proj_{kind}'] = joined
        elif other := _paired(name, 0):
            result[other] = value[:, :, None, None] if _CONVOLUTIONS.search(other) and value.ndim == 2 else value
    if _FUSE in result:
        result[_FUSE] = _reversed_levels(result[_FUSE])
    return result


def to_hub(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of the files of ``transformers.SegformerForSemanticSegmentation``: undo ``to_mmseg``.

    Args:
        weights: Of an mmseg ``EncoderDecoder`` with ``MixVisionTransformer`` and ``LinearSegformerHead``.

    Raises:
        ValueError: If there is a weight that has no place there, such as a norm of a projection of mmseg's own head.
    """
    result = {}
    for name, value in weights.items():
        joined = re.fullmatch(rf'{_BLOCK}attn\.attn\.in_proj_(weight|bias)', name)
        other = _paired(name, 1)
        if joined:
            level, block, kind = joined.groups()
            start = f'segformer.encoder.block.{level}.{block}.attention.self'
            for part, own in zip(_QKV, value.chunk(len(_QKV)), strict=True):
                result[f'{start}.{part}.{kind}'] = own.clone()
        elif other is None:
            raise ValueError(f'{name} has no place in a SegFormer of Hugging Face')
        elif name == _FUSE:
            result[other] = _reversed_levels(value)
        else:
            result[other] = value[:, :, 0, 0] if _CONVOLUTIONS.search(name) else value
    return result


def _paired(name: str, side: int) -> str | None:
    """The other name of a weight, from a side of ``_PAIRS``; None if it has none."""
    stem, _, kind = name.rpartition('.')
    for pair in _PAIRS:
        template = re.escape(pair[side]).replace(r'\{0\}', r'(?P<level>\d+)').replace(r'\{1\}', r'(?P<block>\d+)')
        if found := re.fullmatch(template, stem):
            slots = found.groupdict()
            return f'{pair[1 - side].format(slots.get("level"), slots.get("block"))}.{kind}'
    return None


def _reversed_levels(weight: Tensor) -> Tensor:
    """A fusing convolution, ``(C, levels * C, 1, 1)``, with the blocks of its input channels in the other order."""
    return torch.cat(weight.chunk(LEVELS, 1)[::-1], 1)


def _renamed(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for given, value in weights.items():
        name = re.sub(r'^encoder\.', 'segformer.encoder.', given)
        for pattern, new in _RENAMED:
            name = re.sub(pattern, new, name)
        yield name, value


def _as_hub(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' weights under the names of Hugging Face."""
    result = {}
    for given, value in weights.items():
        name = given
        for pattern, new in _AUTHORS:
            name = re.sub(pattern, lambda found, new=new: new.format(int(found[1]) - 1), name)  # type: ignore[misc]
        split = {name: value}
        if '.attn.kv.' in name:
            split = dict(zip((name.replace('.kv.', f'.{part}.') for part in 'kv'), value.chunk(2), strict=True))
        for own, part in split.items():
            for old, new in _AUTHORS_BLOCKS:
                own = own.replace(old, new)
            result[own] = part
    return result
