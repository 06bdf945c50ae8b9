"""One mmseg data set for every entry of the catalogue, and for a folder of your own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS as MMSEG_DATASETS

from stage1_sam_cache.cache.reader import MaskCache, open_cache
from stage1_sam_cache.data.catalog import DATASETS, list_dataset
from stage1_sam_cache.data.label_spaces import IGNORE, LABEL_SPACES, REMAPS
from stage1_sam_cache.data.labels import LabelReader
from stage1_sam_cache.data.listing import (
    Listing,
    Refused,
    RefusedError,
    SomeRefusedError,
    list_folder,
    name_refused,
)
from stage2_distill.data.pipeline_steps import built_steps
from stage2_distill.data.sampler import Draw
from stage2_distill.data.transforms import LoadCachedMasks, LoadLabel
from stage2_distill.errors import ConfigError


@MMSEG_DATASETS.register_module()
class CatalogueDataset(BaseSegDataset):
    """Images of a split of a catalogue entry, with labels, with cached masks, or with both.

    Args:
        name: Key of ``stage1_sam_cache.data.catalog.DATASETS``; None with ``images``.
        split: Key of its splits.
        root: The data set's folder; None takes the catalogue's.
        images: A folder of images, instead of a catalogue entry.
        labelled: Whether to load labels.
        labels: Folder of labels that the catalogue doesn't name, such as the ground truth of ToyPASS's training
            panoramas; files are found there by the image's path, without extension, plus '_labelTrainIds.png'.
        label_space: Key of ``LABEL_SPACES``; None takes the catalogue's.
        list_file: Text file that chooses and orders the images.
        cache: Folder of stage 1's mask cache; None for images without masks.
        expect: Settings that the cache must have been made with, as ``open_cache`` takes them.
        limit: Only the first images of the list.
        follow_links: Take images and labels behind links that leave the folder.
        skip_refused: Go on without images that are refused: links, two files of one name, formats that are not read.
        options: Of ``BaseSegDataset``, such as ``pipeline`` and ``test_mode``.

    Attributes:
        mask_cache: The opened cache; None without one.
        left_out: What was refused and skipped, with the reasons.
        notes: Warnings for the user, a line each; the runner logs them.

    Raises:
        DatasetError: If there are no such images, some are refused and may not be skipped, or their labels can't be
            converted to the label space.
        MaskCacheError: If there is no such cache.
        ConfigError: If labels are missing.
    """

    def __init__(
        self,
        name: str | None = None,
        split: str | None = None,
        root: str | None = None,
        images: str | None = None,
        labelled: bool = True,
        labels: str | None = None,
        label_space: str | None = None,
        list_file: str | None = None,
        cache: str | None = None,
        expect: Mapping[str, Any] | None = None,
        limit: int | None = None,
        follow_links: bool = False,
        skip_refused: bool = False,
        **options: Any,
    ) -> None:
        if (name is None) == (images is None):
            raise ConfigError('a data set needs either a name of the catalogue or a folder of images')
        self._entry = DATASETS.get(name) if name is not None else None
        if name is not None and self._entry is None:
            raise ConfigError(f'the config asks for data set {name!r}; known: {", ".join(DATASETS)}')
        self._space = LABEL_SPACES[label_space or (self._entry.label_space if self._entry else 'cityscapes19')]
        self._source = (name, split, root, images, list_file)
        self._labelled, self._labels, self._limit = labelled, labels, limit
        self._cache, self._expect = cache, expect
        self._follow_links, self._skip_refused = follow_links, skip_refused
        self.mask_cache: MaskCache | None = None
        self.left_out: list[Refused] = []
        self.notes: list[str] = []
        meta = {'classes': self._space.classes, 'palette': [list(c) for c in self._space.palette]}
        super().__init__(metainfo=meta, **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images, and give the transforms what they read masks and labels with.

        Returns:
            One entry per image: id, path, label path, map of label ids.
        """
        listing = self._list()
        read_label = None
        if self._entry is not None and self._labelled:
            read_label = LabelReader(self._entry, listing.root, self._space.name)
        entries = [self._entry_of(sample.id, sample.image, sample.label) for sample in listing.samples[: self._limit]]
        if self._cache is not None:
            self.mask_cache = open_cache(self._cache, self._expect)
        for step in built_steps(self.pipeline.transforms):
            if isinstance(step, LoadCachedMasks):
                step.cache = self.mask_cache
            elif isinstance(step, LoadLabel):
                step.read = read_label
        return entries

    def _list(self) -> Listing:
        name, split, root, images, list_file = self._source
        try:
            if images is not None:
                listing = list_folder(images, list_file, self._follow_links)
            else:
                assert name is not None
                listing = list_dataset(name, split, root, list_file, self._follow_links)
            if listing.refused and not self._skip_refused:
                raise SomeRefusedError(listing.root, listing.refused)
        except RefusedError as problem:
            raise problem.with_ways('follow_links=True of the data set', 'skip_refused=True of the data set') from None
        self.left_out = listing.refused
        self.notes = [f'skipped: {listing.root}: {name_refused(listing.refused)}'] if listing.refused else []
        return listing

    def _entry_of(self, image_id: str, image: Path, label: Path | None) -> dict[str, Any]:
        entry: dict[str, Any] = {
            'img_path': str(image),
            'image_id': image_id,
            'label_map': self._changed_ids() or None,
            'reduce_zero_label': False,
            'seg_fields': [],
        }
        if not self._labelled:
            return entry
        if self._labels is not None:
            label = Path(self._labels) / f'{image_id}_labelTrainIds.png'
        if label is None or not label.is_file():
            name, split, *_ = self._source
            raise ConfigError(
                f'{image} has no label{"" if label is None else f" {label}"}; {name} {split} cannot be used for '
                'training with labels or for scoring'
            )
        return {**entry, 'seg_map_path': str(label)}

    def _changed_ids(self) -> dict[int, int]:
        """The label ids that change: mmseg's own LoadAnnotations maps ids one by one."""
        if self._entry is None or not self._labelled or self._entry.label_encoding == self._space.name:
            return {}
        remap = REMAPS.get((self._entry.label_encoding, self._space.name), range(0))
        return {old: int(new) for old, new in enumerate(remap) if old != new and old != IGNORE}

    def __getitem__(self, idx: int | Draw) -> Any:
        """A sample; a ``Draw`` also brings the seed of its augmentation."""
        if not isinstance(idx, Draw):
            return super().__getitem__(idx)
        # mmseg's transforms draw from NumPy's global generator.
        state = np.random.get_state()
        np.random.seed(idx.seed)
        try:
            return super().__getitem__(idx.image)
        finally:
            np.random.set_state(state)
