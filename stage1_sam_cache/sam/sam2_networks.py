"""SAM 2's networks, built by their constructors; none of the package's configuration files is used.

``sam2`` is an optional package: it is imported when a network is built, never with this module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from stage1_sam_cache.errors import GoodSAMError
from stage1_sam_cache.sam.sam2_sizes import SIZES, Sam2Size

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base


def build_sam2(size: str | Sam2Size, stable_masks: bool = False) -> SAM2Base:
    """Build an untrained SAM 2 on PyTorch's default device, in training mode.

    On the device ``meta`` its parameters take no memory; ``load_state_dict(..., assign=True)`` then gives them values.

    Args:
        size: A key of ``SIZES``, or other numbers.
        stable_masks: The publishers' post-processing: where one mask per prompt is asked for and it is not stable, take
            the best of three.

    Raises:
        ValueError: If there is no such size.
        GoodSAMError: If the package ``sam2`` is not installed.
    """
    if isinstance(size, str):
        if size not in SIZES:
            raise ValueError(f'no size of SAM 2 is called {size!r}; known: {", ".join(SIZES)}')
        size = SIZES[size]
    require_sam2()
    from stage1_sam_cache.sam.sam2_modules import construct

    return construct(size, stable_masks)


def require_sam2() -> None:
    """Check that the package ``sam2`` can be imported.

    Raises:
        GoodSAMError: If not, naming the command that installs it.
    """
    try:
        for name in ('sam2', 'iopath'):  # the second is needed by Hiera's module
            import_module(name)
    except ImportError as problem:
        raise GoodSAMError(
            f'SAM 2 needs the package sam2, which is not installed ({problem})',
            'install it with `make sam2`, or `SAM2_BUILD_CUDA=0 pip install --no-build-isolation -r '
            'requirements-sam2.txt`',
        ) from problem
