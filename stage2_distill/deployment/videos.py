"""Frames of a video, one at a time, through OpenCV."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.errors import ImageError


class Frame(NamedTuple):
    """One frame: its number from 0, and its RGB pixels, uint8 ``(H, W, 3)``."""

    number: int
    pixels: NDArray[np.uint8]


def frame_count(path: Path) -> int:
    """Return how many frames a video declares; 0 if it does not say.

    Raises:
        ImageError: If it can't be opened.
    """
    video = _open(path)
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    return max(0, count)


def read_frames(path: Path, wanted: Callable[[int], bool], max_pixels: int) -> Iterator[Frame]:
    """Yield the wanted frames of a video; one is in memory at a time.

    Args:
        path: The file.
        wanted: Whether the frame of a number is wanted; others are decoded, as later ones need them, but not converted.
        max_pixels: Videos with larger frames are refused.

    Raises:
        ImageError: If the file can't be opened or holds no frame; after the last frame, if there are fewer than it
            declares.
    """
    video = _open(path)
    try:
        declared = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        width, height = (int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > max_pixels:
            raise ImageError(
                f'{path}: {width}x{height} is more than {max_pixels} pixels', '--max-pixels admits larger images'
            )
        number = 0
        while video.grab():
            if wanted(number):
                found, pixels = video.retrieve()
                if not found:
                    break
                yield Frame(number, np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8))
            number += 1
        if not number:
            raise ImageError(f'{path}: a video without a frame that can be read')
        if number < declared:
            raise ImageError(f'{path}: only {number} of the {declared} frames that it declares can be read')
    finally:
        video.release()


def _open(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise ImageError(f'{path}: does not exist')
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # what can't be read is said below
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # Only FFmpeg: other readers take a name with digits as a series of images.
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not video.isOpened():
        raise ImageError(f'{path}: not a video that OpenCV can read')
    return video
