"""Masks that another tool made, as a source of masks for stage 1."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.exchange.import_folder import ImportFolder, MaskFile
from stage1_sam_cache.exchange.import_settings import NAME, ImportSettings
from stage1_sam_cache.exchange.names import part_name
from stage1_sam_cache.geometry.boxes import Box
from stage1_sam_cache.masks.cutting import at_least, cut
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.mask_generator import Place


class ImportedMasks:
    """Looks up the masks of a window: those that are named for it, or the panorama's, cut to it.

    A cut mask keeps its scores. Its place among masks of equal area and scores is that in the file.

    Args:
        folder: Where the masks are.
        tool: What made them; part of the identity, as are the folder's digest and the settings.
        settings: What is taken of them.
        needs_scores: Refuse masks without predicted IoU, for a painting order by score.
    """

    def __init__(
        self, folder: ImportFolder, tool: str, settings: ImportSettings | None = None, needs_scores: bool = False
    ) -> None:
        self.folder, self.tool, self.settings = folder, tool, settings or ImportSettings()
        self._needs_scores = needs_scores
        self._panorama: tuple[str, InstanceMasks] | None = None  # the last one, for its next window

    @property
    def identity(self) -> dict[str, Any]:
        """The tool, the digest of all files, and the settings."""
        return {'name': NAME, 'tool': self.tool, 'sha256': self.folder.sha256, **asdict(self.settings)}

    @property
    def made_with(self) -> dict[str, str]:
        """NumPy's version; everything runs on the CPU."""
        return {'device': 'cpu', 'numpy': np.__version__}

    def masks_at(self, place: Place) -> InstanceMasks:
        """Return the masks of a crop.

        Raises:
            ImageError: If the panorama or the crop has no masks, they can't be read, or are of another size.
        """
        parts = self._parts(place)
        if None in parts:
            masks = cut(self._whole(place, parts[None]), place.box, self.settings.min_area)
        else:
            masks = at_least(parts[place.box].load((place.box.height, place.box.width)), self.settings.min_area)
        if self._needs_scores and np.isnan(masks.predicted_iou).any():
            raise ImageError(
                f'{place.image_id}: {int(np.isnan(masks.predicted_iou).sum())} masks have no score',
                '--order score needs one for each',
            )
        return masks

    def _whole(self, place: Place, file: MaskFile) -> InstanceMasks:
        if self._panorama is None or self._panorama[0] != place.image_id:
            self._panorama = None  # first free the memory
            self._panorama = place.image_id, file.load((place.grid.height, place.grid.width))
        return self._panorama[1]

    def _parts(self, place: Place) -> dict[Box | None, MaskFile]:
        """The panorama's files by what they show, after a check that all of it is what is asked for."""
        name, parts = place.image_id, self.folder.masks.get(place.image_id)
        if name in self.folder.twice:
            raise ImageError(f'{name}: {self.folder.twice[name]}', 'keep one of them')
        if not parts:
            raise ImageError(f'{name}: {self.folder.path} has no masks for it')
        if None in parts:
            if len(parts) > 1:
                raise ImageError(f'{name}: has masks of the whole panorama and of parts', 'keep one kind')
            return parts
        windows = [place.grid.valid(box) for box in place.grid.windows]
        overlaps = [place.grid.valid(overlap.box) for overlap in place.grid.overlaps]
        strange = [box for box in parts if box is not None and box not in {*windows, *overlaps}]
        missing = [box for box in place.boxes if box not in parts]
        if strange:
            raise ImageError(
                f'{name}: {len(strange)} of {len(parts)} parts with masks are no windows of these settings, such as '
                f'{part_name(name, strange[0])}; {part_name(name, windows[0])} would be one',
                'give the --window, --stride and --wrap that they were made with',
            )
        if missing and missing[0] not in windows:
            raise ImageError(
                f'{name}: has masks of windows but none of overlaps, such as {part_name(name, missing[0])}',
                '--overlap-source window cuts them from the windows',
            )
        if missing:
            raise ImageError(
                f'{name}: {len(missing)} windows have no masks, the first is {part_name(name, missing[0])}',
                'a file without masks says that there are none',
            )
        return parts
