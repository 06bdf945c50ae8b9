"""Types of flags' values, as argparse's ``type``: numbers, paths, sizes in pixels; bad ones are refused."""

from __future__ import annotations

import argparse
from pathlib import Path

from stage1_sam_cache.data.image_formats import IMAGE_EXTENSIONS


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number above 0')
    return int(text)


def seed(text: str) -> int:
    """Return a seed that NumPy and PyTorch both take."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 0 to 2**32 - 1')
    return int(text)


def named_path(text: str) -> Path:
    """Return the path; refuse an empty one, as from an unset variable, which would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError('the path is empty')
    return Path(text)


def picture_path(text: str) -> Path:
    """Return the path of a picture to write, of a format that can be written."""
    path = named_path(text)
    if path.suffix.lower() not in IMAGE_EXTENSIONS or path.is_dir():
        raise argparse.ArgumentTypeError(f'{text!r} is not the name of a picture, such as look.png')
    return path


def given_text(text: str) -> str:
    """Return the text; refuse an empty one, as from an unset variable, which would mean the default or nothing."""
    if not text:
        raise argparse.ArgumentTypeError('it is empty')
    return text


def pixel_pair(text: str) -> tuple[int, int]:
    """Return rows and columns of ``'400x512'``."""
    rows, times, columns = text.lower().partition('x')
    if not (times and rows.isdecimal() and columns.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text!r} is not ROWSxCOLUMNS, such as 400x512')
    return int(rows), int(columns)


def pixel_stride(text: str) -> int | tuple[int, int]:
    """Return the columns of ``'256'``, or rows and columns of ``'200x256'``."""
    return int(text) if text.isdecimal() else pixel_pair(text)
