"""Binary masks that keep moving things out of a reconstruction: black pixels are ignored, white ones are used.

COLMAP finds the mask of ``street.jpg`` as ``street.jpg.png``, at the same place below its mask folder
(https://colmap.github.io/faq.html#mask-image-regions). Metashape takes any names by a template; ``street_mask.png`` is
``{filename}_mask.png``. Black is ignored in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.system.nearest import known
from stage2_distill.errors import ConfigError

NAMES = ('colmap', 'metashape')


def mask_name(image_name: str, style: str) -> str:
    """Return the name of an image's mask.

    Args:
        image_name: POSIX path of the image with its extension, such as ``a/street.jpg``.
        style: One of ``NAMES``.
    """
    if style == 'colmap':
        return f'{image_name}.png'
    path = PurePosixPath(image_name)
    return str(path.with_name(f'{path.stem}_mask.png'))


def class_ids(words: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Return the ids of classes that are named as on a command line.

    A name of several words may be one word of the list (quoted) or several; case and underscores do not matter.

    Args:
        words: What was given, such as ``['person', 'traffic', 'light']``.
        classes: Names of all classes.

    Returns:
        Ids, ascending, each once.

    Raises:
        ConfigError: If a word begins no name, or there is none.
    """
    by_name = {_plain(name): index for index, name in enumerate(classes)}
    longest = max(len(name.split()) for name in by_name)
    rest, ids = ' '.join(map(_plain, words)).split(), set()
    if not rest:
        raise ConfigError('--mask-classes names no class', known('', list(classes)))
    while rest:
        for count in range(min(longest, len(rest)), 0, -1):
            name = ' '.join(rest[:count])
            if name in by_name:
                ids.add(by_name[name])
                del rest[:count]
                break
        else:
            raise ConfigError(f'--mask-classes: there is no class {rest[0]!r}', known(rest[0], list(classes)))
    return sorted(ids)


def _plain(name: str) -> str:
    return ' '.join(name.casefold().replace('_', ' ').split())


def ignore_mask(labels: NDArray[np.uint8], ids: Sequence[int]) -> NDArray[np.uint8]:
    """Return the mask of labels: 0 where a class is ignored or nothing is shown (label 255), 255 elsewhere.

    Args:
        labels: Class ids, uint8 ``(H, W)``.
        ids: Of the classes that are ignored.
    """
    used = np.full(256, 255, np.uint8)
    used[[*ids, IGNORE]] = 0
    return used[labels]
