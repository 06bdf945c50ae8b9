"""Files that are made of a panorama and its labels, beside them: views, and masks for photogrammetry.

::

    masks/<mask of the image>
    views/images/<view>/<id>.png
    views/labels/<view>/<id>.png
    views/masks/<view>/<mask of that image>

Views have a folder each, so that the cameras of a rig differ in the first folder alone and the rest of the name is the
moment, as COLMAP's rigs and its ``--ImageReader.single_camera_per_folder`` need it. Each file carries a note of what
made it, as labels do, so that a later run makes what is missing, of labels that are there without the student.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stage1_sam_cache.data.gpano import PanoramaFacts
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.geometry.sphere import camera_to_level
from stage2_distill.deployment.outputs import Predictions
from stage2_distill.deployment.own_output import MASKS, VIEWS, Note
from stage2_distill.deployment.photogrammetry_masks import ignore_mask, mask_name
from stage2_distill.deployment.views import View, cut_view, whole_sphere

Pixels = NDArray[np.uint8]


class _File(NamedTuple):
    """One derived file: what it is made for, where, and what its note says more."""

    kind: str  # 'image', 'labels' or 'mask'
    view: View | None  # None for the panorama itself
    path: Path
    note: Note


@dataclass(frozen=True)
class DerivedFiles:
    """What is made of each labelled panorama, beside its labels.

    Args:
        predictions: The folder.
        views: The cameras; none for no views.
        ignored: Ids of the classes that masks keep out; None for no masks.
        mask_names: One of ``photogrammetry_masks.NAMES``.
        level: Views are those of the levelled panorama.
    """

    predictions: Predictions
    views: Sequence[View] = ()
    ignored: Sequence[int] | None = None
    mask_names: str = 'colmap'
    level: bool = False

    @property
    def folders(self) -> list[str]:
        """What is written where, in words."""
        views = [f'views in {self.predictions.root / VIEWS}'] if self.views else []
        return views + ([f'masks in {self.predictions.root / MASKS}'] if self.ignored is not None else [])

    def is_finished(self, image_id: str, image_name: str, note: Note) -> bool:
        """Return whether all files of an image are there and were made as ``note`` says.

        Args:
            image_id: Its id.
            image_name: The id with the extension of the image's file.
            note: Of its labels.

        Raises:
            ImageError: If a file of such a name does not say what made it.
        """
        files = self._files(image_id, image_name)
        # All are looked at: each may be one that must not be replaced.
        made = [self.predictions.is_made_as(file.path, {**note, **file.note}) for file in files]
        return all(made)

    def exist(self, image_id: str, image_name: str) -> bool:
        """Return whether a file of one of these names is there."""
        return any(file.path.exists() for file in self._files(image_id, image_name))

    def write(
        self, image_id: str, image_name: str, pixels: Pixels, labels: Pixels, facts: PanoramaFacts, note: Note
    ) -> None:
        """Write all files of an image, each atomic.

        Args:
            image_id, image_name, note: As for ``is_finished``.
            pixels: RGB, uint8 ``(H, W, 3)``.
            labels: Class ids, uint8 ``(H, W)``.
            facts: What the panorama shows.

        Raises:
            ImageError: If the file system refuses a name, or the panorama is too large to be projected.
            WriteError: If nothing can be written.
        """
        image_sphere, labels_sphere = (
            self._spheres(pixels, labels, facts, image_name) if self.views else (pixels, labels)
        )
        seen = labels
        for file in self._files(image_id, image_name):
            if file.kind == 'labels' and file.view is not None:
                seen = cut_view(labels_sphere, file.view, nearest=True)
            if file.kind == 'image' and file.view is not None:
                made = cut_view(image_sphere, file.view)
            else:
                made = ignore_mask(seen, self.ignored or ()) if file.kind == 'mask' else seen
            self.predictions.write_png(image_id, file.path, Image.fromarray(made), {**note, **file.note})

    def _spheres(self, pixels: Pixels, labels: Pixels, facts: PanoramaFacts, name: str) -> tuple[Pixels, Pixels]:
        """Image and labels as full spheres, level if that is asked for."""
        for view in self.views:
            view.size_for(facts.shown.full_width)  # refuses before anything large is made
        to_area = camera_to_level(facts.pitch, facts.roll).T if self.level and not facts.is_level else None
        try:
            image = whole_sphere(pixels, facts.shown, to_area, labels=False)
        except ImageError as problem:
            raise ImageError(f'{name}: {problem.problem}', problem.remedy) from problem
        return image, whole_sphere(labels, facts.shown, to_area, labels=True)

    def _files(self, image_id: str, image_name: str) -> list[_File]:
        """The files of an image in the order in which they are written: masks follow the labels that they are of."""
        root, files = self.predictions.root, []
        masked: Note = {'ignored': list(self.ignored or ())}
        if self.ignored is not None:
            files.append(_File('mask', None, root / MASKS / mask_name(image_name, self.mask_names), masked))
        for view in self.views:
            seen: Note = {'view': view.to_json()}
            below = f'{view.name}/{image_id}.png'
            files.append(_File('image', view, root / VIEWS / 'images' / below, seen))
            files.append(_File('labels', view, root / VIEWS / 'labels' / below, seen))
            if self.ignored is not None:
                path = root / VIEWS / 'masks' / mask_name(below, self.mask_names)
                files.append(_File('mask', view, path, {**seen, **masked}))
        return files
