"""A SegFormer as a folder that ``transformers.SegformerForSemanticSegmentation.from_pretrained`` loads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.checkpoints.hub_files import CONFIG, WEIGHTS
from stage2_distill.checkpoints.safetensors_files import plain_tensors
from stage2_distill.checkpoints.segformer_names import LEVELS, to_hub
from stage2_distill.checkpoints.segformer_sizes import blocks_of
from stage2_distill.errors import CheckpointError

_PROCESSOR = 'preprocessor_config.json'
# What images are normalised by, in 0 to 1; images keep their size, as panoramas do here.
_PROCESSING = {
    'image_processor_type': 'SegformerImageProcessor',
    'do_resize': False,
    'do_rescale': True,
    'do_normalize': True,
    'do_reduce_labels': False,
    'image_mean': [0.485, 0.456, 0.406],
    'image_std': [0.229, 0.224, 0.225],
}


def hub_config(weights: Mapping[str, Tensor], classes: Sequence[str]) -> dict[str, Any]:
    """The config of ``SegformerForSemanticSegmentation`` for weights under the names of mmseg; sizes are read off them.

    Args:
        weights: Of ``MixVisionTransformer``, with one attention head in the first level, and ``LinearSegformerHead``.
        classes: Names, in the order of the ids.
    """
    widths = [len(weights[f'backbone.layers.{level}.0.projection.weight']) for level in range(LEVELS)]
    return {
        'architectures': ['SegformerForSemanticSegmentation'],
        'model_type': 'segformer',
        'num_channels': weights['backbone.layers.0.0.projection.weight'].shape[1],
        'num_encoder_blocks': LEVELS,
        'depths': [blocks_of(weights, level) for level in range(LEVELS)],
        'hidden_sizes': widths,
        'num_attention_heads': [width // widths[0] for width in widths],
        'decoder_hidden_size': weights['decode_head.conv_seg.weight'].shape[1],
        'id2label': {str(number): name for number, name in enumerate(classes)},
        'label2id': {name: number for number, name in enumerate(classes)},
        'semantic_loss_ignore_index': 255,
    }


def save_hub_folder(weights: Mapping[str, Tensor], classes: Sequence[str], folder: Path) -> list[Path]:
    """Write weights, config and the config of the image processor; each file is atomic, and the weights come last.

    Args:
        weights: As ``hub_config``; other names are refused.
        classes: As ``hub_config``.
        folder: It is created.

    Raises:
        CheckpointError: If they are not of a SegFormer with the authors' head.
        WriteError: If a file can't be written.
    """
    try:
        named = plain_tensors(to_hub(weights))
        config = hub_config(weights, classes)
    except (ValueError, KeyError) as problem:
        raise CheckpointError(
            f'these weights have no form for Hugging Face ({problem})',
            "mmseg's own SegformerHead has none; networks with layout='authors' do",
        ) from problem
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / CONFIG, folder / _PROCESSOR, folder / WEIGHTS[0]]
    for file, content in zip(files, (config, _PROCESSING), strict=False):
        commit(file, (json.dumps(content, indent=2) + '\n').encode(), replace=True)
    commit(files[-1], save(named, {'format': 'pt'}), replace=True)
    return files
