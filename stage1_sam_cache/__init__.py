"""Stage 1 of GoodSAM: run SAM once over every window of every panorama and cache its masks.

This is the public API. It needs neither PyTorch nor segment_anything; mask generators and the loop that fills a cache
are in ``stage1_sam_cache.sam`` and ``stage1_sam_cache.build``. Each name is imported when it is first asked for, so
that commands start at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stage1_sam_cache.cache.fingerprint import Fingerprint
    from stage1_sam_cache.cache.panorama_file import PanoramaMasks
    from stage1_sam_cache.cache.reader import MaskCache, open_cache
    from stage1_sam_cache.data.catalog import DATASETS, list_dataset
    from stage1_sam_cache.data.images import read_rgb
    from stage1_sam_cache.data.label_spaces import LABEL_SPACES
    from stage1_sam_cache.data.listing import list_folder
    from stage1_sam_cache.errors import (
        DamagedFileError,
        DatasetError,
        GoodSAMError,
        ImageError,
        MaskCacheError,
        Stage1Error,
        WeightsError,
        WriteError,
    )
    from stage1_sam_cache.geometry.windows import WindowGrid, WindowSettings
    from stage1_sam_cache.masks.boundary_map import boundary_map
    from stage1_sam_cache.masks.instance_masks import InstanceMasks

_HOMES = {
    'DATASETS': 'data.catalog',
    'DamagedFileError': 'errors',
    'DatasetError': 'errors',
    'Fingerprint': 'cache.fingerprint',
    'GoodSAMError': 'errors',
    'ImageError': 'errors',
    'InstanceMasks': 'masks.instance_masks',
    'LABEL_SPACES': 'data.label_spaces',
    'MaskCache': 'cache.reader',
    'MaskCacheError': 'errors',
    'PanoramaMasks': 'cache.panorama_file',
    'Stage1Error': 'errors',
    'WeightsError': 'errors',
    'WindowGrid': 'geometry.windows',
    'WindowSettings': 'geometry.windows',
    'WriteError': 'errors',
    'boundary_map': 'masks.boundary_map',
    'list_dataset': 'data.catalog',
    'list_folder': 'data.listing',
    'open_cache': 'cache.reader',
    'read_rgb': 'data.images',
}

__all__ = [
    'DATASETS',
    'LABEL_SPACES',
    'DamagedFileError',
    'DatasetError',
    'Fingerprint',
    'GoodSAMError',
    'ImageError',
    'InstanceMasks',
    'MaskCache',
    'MaskCacheError',
    'PanoramaMasks',
    'Stage1Error',
    'WeightsError',
    'WindowGrid',
    'WindowSettings',
    'WriteError',
    'boundary_map',
    'list_dataset',
    'list_folder',
    'open_cache',
    'read_rgb',
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
