"""Stage 1 of GoodSAM: run SAM once over every window of every panorama and cache its masks.

This is the public API. It needs neither PyTorch nor segment_anything; mask generators and the loop that fills a cache
are in ``stage1_sam_cache.sam`` and ``stage1_sam_cache.build``.
"""

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
