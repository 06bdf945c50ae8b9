"""SAM's weights: their published files and digests, and loading them without running code in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.sam.network_weights import (
    PublishedWeights,
    check_digest,
    find_published,
    read_content,
    tensors_for,
)
from stage1_sam_cache.sam.sam2_sizes import NAMES
from stage1_sam_cache.sam.toy_sam import NAME as TOY
from stage1_sam_cache.sam.toy_sam import build_toy_sam

_ADDRESS = 'https://dl.fbaipublicfiles.com/segment_anything/'


def _official(file: str, sha256: str) -> PublishedWeights:
    return PublishedWeights(file, _ADDRESS + file, sha256)


PUBLISHED = {
    'vit_h': _official('sam_vit_h_4b8939.pth', 'a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e'),
    'vit_l': _official('sam_vit_l_0b3195.pth', '3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622'),
    'vit_b': _official('sam_vit_b_01ec64.pth', 'ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912'),
    TOY: PublishedWeights('toy_sam.pth', None, '40c85cb79735108a201e450d47029ce9b1270404b45b467568f092e291499f4d'),
}
_SAM = ('vit_h', 'vit_l', 'vit_b')
ARCHITECTURES: dict[str, Callable[[], Sam]] = {name: sam_model_registry[name] for name in _SAM} | {TOY: build_toy_sam}


def find_weights(model: str, folder: str | Path = 'checkpoints', checkpoint: str | Path | None = None) -> Path:
    """Return the file with a model's weights, downloaded if it is nowhere (``weight_sources`` says where it is sought).

    Args:
        model: A key of ``ARCHITECTURES``.
        folder: Where downloaded weights are kept; created if it does not exist.
        checkpoint: Custom weights, which are returned unchecked.

    Raises:
        WeightsError: If there is no such model, or the file is missing and no address has the published file.
    """
    if model not in ARCHITECTURES:
        raise WeightsError(f'no SAM is called {model!r}; known: {", ".join([*sorted(ARCHITECTURES), *NAMES])}')
    if checkpoint is not None:
        return Path(checkpoint)
    if model not in PUBLISHED:
        raise WeightsError(f'SAM {model} has no published weights', 'give a file with --checkpoint')
    return find_published(PUBLISHED[model], 'SAM', Path(folder))


def load_sam(model: str, path: Path, official: bool = True, trusted: bool = False) -> tuple[Sam, str]:
    """Build a SAM and load weights into it, on the CPU, in evaluation mode.

    Args:
        model: A key of ``ARCHITECTURES``.
        path: The checkpoint, as PyTorch or safetensors files; SAM's tensors may be below ``model``, ``state_dict`` or
            another key or prefix. Code in it is refused, not run.
        official: Require the published digest, which is checked before the file is opened.
        trusted: The user vouches for the file, which may run code.

    Returns:
        The model and the SHA-256 (hex) of its weights' file.

    Raises:
        WeightsError: If the file can't be read, has the wrong digest, is damaged, holds code, or fits another model.
    """
    digest = check_digest(path, PUBLISHED[model] if official else None)
    content = read_content(path, official, trusted)
    sam = ARCHITECTURES[model]()
    sam.load_state_dict(tensors_for(sam, f'SAM {model}', content, path, ARCHITECTURES))
    return sam.eval(), digest
