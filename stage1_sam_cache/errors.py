"""Errors that a user can cause and fix; every command line prints them as one line."""

from __future__ import annotations


class GoodSAMError(Exception):
    """Base class of both stages.

    Args:
        problem: What is wrong, and in which file.
        remedy: What the user can do about it; empty if the problem says it all. Commands are named as
            ``tools/<name>.py``; the command line prints the name under which the user has them.
    """

    def __init__(self, problem: str, remedy: str = '') -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f'{self.problem}; {self.remedy}' if self.remedy else self.problem


class WriteError(GoodSAMError):
    """A file can't be written, on a full disk for example; the run stops."""


class FolderInUseError(GoodSAMError):
    """Another process is writing to the folder."""


class LaunchError(GoodSAMError):
    """Processes were started in a way that the command can't work in."""


class OutOfMemory(GoodSAMError):
    """Memory ran out, on the device or on the host."""


class DeviceError(GoodSAMError):
    """A device that does not exist, or that fails."""


class InputSizeError(GoodSAMError):
    """An image or window that is too small for a network."""


class Stage1Error(GoodSAMError):
    """Base class of what stage 1 raises."""


class ImageError(Stage1Error):
    """An image that can't be read, or is refused by the policy of ``data.images``."""


class DatasetError(Stage1Error):
    """A data set, folder or list that holds no usable images, or names outside its root."""


class WeightsError(Stage1Error):
    """SAM weights that are missing, can't be downloaded, or are not the expected ones."""


class MaskCacheError(Stage1Error):
    """A mask cache that is missing, damaged, or was made with other settings."""


class MissingCacheError(MaskCacheError):
    """There is no mask cache, or none with the expected settings: it has to be made."""


class DamagedFileError(MaskCacheError):
    """A cache file whose bytes were read and are not those written: the only reason to set a file aside."""
