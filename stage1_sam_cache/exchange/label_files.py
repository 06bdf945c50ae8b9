"""A folder of label PNGs, one per image, and what identifies the content of those that are used."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from stage1_sam_cache.data.labels import check_ids, read_ids
from stage1_sam_cache.data.refusals import Refused
from stage1_sam_cache.errors import ImageError, Stage1Error
from stage1_sam_cache.exchange.content import FileContent
from stage1_sam_cache.system.digests import sha256_of


@dataclass(frozen=True)
class LabelFiles:
    """Label files of images.

    Attributes:
        folder: Where they are, each as ``<image id>.png``.
        files: By image id.
        sha256: Hex digest of the ids and the content of all files.
        missing: Images without labels.
    """

    folder: Path
    files: dict[str, FileContent]
    sha256: str
    missing: list[Refused]

    def read(self, image_id: str, size: tuple[int, int], classes: int) -> NDArray[np.uint8]:
        """Return the class ids of an image, uint8 ``size``; 255 is ignored.

        Raises:
            ImageError: If it has no labels, they can't be read, changed meanwhile, are of another size, or hold other
                ids than those of so many classes.
        """
        if image_id not in self.files:
            raise ImageError(f'{image_id}: {self.folder} has no labels of it')
        content = self.files[image_id]
        labels = read_ids(content.path, size, content.read())
        check_ids(content.path, labels, range(classes))
        return labels


def find_label_files(folder: Path, image_ids: Sequence[str]) -> LabelFiles:
    """Find the labels of images as ``tools/predict.py`` lays them out; each file is read once, with a progress bar.

    Args:
        folder: The ``labels`` folder of its output.
        image_ids: Of the images whose labels are wanted; other files are not looked at.

    Raises:
        Stage1Error: If the folder has labels of none of them, or a file can't be read.
    """
    files, missing, digest = {}, [], hashlib.sha256()
    with tqdm(sorted(image_ids), desc='reading labels', unit='file', disable=sys.stderr is None, mininterval=1) as bar:
        for image_id in bar:
            path = folder / f'{image_id}.png'
            try:
                files[image_id] = FileContent(path, sha256_of(path))
            except (FileNotFoundError, NotADirectoryError):
                missing.append(Refused(image_id, f'{folder} has no labels of this image'))
                continue
            except OSError as problem:
                raise Stage1Error(f'{path}: cannot be read ({problem.strerror})') from problem
            digest.update(json.dumps([image_id, files[image_id].sha256]).encode())
    if not files:
        inner = folder / 'labels'
        give = f'give {inner}' if inner.is_dir() else 'give the folder of labels that tools/predict.py wrote'
        raise Stage1Error(f'{folder} has labels of none of {len(missing)} images, such as {path.name}', give)
    return LabelFiles(folder, files, digest.hexdigest(), missing)
