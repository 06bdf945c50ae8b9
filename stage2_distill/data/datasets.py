"""One mmseg data set for every entry of the catalogue, and for a folder of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS as MMSEG_DATASETS

from stage1_sam_cache.cache.reader import MaskCache, open_cache
from stage1_sam_cache.data.catalog import DATASETS, list_dataset
from stage1_sam_cache.data.label_spaces import IGNORE, LABEL_SPACES, REMAPS
from stage1_sam_cache.data.labels import LabelReader
from stage1_sam_cache.data.listing import Listing, list_folder
from stage2_distill.data.sampler import Draw
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
        labels: Folder of labels that the catalogue doesn't name, such as the truth of ToyPASS's training panoramas;
            files are found there by the image's path, without extension, plus '_labelTrainIds.png'.
        label_space: Key of ``LABEL_SPACES``; None takes the catalogue's.
        list_file: Text file that chooses and orders the images.
        cache: Folder of stage 1's mask cache; None for images without masks.
        grid: The windows that the cache must have been made with, as ``WindowGrid.settings``.
        limit: Only the first images of the list.
        options: Of ``BaseSegDataset``, such as ``pipeline`` and ``test_mode``.

    Raises:
        DatasetError: If there are no such images, or their labels can't be turned into the label space.
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
        grid: dict[str, Any] | None = None,
        limit: int | None = None,
        **options: Any,
    ) -> None:
        if (name is None) == (images is None):
            raise ConfigError('a data set needs either a name of the catalogue or a folder of images')
        entry = DATASETS.get(name) if name is not None else None
        if name is not None and entry is None:
            raise ConfigError(f'the config asks for data set {name!r}; known: {", ".join(DATASETS)}')
        space = LABEL_SPACES[label_space or (entry.label_space if entry else 'cityscapes19')]
        self._wanted = (name, split, root, images, list_file)
        self._labelled, self._labels, self._limit = labelled, labels, limit
        self._read_label: LabelReader | None = None
        self._ids: dict[int, int] = {}
        if entry is not None and labelled:
            self._read_label = LabelReader(entry, self.listing().root, space.name)
            # mmseg's own LoadAnnotations maps ids one by one, so only those that change are named.
            remap = REMAPS.get((entry.label_encoding, space.name), range(0))
            self._ids = {old: int(new) for old, new in enumerate(remap) if old != new and old != IGNORE}
            if entry.label_encoding == space.name:
                self._ids = {}
        self.mask_cache: MaskCache | None = None
        if cache is not None:
            self.mask_cache = open_cache(cache, expect=None if grid is None else {'grid': grid})
        meta = {'classes': space.classes, 'palette': [list(c) for c in space.palette]}
        super().__init__(metainfo=meta, **options)

    def listing(self) -> Listing:
        """The images, as the catalogue lists them."""
        name, split, root, images, list_file = self._wanted
        if images is not None:
            return list_folder(Path(images), None if list_file is None else Path(list_file))
        assert name is not None
        return list_dataset(name, split, root, list_file)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry an image: id, path, label path, map of label ids."""
        entries: list[dict[str, Any]] = []
        for sample in self.listing().samples[: self._limit]:
            entry: dict[str, Any] = {
                'img_path': str(sample.image),
                'image_id': sample.id,
                'label_map': self._ids or None,
                'reduce_zero_label': False,
                'seg_fields': [],
            }
            if self._labelled:
                label = sample.label
                if self._labels is not None:
                    label = Path(self._labels) / f'{sample.id}_labelTrainIds.png'
                if label is None or not label.is_file():
                    raise ConfigError(
                        f'{sample.image} has no label{"" if label is None else f" {label}"}; {self._wanted[0]} '
                        f'{self._wanted[1]} cannot be used for training with labels or for scoring'
                    )
                entry['seg_map_path'] = str(label)
            entries.append(entry)
        return entries

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """An entry with what its masks and its label are read by."""
        return {**super().get_data_info(idx), 'mask_cache': self.mask_cache, 'read_label': self._read_label}

    def __getitem__(self, idx: int | Draw) -> Any:
        """A sample; a ``Draw`` also says by which random numbers it is changed."""
        if not isinstance(idx, Draw):
            return super().__getitem__(idx)
        # mmseg's transforms draw from NumPy's global generator.
        state = np.random.get_state()
        np.random.seed(idx.seed)
        try:
            return super().__getitem__(idx.image)
        finally:
            np.random.set_state(state)
