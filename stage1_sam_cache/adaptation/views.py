"""The two views of a window: the weak one is mirrored, the strong one is the weak one with other colours."""

from __future__ import annotations

import numpy as np
import torch
from skimage.draw import polygon2mask
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

SHADE = 0.5  # brightness inside a shadow


def weak_view(image: Tensor, masks: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Mirror a window and its masks, or leave them, with equal chance.

    WeSAM's code also turns images upside down, which streets never are.

    Args:
        image: uint8 ``(3, h, w)``.
        masks: bool ``(N, h, w)``.
        seed: Of the choice.

    Returns:
        Image and masks.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mirrored, moved = v2.RandomHorizontalFlip()(tv_tensors.Image(image), tv_tensors.Mask(masks))
    return mirrored.as_subclass(Tensor), moved.as_subclass(Tensor)


def strong_view(weak: Tensor, seed: int) -> Tensor:
    """Change a weak view's colours; nothing moves, so both share prompts and masks.

    Args:
        weak: uint8 ``(3, h, w)``.
        seed: Of all choices; the global generator is left as it is.

    Returns:
        uint8 ``(3, h, w)``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _STRONG(weak)


class RandomShadow(nn.Module):
    """Darkens a random pentagon in the lower half of an image, with chance ``p``; draws from the global generator."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 ``(3, h, w)`` to the same."""
        if torch.rand(()) >= self.p:
            return image
        height, width = image.shape[1:]
        corners = torch.rand(5, 2).numpy() * [height / 2, width] + [height / 2, 0]
        around = np.arctan2(*(corners - corners.mean(0)).T)  # sorted by angle, so that no two sides cross
        shadow = torch.from_numpy(polygon2mask((height, width), corners[np.argsort(around)]))
        return torch.where(shadow, (image * SHADE).to(torch.uint8), image)


# WeSAM's six changes, each with chance one half; albumentations makes them there, torchvision here.
_STRONG = v2.Compose(
    [
        v2.RandomPosterize(bits=4),
        v2.RandomEqualize(),
        v2.RandomAdjustSharpness(sharpness_factor=2),
        v2.RandomSolarize(threshold=128),
        v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)]),
        RandomShadow(),
    ]
)
