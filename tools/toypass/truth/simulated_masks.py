"""Masks of a stated quality: ToyPASS's true instances, merged, cut, roughened, eroded and dropped.

They answer how good masks must be for fusion and distillation to help. Kinds of damage follow each other in the order
of ``DamageSettings``, and each draws its own random numbers: a larger amount of a kind adds to what a smaller one does.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from math import inf, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt, gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stage1_sam_cache.masks.instance_masks import InstanceMasks
from toypass.knobs import VERSION
from toypass.truth.truth_masks import decode

Labels = NDArray[np.int64]  # instance of each pixel, (h, w), from 0 and without gaps
_WAVES = 2  # outlines wander over this many times as many pixels as they are off


@dataclass(frozen=True)
class DamageSettings:
    """Amounts of damage; shares are probabilities, so that a window of few instances has its part."""

    merge: float = field(default=0.0, metadata={'help': 'share of the instances that are merged with a neighbour'})
    cut: float = field(default=0.0, metadata={'help': 'share of the masks that are cut in two through their centre'})
    rough: float = field(default=0.0, metadata={'help': 'how far outlines are off, standard deviation in pixels'})
    erode: int = field(default=0, metadata={'help': 'how far outlines are moved inwards, in pixels'})
    drop: float = field(default=0.0, metadata={'help': 'share of the masks that are missing'})
    seed: int = field(default=0, metadata={'help': 'of what is drawn at random'})

    def __post_init__(self) -> None:
        for name in ('merge', 'cut', 'drop'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} {getattr(self, name)} has to be a share from 0 to 1')
        if not 0 <= self.rough < inf or self.erode < 0 or self.seed < 0:
            raise ValueError(f'rough {self.rough}, erode {self.erode} and seed {self.seed} must not be negative')


class SimulatedMaskGenerator:
    """Damages the instances of images that ``truth_masks.encode`` made of the truth.

    The damage is drawn from the seed and the crop itself, so that it is the same in every process, and another one in
    every window and overlap, as with a generator that sees each of them separately.
    """

    def __init__(self, settings: DamageSettings | None = None) -> None:
        self.settings = settings or DamageSettings()

    @property
    def identity(self) -> dict[str, Any]:
        """Name, amounts, seed, and the versions of what draws and filters."""
        versions = {name: version(name) for name in ('numpy', 'scipy')}
        return {'name': 'simulated', 'toypass': VERSION, **versions, **asdict(self.settings)}

    @property
    def made_with(self) -> dict[str, str]:
        """Everything runs on the CPU."""
        return {'device': 'cpu'}

    def generate(self, image: NDArray[np.uint8]) -> InstanceMasks:
        """Return the damaged instances of an encoded crop uint8 ``(h, w, 4)``."""
        return damaged(decode(image)[0], self.settings)


def damaged(instances: NDArray[np.integer], settings: DamageSettings) -> InstanceMasks:
    """Damage the instances of a crop, given as their numbers ``(h, w)``; masks may be missing, none is empty."""
    labels = _compact(instances)
    picture = hashlib.sha256(str(labels.shape).encode() + labels.astype('<i8').tobytes()).digest()
    draws = np.random.SeedSequence([settings.seed, *picture]).spawn(4)
    merging, cutting, roughening, dropping = map(np.random.default_rng, draws)
    labels = merge_neighbours(labels, settings.merge, merging)
    labels = cut_in_two(labels, settings.cut, cutting)
    labels = roughen(labels, settings.rough, roughening)
    dropped = dropping.random(labels.max() + 1) < settings.drop
    # What is in no mask becomes one more region, the first, which is left out.
    regions = np.where(dropped[labels] | near_others(labels, settings.erode), -1, labels)
    masks = InstanceMasks.from_label_maps([regions])
    return masks.take(np.arange(int(regions.min() < 0), len(masks)))


def merge_neighbours(labels: Labels, share: float, rng: np.random.Generator) -> Labels:
    """Merge this share of the instances with one of their neighbours each, whichever it is."""
    count = int(labels.max()) + 1
    one = np.concatenate([labels[:, :-1].ravel(), labels[:-1].ravel()])
    other = np.concatenate([labels[:, 1:].ravel(), labels[1:].ravel()])
    touch = one != other
    both = np.concatenate([one[touch] * count + other[touch], other[touch] * count + one[touch]])
    instance, neighbour = np.divmod(np.unique(both), count)
    number = np.bincount(instance, minlength=count)
    which = (rng.random(count) * number).astype(np.int64) + np.cumsum(number) - number
    chosen = np.flatnonzero((rng.random(count) < share) & (number > 0))
    graph = coo_array((np.ones(len(chosen)), (chosen, neighbour[which[chosen]])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)[labels]


def cut_in_two(labels: Labels, share: float, rng: np.random.Generator) -> Labels:
    """Cut this share of the masks in two by a line through their centre, of any direction."""
    count = int(labels.max()) + 1
    angle, chosen = rng.random(count) * pi, rng.random(count) < share
    area = np.bincount(labels.ravel())
    side = np.zeros(labels.shape)
    for position, direction in zip(np.indices(labels.shape), (np.sin(angle), np.cos(angle)), strict=True):
        centre = np.bincount(labels.ravel(), position.ravel()) / area
        side += (position - centre[labels]) * direction[labels]
    return _compact(labels + count * (chosen[labels] & (side > 0)))


def roughen(labels: Labels, pixels: float, rng: np.random.Generator) -> Labels:
    """Move every outline to and fro by a smooth random field whose standard deviation is ``pixels``."""
    if not pixels:
        return labels
    noise, sigma = rng.standard_normal((2, *labels.shape)), _WAVES * pixels
    # White noise that is smoothed by a Gaussian has a standard deviation of 1 / (2 sigma sqrt(pi)).
    field_of_moves = gaussian_filter(noise, (0, sigma, sigma)) * (2 * sigma * sqrt(pi) * pixels)
    places = np.rint(np.indices(labels.shape) + field_of_moves).astype(np.int64)
    row, column = (np.clip(place, 0, size - 1) for place, size in zip(places, labels.shape, strict=True))
    return _compact(labels[row, column])


def near_others(labels: Labels, pixels: int) -> NDArray[np.bool_]:
    """Find what erosion takes, bool ``(h, w)``: all within that many steps up, down or aside from another mask."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        change = np.diff(labels, axis=axis) != 0
        edge |= np.insert(change, 0, False, axis=axis) | np.insert(change, change.shape[axis], False, axis=axis)
    if not pixels or not edge.any():
        return np.zeros_like(edge)
    return distance_transform_cdt(~edge, 'taxicab') < pixels


def _compact(labels: NDArray[np.integer]) -> Labels:
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)
