"""Weights that come with the package, named ``goodsam://<file>`` wherever a checkpoint can be named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from stage2_distill.checkpoints.safetensors_files import SUFFIX, load_safetensors
from stage2_distill.errors import CheckpointError

SCHEME = 'goodsam://'
FOLDER = Path(__file__).resolve().parents[1] / 'weights'


def locate(address: str) -> str:
    """The file of a ``goodsam://`` address, wherever the package is installed; any other text as it is.

    Raises:
        CheckpointError: If the package has no such file.
    """
    if not address.startswith(SCHEME):
        return address
    names = sorted(file.name for file in FOLDER.glob(f'*{SUFFIX}'))
    name = address.removeprefix(SCHEME)
    if name not in names:
        raise CheckpointError(
            f'checkpoint {address} does not exist',
            f'the weights of the package are {SCHEME}{f", {SCHEME}".join(names)}',
        )
    return str(FOLDER / name)


@CheckpointLoader.register_scheme(prefixes=SCHEME, force=True)
def load_from_goodsam(filename: str, map_location: Any = None, logger: Any = 'current') -> dict[str, Any]:
    """Load weights of the package, as MMEngine's loaders do.

    Raises:
        CheckpointError: As ``locate`` and ``load_safetensors``.
    """
    return load_safetensors(locate(filename), map_location)
