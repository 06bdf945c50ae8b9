"""What surfaces are made of: colours, textures, gloss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toypass.knobs import RGB


class Material(NamedTuple):
    """Anchor colours (linear RGB in [0, 1]) between which a thing's colour is drawn, and a texture.

    Args:
        anchors: A thing's colour lies on the line from one of them to the next.
        texture: 'plain', 'noise', 'bricks', 'slabs', 'planks' or 'leaves'.
        size: Of the texture's grain, in metres.
        contrast: Of the texture, as a share of the colour.
        gloss: Share of the sky's mirror image.
        glow: Light of its own.
    """

    anchors: tuple[RGB, ...]
    texture: str = 'plain'
    size: float = 0.3
    contrast: float = 0.0
    gloss: float = 0.0
    glow: float = 0.0


PALETTE: dict[str, Material] = {
    'asphalt': Material(((0.13, 0.13, 0.14), (0.22, 0.22, 0.23)), 'noise', 0.25, 0.22),
    'marking': Material(((0.62, 0.62, 0.60), (0.72, 0.72, 0.70)), 'noise', 0.2, 0.25),
    'paving': Material(((0.30, 0.29, 0.29), (0.44, 0.42, 0.40)), 'slabs', 0.6, 0.3),
    'kerb': Material(((0.40, 0.40, 0.39), (0.52, 0.51, 0.50)), 'noise', 0.3, 0.15),
    'grass': Material(((0.13, 0.22, 0.05), (0.26, 0.28, 0.09), (0.12, 0.24, 0.07)), 'noise', 0.35, 0.45),
    'soil': Material(((0.22, 0.15, 0.09), (0.30, 0.22, 0.14)), 'noise', 0.3, 0.4),
    'plaster': Material(
        ((0.62, 0.56, 0.42), (0.50, 0.50, 0.50), (0.60, 0.40, 0.28), (0.66, 0.62, 0.56), (0.36, 0.40, 0.44)),
        'noise', 1.6, 0.12,
    ),
    'brick': Material(((0.36, 0.15, 0.10), (0.46, 0.26, 0.18), (0.30, 0.20, 0.16)), 'bricks', 0.28, 0.35),
    'concrete': Material(((0.38, 0.38, 0.37), (0.52, 0.51, 0.49)), 'noise', 0.9, 0.2),
    'window': Material(((0.05, 0.06, 0.08), (0.12, 0.14, 0.17)), gloss=0.45),
    'window frame': Material(((0.70, 0.69, 0.66), (0.80, 0.80, 0.80), (0.42, 0.36, 0.30))),
    'door': Material(((0.26, 0.13, 0.07), (0.10, 0.20, 0.14), (0.12, 0.16, 0.30), (0.34, 0.08, 0.07))),
    'roof': Material(((0.30, 0.13, 0.09), (0.20, 0.18, 0.18), (0.38, 0.20, 0.13)), 'planks', 0.35, 0.3),
    'awning': Material(((0.50, 0.10, 0.09), (0.08, 0.25, 0.16), (0.10, 0.18, 0.42), (0.55, 0.45, 0.16))),
    'wall brick': Material(((0.34, 0.20, 0.14), (0.42, 0.30, 0.23)), 'bricks', 0.3, 0.45),
    'wall stone': Material(((0.36, 0.34, 0.30), (0.46, 0.43, 0.37)), 'bricks', 0.55, 0.5),
    'fence wood': Material(((0.34, 0.22, 0.12), (0.24, 0.17, 0.11), (0.66, 0.65, 0.62)), 'planks', 0.2, 0.25),
    'fence metal': Material(((0.05, 0.06, 0.06), (0.10, 0.18, 0.12), (0.30, 0.31, 0.32))),
    'pole metal': Material(((0.26, 0.27, 0.28), (0.42, 0.43, 0.44), (0.10, 0.13, 0.12))),
    'timber': Material(((0.28, 0.19, 0.12), (0.38, 0.28, 0.18)), 'planks', 0.25, 0.3),
    'bark': Material(((0.16, 0.12, 0.08), (0.26, 0.21, 0.16)), 'noise', 0.12, 0.5),
    'foliage': Material(((0.06, 0.17, 0.03), (0.15, 0.27, 0.05), (0.05, 0.14, 0.05)), 'leaves', 0.28, 0.7),
    'conifer': Material(((0.03, 0.11, 0.05), (0.07, 0.17, 0.08)), 'leaves', 0.22, 0.7),
    'hedge': Material(((0.07, 0.16, 0.04), (0.12, 0.22, 0.06)), 'leaves', 0.16, 0.6),
    'lantern': Material(((0.03, 0.04, 0.03), (0.06, 0.10, 0.06), (0.20, 0.17, 0.04))),
    'lamp': Material(((0.72, 0.72, 0.68), (0.60, 0.60, 0.58))),
    'lamp red': Material(((1.0, 0.10, 0.05),), glow=0.9),
    'lamp amber': Material(((1.0, 0.55, 0.05),), glow=0.8),
    'lamp green': Material(((0.10, 0.95, 0.45),), glow=0.8),
    'lamp off': Material(((0.06, 0.05, 0.04),)),
    'sign red': Material(((0.62, 0.03, 0.04), (0.70, 0.07, 0.06))),
    'sign white': Material(((0.76, 0.76, 0.76), (0.84, 0.84, 0.84))),
    'sign blue': Material(((0.02, 0.12, 0.50), (0.04, 0.20, 0.60))),
    'sign yellow': Material(((0.86, 0.62, 0.05),)),
    'sign green': Material(((0.02, 0.30, 0.15),)),
    'sign black': Material(((0.03, 0.03, 0.03),)),
    'sign back': Material(((0.36, 0.37, 0.38),)),
    'skin': Material(((0.62, 0.40, 0.29), (0.36, 0.21, 0.13), (0.16, 0.09, 0.06))),
    'hair': Material(((0.03, 0.02, 0.02), (0.16, 0.09, 0.04), (0.45, 0.36, 0.22))),
    'cloth bright': Material(
        ((0.65, 0.08, 0.08), (0.80, 0.45, 0.06), (0.10, 0.42, 0.20), (0.10, 0.22, 0.62), (0.55, 0.15, 0.45)),
        'noise', 0.2, 0.15,
    ),
    'cloth dark': Material(((0.03, 0.03, 0.04), (0.12, 0.12, 0.15), (0.16, 0.11, 0.08)), 'noise', 0.2, 0.15),
    'cloth light': Material(((0.62, 0.60, 0.56), (0.45, 0.50, 0.56)), 'noise', 0.2, 0.1),
    'jeans': Material(((0.06, 0.09, 0.20), (0.16, 0.22, 0.36)), 'noise', 0.15, 0.2),
    'shoe': Material(((0.03, 0.03, 0.03), (0.22, 0.15, 0.09), (0.6, 0.6, 0.6))),
    'car paint': Material(
        ((0.03, 0.03, 0.035), (0.34, 0.35, 0.37), (0.72, 0.72, 0.72), (0.45, 0.03, 0.03), (0.04, 0.10, 0.34),
         (0.20, 0.21, 0.22), (0.06, 0.18, 0.12)),
        gloss=0.14,
    ),
    'car glass': Material(((0.02, 0.025, 0.03), (0.06, 0.07, 0.08)), gloss=0.4),
    'tyre': Material(((0.02, 0.02, 0.02), (0.04, 0.04, 0.04))),
    'hub': Material(((0.30, 0.30, 0.31), (0.50, 0.50, 0.51)), gloss=0.1),
    'dark plastic': Material(((0.03, 0.03, 0.03), (0.07, 0.07, 0.07))),
    'headlight': Material(((0.75, 0.76, 0.78),), glow=0.15),
    'tail light': Material(((0.45, 0.02, 0.02),), glow=0.1),
    'truck paint': Material(((0.70, 0.70, 0.70), (0.50, 0.05, 0.04), (0.05, 0.14, 0.4), (0.7, 0.42, 0.05)), gloss=0.08),
    'truck box': Material(((0.66, 0.66, 0.66), (0.40, 0.44, 0.46), (0.20, 0.26, 0.30)), 'planks', 0.6, 0.08),
    'truck stripe': Material(((0.60, 0.06, 0.05), (0.05, 0.22, 0.50), (0.08, 0.36, 0.16), (0.75, 0.50, 0.05))),
    'bus paint': Material(((0.70, 0.08, 0.06), (0.78, 0.60, 0.10), (0.72, 0.72, 0.70), (0.08, 0.30, 0.20)), gloss=0.1),
    'tram paint': Material(((0.72, 0.70, 0.60), (0.08, 0.26, 0.46), (0.42, 0.06, 0.07)), gloss=0.1),
    'band': Material(((0.10, 0.11, 0.13), (0.50, 0.06, 0.06), (0.08, 0.16, 0.40), (0.60, 0.60, 0.58))),
    'motorcycle paint': Material(
        ((0.03, 0.03, 0.03), (0.55, 0.04, 0.04), (0.06, 0.14, 0.45), (0.70, 0.42, 0.06)), gloss=0.1
    ),
    'bicycle paint': Material(((0.04, 0.04, 0.04), (0.50, 0.05, 0.05), (0.08, 0.30, 0.42), (0.60, 0.60, 0.58))),
    'bin paint': Material(((0.06, 0.16, 0.10), (0.16, 0.17, 0.18), (0.62, 0.30, 0.04))),
}  # fmt: skip


MATERIALS: tuple[str, ...] = tuple(PALETTE)
TEXTURES = ('plain', 'noise', 'bricks', 'slabs', 'planks', 'leaves')


SURFACES: NDArray[np.float32] = np.array(
    [(TEXTURES.index(m.texture), m.size, m.contrast, m.gloss, m.glow) for m in PALETTE.values()], np.float32
)
