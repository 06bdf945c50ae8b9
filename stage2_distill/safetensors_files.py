"""Networks as safetensors files, which hold tensors and text and can run no code; MMEngine loads them as any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from stage1_sam_cache.atomic_file import commit
from stage2_distill.errors import CheckpointError

SUFFIX = '.safetensors'


@CheckpointLoader.register_scheme(prefixes=rf'.*\{SUFFIX}$')
def load_safetensors(filename: str, map_location: Any = None, logger: Any = 'current') -> dict[str, Any]:
    """A file as MMEngine's loaders give checkpoints: ``state_dict`` and ``meta``.

    Raises:
        CheckpointError: If it can't be read.
    """
    device = map_location if isinstance(map_location, str) else 'cpu'
    try:
        with safe_open(filename, 'pt', device=device) as file:
            meta = json.loads((file.metadata() or {}).get('meta', '{}'))
            return {'state_dict': {name: file.get_tensor(name) for name in file.keys()}, 'meta': meta}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as problem:
        raise CheckpointError(f'{filename}: damaged or no safetensors file ({problem})') from problem


def save_safetensors(weights: dict[str, torch.Tensor], meta: dict[str, Any], path: Path, half: bool = False) -> None:
    """Writes weights and what is to be known of them, as a whole or not at all.

    Args:
        weights: By name.
        meta: Plain values; ``dataset_meta`` is what mmseg takes classes and palette from.
        path: The file.
        half: Store floating point as float16, half the size; it is turned back into float32 when loaded.
    """
    kept = {
        name: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in weights.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    commit(path, save(kept, metadata={'format': 'pt', 'meta': json.dumps(meta, sort_keys=True)}), replace=True)
