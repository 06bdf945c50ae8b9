"""The settings that decide what is cached, besides the mask generator's own."""

from __future__ import annotations

from dataclasses import dataclass

from stage1_sam_cache.cache.fingerprint import FORMAT_VERSION, MASKS_VERSION, Fingerprint
from stage1_sam_cache.cache.panorama_file import MAX_WINDOW
from stage1_sam_cache.geometry.windows import WindowSettings
from stage1_sam_cache.masks.boundary_map import RULES
from stage1_sam_cache.masks.instance_masks import ORDERS
from stage1_sam_cache.sam.mask_generator import MaskSource

OVERLAP_SOURCES = ('crop', 'window')


@dataclass(frozen=True)
class CacheSettings(WindowSettings):
    """Window settings (``window``, ``stride``, ``wrap``), and how masks and boundary maps are made of the windows.

    Args:
        order: Painting order of overlapping masks, see ``InstanceMasks.in_painting_order``.
        overlap_source: ``'crop'`` gives each overlap to the generator as an image of its own, as the paper does;
            ``'window'`` cuts it from the masks of its first window, which saves about half of the work.
        boundary: ``'labels'`` is ``boundary_map`` of the id map, ``'contours'`` is ``contour_map``.
        boundary_thickness: 2 or 1 pixels, for ``'labels'`` only.

    Raises:
        ValueError: If a setting is not one of these, or the windows are refused by ``WindowSettings``.
    """

    order: str = 'area_desc'
    overlap_source: str = 'crop'
    boundary: str = 'labels'
    boundary_thickness: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in [('order', ORDERS), ('overlap_source', OVERLAP_SOURCES), ('boundary', RULES)]:
            if getattr(self, name) not in known:
                raise ValueError(f'{name} {getattr(self, name)!r} is none of {", ".join(known)}')
        if self.boundary_thickness not in (1, 2):
            raise ValueError(f'boundary thickness {self.boundary_thickness} is neither 1 nor 2')
        if max(self.window) > MAX_WINDOW:
            raise ValueError(f'window of {self.window} pixels; at most {MAX_WINDOW} per side can be cached')

    def fingerprint(self, generator: MaskSource) -> Fingerprint:
        """Return what identifies a cache made with these settings and this generator."""
        return Fingerprint(
            {
                'format': FORMAT_VERSION,
                'version': MASKS_VERSION,
                'grid': self.to_json(),  # the window settings alone
                'generator': generator.identity,
                'order': self.order,
                'boundary': {
                    'source': self.overlap_source,
                    'rule': self.boundary,
                    'thickness': self.boundary_thickness if self.boundary == 'labels' else None,
                },
            }
        )
