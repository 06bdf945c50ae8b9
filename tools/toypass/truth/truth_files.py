"""Where ToyPASS's truth of an image lies, by the image's id in a cache."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stage1_sam_cache.errors import DatasetError

SPLITS = ('train', 'val')


class TruthFiles(NamedTuple):
    """Where the truth of one split lies.

    Attributes:
        data: Folder of ToyPASS.
        domain: ``source`` or ``target``.
        split: ``train`` or ``val``.
    """

    data: Path
    domain: str
    split: str

    def image_count(self) -> int:
        """Return how many images of the split have truth."""
        return len(list((self.data / 'truth' / self.domain / self.split).rglob('*_instances.png')))

    def file(self, image_id: str, kind: str) -> Path:
        """Return the file of an image's segment numbers; ``kind`` is ``instances`` or ``parts``."""
        stem = image_id.removesuffix('_leftImg8bit')
        return self.data / 'truth' / self.domain / self.split / f'{stem}_{kind}.png'

    def segments(self, image_id: str, kind: str) -> NDArray[np.integer]:
        """Read segment numbers ``(H, W)``; ``kind`` as for ``file``."""
        return _read(self.file(image_id, kind))

    def labels(self, image_id: str) -> NDArray[np.integer]:
        """Read class ids ``(H, W)``."""
        hidden = (self.domain, self.split) == ('target', 'train')  # from training; only the upper bound sees them
        folder = self.data / ('truth/target/train' if hidden else f'{self.domain}/gtFine/{self.split}')
        stem = image_id.removesuffix('_leftImg8bit')
        ending = '_gtFine_labelTrainIds.png' if self.domain == 'source' else '_labelTrainIds.png'
        return _read(folder / f'{stem}{ending}')


def _read(file: Path) -> NDArray[np.integer]:
    if not file.is_file():
        raise DatasetError(f'{file} does not exist; is the cache one of ToyPASS, and of this --domain and --split?')
    with Image.open(file) as image:
        return np.asarray(image)
