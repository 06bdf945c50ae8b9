"""Classes, palettes and label remaps: the table that everything else is derived from.

A *label space* is a list of classes whose ids are 0, 1, 2, ... A *label encoding* is what a label file holds: a label
space, or the raw ids of a release ('cityscapes34', 'wildpass25', 'synpass_raw'). ``convert_labels`` maps an
encoding to a space. Ids without a class are ``IGNORE``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
RGB = tuple[int, int, int]


_THINGS = {'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'}  # have instances in Cityscapes
_THINGS |= {'Pedestrian', 'Vehicles', 'board', 'bookcase', 'chair', 'sofa', 'table'}  # movable


@dataclass(frozen=True)
class LabelSpace:
    """Classes in the order of their ids, and one RGB colour for each."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]

    @property
    def things(self) -> tuple[int, ...]:
        """Ids of the classes that can be counted, such as cars; the others, such as the sky, are stuff."""
        return tuple(i for i, name in enumerate(self.classes) if name in _THINGS)


def _space(name: str, colours: Mapping[str, RGB], classes: Iterable[str] | None = None) -> LabelSpace:
    chosen = tuple(colours if classes is None else classes)
    return LabelSpace(name, chosen, tuple(colours[c] for c in chosen))


_CITYSCAPES: dict[str, RGB] = {
    'road': (128, 64, 128),
    'sidewalk': (244, 35, 232),
    'building': (70, 70, 70),
    'wall': (102, 102, 156),
    'fence': (190, 153, 153),
    'pole': (153, 153, 153),
    'traffic light': (250, 170, 30),
    'traffic sign': (220, 220, 0),
    'vegetation': (107, 142, 35),
    'terrain': (152, 251, 152),
    'sky': (70, 130, 180),
    'person': (220, 20, 60),
    'rider': (255, 0, 0),
    'car': (0, 0, 142),
    'truck': (0, 0, 70),
    'bus': (0, 60, 100),
    'train': (0, 80, 100),
    'motorcycle': (0, 0, 230),
    'bicycle': (119, 11, 32),
}
_CITYSCAPES13 = [*list(_CITYSCAPES)[:11], 'person', 'car']

# Curb and crosswalk have no counterpart in Cityscapes; their colours are those of Mapillary Vistas.
_WILDPASS: dict[str, RGB] = _CITYSCAPES | {'curb': (196, 196, 196), 'crosswalk': (200, 128, 128)}
_WILDPASS_RAW = {
    4: 'car',
    5: 'truck',
    8: 'bus',
    11: 'road',
    12: 'sidewalk',
    13: 'curb',
    17: 'person',
    24: 'crosswalk',
}
_WILDPASS6 = [c for c in _WILDPASS_RAW.values() if c in _CITYSCAPES]

# SynPASS names no colours. It was rendered with CARLA, so these are the colours that CARLA 0.9.12 documents.
_SYNPASS: dict[str, RGB] = {
    'Building': (70, 70, 70),
    'Fence': (100, 40, 40),
    'Other': (55, 90, 80),
    'Pedestrian': (220, 20, 60),
    'Pole': (153, 153, 153),
    'RoadLine': (157, 234, 50),
    'Road': (128, 64, 128),
    'SideWalk': (244, 35, 232),
    'Vegetation': (107, 142, 35),
    'Vehicles': (0, 0, 142),
    'Wall': (102, 102, 156),
    'TrafficSign': (220, 220, 0),
    'Sky': (70, 130, 180),
    'Ground': (81, 0, 81),
    'Bridge': (150, 100, 100),
    'RailTrack': (230, 150, 140),
    'GroundRail': (180, 165, 180),
    'TrafficLight': (250, 170, 30),
    'Static': (110, 190, 160),
    'Dynamic': (170, 120, 50),
    'Water': (45, 60, 150),
    'Terrain': (145, 170, 100),
}

