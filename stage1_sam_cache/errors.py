"""Errors that a user can cause and mend; every command line prints them as one line."""

from __future__ import annotations


class GoodSAMError(Exception):
    """Base class of both stages: the message says what is wrong, in which file, and what to do."""


class Stage1Error(GoodSAMError):
    """Base class of what stage 1 raises."""


class ImageError(Stage1Error):
    """An image that can't be read, or that is refused by the policy of ``images.read_rgb``."""


class DatasetError(Stage1Error):
    """A data set, folder or list that holds no usable images, or names outside its root."""


class WeightsError(Stage1Error):
    """SAM weights that are missing, can't be fetched, or are not what they should be."""


class MaskCacheError(Stage1Error):
    """A mask cache that is missing, damaged, or was made with other settings."""


class CacheWriteError(MaskCacheError):
    """The cache can't be written to, on a full disk for example: there is no point in going on."""


class DamagedFileError(MaskCacheError):
    """A cache file whose bytes were read and are not what was written: the only reason to set it aside."""
