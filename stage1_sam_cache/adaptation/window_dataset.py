"""The windows that an adaptation trains on: each as stage 1 shows it to SAM, with prompts from a mask cache's masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from tqdm import tqdm

from stage1_sam_cache.adaptation.prompts import Prompts, ask_for
from stage1_sam_cache.adaptation.settings import AdaptSettings
from stage1_sam_cache.adaptation.views import strong_view, weak_view
from stage1_sam_cache.build.panorama import crop_pixels
from stage1_sam_cache.cache.crop_masks import crops_of, masks_of_crop
from stage1_sam_cache.cache.reader import MaskCache
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.data.listing import Sample
from stage1_sam_cache.errors import DatasetError, MaskCacheError
from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.masks.instance_masks import InstanceMasks


class PromptedWindow(NamedTuple):
    """A window in two views, with prompts.

    Attributes:
        weak, strong: RGB uint8 ``(3, h, w)``, the longer side that of SAM's input.
        prompts: At least one, of one or more kinds.
    """

    weak: Tensor
    strong: Tensor
    prompts: list[Prompts]

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width of the views, in SAM's padded input."""
        return self.weak.shape[1], self.weak.shape[2]


class Crop(NamedTuple):
    """A window or overlap: the panorama's place in the list, the window that its masks are those of, and its box."""

    panorama: int
    window: int
    box: Box


class WindowDataset(torch.utils.data.Dataset[PromptedWindow]):
    """Windows, and overlaps if stage 1 shows them to SAM on their own, of the panoramas of a cache.

    Windows without a mask that can be asked for are left out and counted.

    Args:
        samples: The panoramas. Those that the cache does not have are left out and counted.
        cache: Its masks place the prompts.
        settings: Which masks are asked for, how many, and how.
        input_size: Side of SAM's input.
        mask_side: Side of SAM's mask prompts.
        augmented: Draw views, and ask for each mask by one kind of prompt; else both views are the window itself, and
            each kind asks for all masks, to be scored.
        overlaps: Take overlaps too.

    Attributes:
        not_cached: Ids of the panoramas that the cache does not have.
        empty: How many windows have no mask that can be asked for.

    Raises:
        DatasetError: If no window is left.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        cache: MaskCache,
        settings: AdaptSettings,
        input_size: int,
        mask_side: int,
        augmented: bool = True,
        overlaps: bool = True,
    ) -> None:
        self.cache, self.settings = cache, settings
        self.input_size, self.mask_side = input_size, mask_side
        self.augmented = augmented
        self.overlaps = overlaps and cache.fingerprint.settings['boundary']['source'] == 'crop'
        self.not_cached = cache.missing(sample.id for sample in samples)
        self.samples = [sample for sample in samples if sample.id not in set(self.not_cached)]
        self.crops: list[Crop] = []
        self.empty = 0
        for number, sample in enumerate(tqdm(self.samples, 'reading masks', unit='image', leave=False)):
            panorama = cache[sample.id]
            crops = crops_of(panorama.grid)
            for window, box in crops if self.overlaps else crops[: len(panorama.windows)]:
                usable = self._usable(masks_of_crop(panorama, window, box))
                self.crops += [Crop(number, window, box)] if len(usable) else []
                self.empty += not len(usable)
        if not self.crops:
            raise DatasetError(
                f'{cache.path}: no window of the {len(samples)} panoramas has a mask of at least {settings.min_area} '
                f'pixels and at most {settings.max_share:g} of the window; {len(self.not_cached)} are not cached',
                'give the cache of these panoramas, or a smaller --min-area',
            )

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, draw: int | tuple[int, int]) -> PromptedWindow:
        """Return one window.

        Args:
            draw: Its index, or the index and the seed of views and prompts.

        Raises:
            MaskCacheError: If the image is not the one that was cached.
        """
        index, seed = draw if isinstance(draw, tuple) else (draw, draw)
        crop = self.crops[index]
        sample = self.samples[crop.panorama]
        panorama, image = self.cache[sample.id], read_rgb(sample.image)
        if image.sha256 != panorama.image_sha256:
            raise MaskCacheError(f'{sample.image}: changed since its masks were cached', 'cache its masks again')
        pixels = torch.from_numpy(crop_pixels(image, panorama.grid, crop.box)).permute(2, 0, 1)
        masks = masks_of_crop(panorama, crop.window, crop.box)
        generator = torch.Generator().manual_seed(seed)
        usable = self._usable(masks)
        chosen = usable[evenly_by_area(masks.area[usable], self.settings.instances, generator)]
        dense = torch.from_numpy(masks.take(chosen).masks)
        weak, dense = weak_view(pixels, dense, seed) if self.augmented else (pixels, dense)
        strong = strong_view(weak, seed) if self.augmented else weak
        return PromptedWindow(self._resized(weak), self._resized(strong), self._prompts(dense, generator))

    def _usable(self, masks: InstanceMasks) -> NDArray[np.int64]:
        """Indices of the masks that may be asked for."""
        most = self.settings.max_share * masks.shape[0] * masks.shape[1]
        return np.flatnonzero((masks.area >= self.settings.min_area) & (masks.area <= most))

    def _resized(self, image: Tensor) -> Tensor:
        pixels = ResizeLongestSide(self.input_size).apply_image(image.permute(1, 2, 0).numpy())
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _prompts(self, masks: Tensor, generator: torch.Generator) -> list[Prompts]:
        """Ask for the masks, in equal shares by each kind of prompt or by each for all; who comes first is drawn."""
        kinds = self.settings.prompt_types
        first, step = int(torch.randint(len(kinds), (), generator=generator)), len(kinds)
        prompts = []
        for i, kind in enumerate(kinds):
            share = masks[(i - first) % step :: step] if self.augmented else masks
            if len(share):
                size = self.input_size, self.mask_side
                prompts.append(ask_for(share, kind, *size, self.settings.box_jitter, generator))
        return prompts


def collate_windows(windows: Sequence[PromptedWindow]) -> dict[str, list[PromptedWindow]]:
    """Make a batch; windows of different sizes are not stacked."""
    return {'windows': list(windows)}


def evenly_by_area(area: NDArray[np.int64], count: int, generator: torch.Generator) -> NDArray[np.int64]:
    """Draw masks without replacement, each power of two of pixels with the same chance, in random order.

    Small masks are many, and would be nearly all that is drawn.

    Args:
        area: int64 ``(K,)``, at least 1.
        count: How many, or all if there are fewer.
        generator: Draws them.

    Returns:
        Indices int64 ``(min(K, count),)``.
    """
    power = np.floor(np.log2(area)).astype(np.int64)
    weight = 1.0 / np.bincount(power)[power]
    return torch.multinomial(torch.from_numpy(weight), min(len(area), count), generator=generator).numpy()
