"""Networks as safetensors files, which hold tensors and text and can run no code; a scheme of MMEngine's loader."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors import safe_open
from safetensors.torch import save

from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.content_digest import content_digest
from stage2_distill.checkpoints.int8_weights import dequantize
from stage2_distill.errors import CheckpointError

SUFFIX = '.safetensors'
DIGESTS = '.sha256'  # of the file beside it
_NOTE = 'content_sha256'


@CheckpointLoader.register_scheme(prefixes=rf'.*\{SUFFIX}$')
def load_safetensors(filename: str, map_location: Any = None, logger: Any = 'current') -> dict[str, Any]:
    """Load a file as MMEngine's loaders do: ``state_dict`` and ``meta``.

    The format has no checksum. ``save_safetensors`` adds one, and a file of digests may lie beside the weights; each of
    the two is compared where it is there. Weights kept as int8 become float32 (``int8_weights``).

    Raises:
        CheckpointError: If it can't be read or is damaged.
    """
    path = Path(filename)
    try:
        with safe_open(filename, 'pt') as file:
            notes = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = notes.get('meta', '{}')
        meta = json.loads(text)
        listed = _listed_digest(path)
        if listed is not None and listed != hashlib.sha256(path.read_bytes()).hexdigest():
            raise ValueError(f'its SHA-256 is not the one in {path.with_suffix(DIGESTS)}')
        if _NOTE in notes and notes[_NOTE] != content_digest(weights, text):
            raise ValueError('what it holds does not match its SHA-256')
        if not isinstance(meta, dict):
            raise TypeError(f'its meta is a {type(meta).__name__}')
        weights = dequantize(weights)
    except Exception as problem:  # damaged files make the libraries raise almost anything
        raise CheckpointError(f'{filename}: damaged or no safetensors file ({_gist(problem)})') from problem
    if isinstance(map_location, str):
        weights = {name: weight.to(map_location) for name, weight in weights.items()}
    return {'state_dict': weights, 'meta': meta}


def _gist(problem: Exception) -> str:
    return ' '.join(str(problem).split()) or type(problem).__name__


def _listed_digest(path: Path) -> str | None:
    """A file's SHA-256 as ``x.sha256`` beside ``x.safetensors`` has it; None where there is no such line."""
    digests = path.with_suffix(DIGESTS)
    if not digests.is_file():
        return None
    lines = (line.split(maxsplit=1) for line in digests.read_text(encoding='utf-8').splitlines())
    return next((line[0] for line in lines if line[1:] == [path.name]), None)


def save_safetensors(weights: dict[str, torch.Tensor], meta: dict[str, Any], path: Path, half: bool = False) -> None:
    """Write weights and what describes them; the file is atomic, complete or absent.

    Args:
        weights: By name.
        meta: Plain values; ``dataset_meta`` is what mmseg takes classes and palette from.
        path: The file.
        half: Store floating point as float16, half the size; loading into a network converts it to float32.
    """
    kept = plain_tensors(weights, half)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(meta, sort_keys=True)
    commit(path, save(kept, {'format': 'pt', 'meta': text, _NOTE: content_digest(kept, text)}), replace=True)


def plain_tensors(weights: dict[str, torch.Tensor], half: bool = False) -> dict[str, torch.Tensor]:
    """Weights as contiguous tensors on the CPU, floating point as float16 with ``half``."""
    return {
        name: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in weights.items()
    }
