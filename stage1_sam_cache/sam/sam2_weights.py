"""SAM 2's weights: their published files, and loading them without running code in them.

The publishers state no digests. ``network_weights`` keeps that of a file when it fetches it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.sam.network_weights import (
    PublishedWeights,
    check_digest,
    find_published,
    read_content,
    tensors_for,
)
from stage1_sam_cache.sam.sam2_networks import build_sam2, require_sam2
from stage1_sam_cache.sam.sam2_sizes import NAMES
from stage1_sam_cache.sam.weights import ARCHITECTURES

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

_ADDRESS = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/'
_FILES = {'t': 'tiny', 's': 'small', 'b': 'base_plus', 'l': 'large'}
PUBLISHED = {
    f'sam2_{size}': PublishedWeights(f'sam2.1_hiera_{word}.pt', f'{_ADDRESS}sam2.1_hiera_{word}.pt', None)
    for size, word in _FILES.items()
}


def find_sam2_weights(name: str, folder: str | Path = 'checkpoints', checkpoint: str | Path | None = None) -> Path:
    """Return the file with the weights of a SAM 2, downloaded if it is nowhere.

    Args:
        name: A key of ``NAMES``.
        folder: Where downloaded weights are kept; created if it does not exist.
        checkpoint: Custom weights, which are returned unchecked.

    Raises:
        WeightsError: If the file is missing and can't be fetched.
    """
    if checkpoint is not None:
        return Path(checkpoint)
    if name not in PUBLISHED:
        raise WeightsError(f'{name} has no published weights', 'give a file with --checkpoint')
    return find_published(PUBLISHED[name], 'SAM 2', Path(folder))


def load_sam2(
    name: str, path: Path, official: bool = True, trusted: bool = False, stable_masks: bool = False
) -> tuple[SAM2Base, str]:
    """Build a SAM 2 and load weights into it, on the CPU, in evaluation mode.

    Args:
        name: A key of ``NAMES``.
        path: The checkpoint, as PyTorch or safetensors files; its tensors may be below ``model`` as in the official
            files, or another key or prefix. Code in it is refused, not run.
        official: Require the digest that was kept when the file was fetched, if it was.
        trusted: The user vouches for the file, which may run code.
        stable_masks: As ``build_sam2``.

    Returns:
        The model and the SHA-256 (hex) of its weights' file.

    Raises:
        WeightsError: If the file can't be read, has the wrong digest, is damaged, holds code, or fits another model.
        GoodSAMError: If the package ``sam2`` is not installed.
    """
    require_sam2()
    digest = check_digest(path, PUBLISHED[name] if official else None)
    content = read_content(path, False, trusted)
    sam2 = build_sam2(NAMES[name], stable_masks)
    others: dict[str, Callable[[], SAM2Base]] = {other: partial(build_sam2, size) for other, size in NAMES.items()}
    sam2.load_state_dict(tensors_for(sam2, name, content, path, others | ARCHITECTURES))
    return sam2.eval(), digest