_STANFORD: dict[str, RGB] = {
    'beam': (255, 0, 40),
    'board': (255, 72, 0),
    'bookcase': (255, 185, 0),
    'ceiling': (205, 255, 0),
    'chair': (91, 255, 0),
    'clutter': (0, 255, 21),
    'column': (0, 255, 139),
    'door': (0, 255, 252),
    'floor': (0, 143, 255),
    'sofa': (0, 23, 255),
    'table': (90, 0, 255),
    'wall': (204, 0, 255),
    'window': (255, 0, 191),
}
_STANFORD8 = [c for c in _STANFORD if c not in ('beam', 'board', 'bookcase', 'clutter', 'column')]

_SPACES = [
    _space('cityscapes19', _CITYSCAPES),
    _space('cityscapes13', _CITYSCAPES, _CITYSCAPES13),
    _space('wildpass8', _WILDPASS, _WILDPASS_RAW.values()),
    _space('wildpass6', _WILDPASS, _WILDPASS6),
    _space('synpass22', _SYNPASS),
    _space('stanford13', _STANFORD),
    _space('stanford8', _STANFORD, _STANFORD8),
]
LABEL_SPACES: dict[str, LabelSpace] = {space.name: space for space in _SPACES}
# Same six classes; only the remap differs, which counts curb as sidewalk and crosswalk as road.
LABEL_SPACES['wildpass6_merged'] = replace(LABEL_SPACES['wildpass6'], name='wildpass6_merged')


def _table(ids: Mapping[int, int]) -> NDArray[np.uint8]:
    """Make a lookup table, uint8 ``(256,)``; ids that are not named become ``IGNORE``, and so does 255."""
    table = np.full(256, IGNORE, np.uint8)
    table[list(ids)] = list(ids.values())
    table.setflags(write=False)
    return table


def _by_name(source: str, target: str, renamed: Mapping[str, str] | None = None) -> NDArray[np.uint8]:
    """Map each class to the class of its (new) name; a class whose name the target lacks is ignored."""
    classes = LABEL_SPACES[target].classes
    names = [(renamed or {}).get(name, name) for name in LABEL_SPACES[source].classes]
    return _table({i: classes.index(name) for i, name in enumerate(names) if name in classes})


_CITYSCAPES_RAW_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # of train ids 0-18
# The 13-class scheme merges road users; 'train' is in neither group and is ignored.
_TO_13 = {'rider': 'person', 'truck': 'car', 'bus': 'car', 'motorcycle': 'car', 'bicycle': 'car'}
_SYNPASS_TO_13 = {
    'Building': 'building',
    'Fence': 'fence',
    'Pedestrian': 'person',
    'Pole': 'pole',
    'RoadLine': 'road',
    'Road': 'road',
    'SideWalk': 'sidewalk',
    'Vegetation': 'vegetation',
    'Vehicles': 'car',
    'Wall': 'wall',
    'TrafficSign': 'traffic sign',
    'Sky': 'sky',
    'TrafficLight': 'traffic light',
    'Terrain': 'terrain',
}
_MERGED = {'curb': 'sidewalk', 'crosswalk': 'road'}
_WILDPASS_TO_8 = _table({raw: i for i, raw in enumerate(_WILDPASS_RAW)})
# Raw 0 is 'unlabelled'. Public loaders disagree by one about the rest; the classes are counted from 0 here.
_SYNPASS_TO_22 = _table({i + 1: i for i in range(len(_SYNPASS))})

