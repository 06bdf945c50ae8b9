"""Stage 1 of GoodSAM: runs SAM once over every window of every panorama and caches what it finds.

``WindowGrid`` is the geometry that both stages share; ``open_cache`` reads the masks back.
"""

from stage1_sam_cache.cache.reader import MaskCache, open_cache
from stage1_sam_cache.errors import DatasetError, ImageError, MaskCacheError, Stage1Error, WeightsError
from stage1_sam_cache.geometry.windows import WindowGrid

__all__ = [
    'DatasetError',
    'ImageError',
    'MaskCache',
    'MaskCacheError',
    'Stage1Error',
    'WeightsError',
    'WindowGrid',
    'open_cache',
]
