"""The training images of the toy SAM: crops with point and box prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.registry import DATASETS
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import ColorJitter

from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.errors import DatasetError
from stage2_distill.data.sampler import Draw
from toypass.training.prompts import choose_places, crop, loose_boxes, one_place_per_thing, target_masks


class PromptedCrop(NamedTuple):
    """One crop and its prompts.

    Attributes:
        image: uint8 ``(3, h, w)``, h and w at most ``SIZE`` and even.
        points: float32 ``(N, 2)``, x and y of the point prompts, in pixels.
        boxes: float32 ``(M, 4)``, the box prompts.
        targets: uint8 ``(N + M, 2, h / 2, w / 2)``: part and whole under each prompt, as shares of a pixel over 255.
    """

    image: Tensor
    points: Tensor
    boxes: Tensor
    targets: Tensor


@DATASETS.register_module()
class SegmentDataset(torch.utils.data.Dataset[PromptedCrop]):
    """Crops of the source's images with prompts.

    Args:
        root: Folder of ToyPASS.
        split: ``train`` or ``val``.
        points, boxes: Prompts per crop, when training.
        train: Draw zoom, flip, colours and prompts with the sampler's seed; else take the middle of the image, and one
            pixel of every thing as prompts, always the same.
        limit: Take only the first images.

    Raises:
        DatasetError: If there are no images.
    """

    def __init__(
        self,
        root: str,
        split: str = 'train',
        points: int = 12,
        boxes: int = 4,
        train: bool = True,
        limit: int | None = None,
    ) -> None:
        images = Path(root) / 'source/leftImg8bit' / split
        self.images = sorted(images.rglob('*_leftImg8bit.png'))[:limit]
        if not self.images:
            raise DatasetError(f'{images}: no images', f'run tools/make_toypass.py --out {root}')
        self.truth = Path(root) / 'truth/source' / split
        self.base, self.points, self.boxes, self.train = images, points, boxes, train
        self._jitter = ColorJitter(0.4, 0.3, 0.4, 0.05)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: int | Draw) -> PromptedCrop:
        index, seed = draw if isinstance(draw, Draw) else Draw(draw, draw)
        rng = np.random.default_rng(seed)
        file = self.images[index]
        stem = str(file.relative_to(self.base)).removesuffix('_leftImg8bit.png')
        maps = [Image.open(self.truth / f'{stem}_{kind}.png') for kind in ('parts', 'instances')]
        image, (parts, wholes) = crop(read_rgb(file).pixels, [np.asarray(m) for m in maps], rng if self.train else None)
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        if self.train:
            torch.manual_seed(seed)  # ColorJitter takes no generator
            pixels = self._jitter(pixels)
            places = choose_places(parts, wholes, self.points + self.boxes, rng)
            points, boxes = places[: self.points], places[self.points :]
        else:
            places = one_place_per_thing(wholes, rng)
            points, boxes = places, places[:0]
        return PromptedCrop(
            pixels,
            torch.tensor(points[:, ::-1] + 0.5, dtype=torch.float32),
            loose_boxes(wholes, boxes, rng),
            target_masks(parts, wholes, places),
        )


def collate_crops(scenes: Sequence[PromptedCrop]) -> dict[str, list[PromptedCrop]]:
    """Make a batch; crops of different sizes are not stacked."""
    return {'scenes': list(scenes)}