REMAPS: dict[tuple[str, str], NDArray[np.uint8]] = {
    **{(name, name): _by_name(name, name) for name in LABEL_SPACES},
    ('cityscapes34', 'cityscapes19'): _table({raw: i for i, raw in enumerate(_CITYSCAPES_RAW_IDS)}),
    ('cityscapes19', 'cityscapes13'): _by_name('cityscapes19', 'cityscapes13', _TO_13),
    ('cityscapes19', 'wildpass8'): _by_name('cityscapes19', 'wildpass8'),
    ('cityscapes19', 'wildpass6'): _by_name('cityscapes19', 'wildpass6'),
    ('cityscapes19', 'wildpass6_merged'): _by_name('cityscapes19', 'wildpass6_merged'),
    ('wildpass25', 'wildpass8'): _WILDPASS_TO_8,
    ('wildpass25', 'wildpass6'): _by_name('wildpass8', 'wildpass6')[_WILDPASS_TO_8],
    ('wildpass25', 'wildpass6_merged'): _by_name('wildpass8', 'wildpass6_merged', _MERGED)[_WILDPASS_TO_8],
    ('synpass_raw', 'synpass22'): _SYNPASS_TO_22,
    ('synpass_raw', 'cityscapes13'): _by_name('synpass22', 'cityscapes13', _SYNPASS_TO_13)[_SYNPASS_TO_22],
    ('stanford13', 'stanford8'): _by_name('stanford13', 'stanford8'),
}

# Ids that a label file of a release can hold, by the encodings that are no label space.
RAW_IDS = {'cityscapes34': range(34), 'wildpass25': range(25), 'synpass_raw': range(23)}


def convert_labels(labels: NDArray[np.integer], source: str, target: str) -> NDArray[np.uint8]:
    """Translate label ids of one encoding into the ids of a label space.

    Args:
        labels: Ids 0-255 of ``source``, any shape, any integer type. 255 stays 255, and so does every id without a
            class in ``target``.
        source: What the ids are now, such as ``'cityscapes34'``.
        target: A key of ``LABEL_SPACES``. A space converts to itself; ids past its last class are then ignored.

    Returns:
        Same shape, uint8.

    Raises:
        ValueError: If no remap is known for the pair, or if the labels are not integers from 0 to 255.
    """
    if (source, target) not in REMAPS:
        known = ', '.join(f'{a} -> {b}' for a, b in REMAPS if a != b)
        raise ValueError(f'no label remap {source} -> {target}; known: {known}')
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f'labels are {labels.dtype}, not integers')
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise ValueError(f'label ids run from {labels.min()} to {labels.max()}; only 0-255 can be {source}')
    converted: NDArray[np.uint8] = REMAPS[source, target][labels]
    return converted


def decode_stanford2d3d(
    label_rgb: NDArray[np.uint8], image_rgb: NDArray[np.uint8], names: Sequence[str]
) -> NDArray[np.uint8]:
    """Decode a Stanford2D3D semantic image, which stores instances, into 'stanford13' ids.

    Args:
        label_rgb: ``(H, W, 3)`` uint8; ``256 * G + B`` is an index into ``names``, and R other than 0 means unknown.
        image_rgb: ``(H, W, 3)`` uint8, the photograph; black pixels lie outside what the camera saw.
        names: Instance names of the release's ``semantic_labels.json``, such as ``'board_1_hallway_3_3_area_2'``; the
            class is the part before the first underscore.

    Returns:
        ``(H, W)`` uint8; ``IGNORE`` for unknown instances and classes, indices past the table and black pixels.

    Raises:
        ValueError: If the images are not uint8 RGB of one size.
    """
    for what, array in (('label', label_rgb), ('image', image_rgb)):
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(f'{what} is {array.shape} {array.dtype}, not (H, W, 3) uint8')
    if label_rgb.shape != image_rgb.shape:
        raise ValueError(f'label is {label_rgb.shape[:2]}, its image {image_rgb.shape[:2]}: are they of one panorama?')
    ids = {name: i for i, name in enumerate(LABEL_SPACES['stanford13'].classes)}
    table = np.full(1 << 16, IGNORE, np.uint8)
    classes = [ids.get(name.split('_', 1)[0], IGNORE) for name in names[: table.size]]
    table[: len(classes)] = classes
    decoded: NDArray[np.uint8] = table[label_rgb[..., 1].astype(np.uint16) << 8 | label_rgb[..., 2]]
    decoded[(label_rgb[..., 0] != 0) | ~image_rgb.any(axis=2)] = IGNORE
    return decoded
