"""One mmseg data set for every entry of the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS as MMSEG_DATASETS

from stage1_sam_cache.catalog import DATASETS, list_dataset
from stage1_sam_cache.label_spaces import IGNORE, LABEL_SPACES, REMAPS
from stage2_distill.errors import ConfigError


@MMSEG_DATASETS.register_module()
class CatalogueDataset(BaseSegDataset):
    """Labelled images of a split of a catalogue entry.

    Args:
        name: Key of ``stage1_sam_cache.catalog.DATASETS``.
        split: Key of its splits.
        root: The data set's folder; None takes the catalogue's.
        labels: Folder of labels that the catalogue doesn't name, such as the truth of ToyPASS's training panoramas;
            files are found there by the image's path, without extension, plus '_labelTrainIds.png'.
        label_space: Key of ``LABEL_SPACES``; None takes the catalogue's.
        list_file: Text file that chooses and orders the images.
        options: Of ``BaseSegDataset``, such as ``pipeline`` and ``test_mode``.

    Raises:
        DatasetError: If there are no such images.
        ConfigError: If labels are missing, or can't be turned into the label space.
    """

    def __init__(
        self,
        name: str,
        split: str,
        root: str | None = None,
        labels: str | None = None,
        label_space: str | None = None,
        list_file: str | None = None,
        **options: Any,
    ) -> None:
        entry = DATASETS.get(name)
        if entry is None:
            raise ConfigError(f'the config asks for data set {name!r}; known: {", ".join(DATASETS)}')
        space = LABEL_SPACES[label_space or entry.label_space]
        if (entry.label_encoding, space.name) not in REMAPS:
            raise ConfigError(f'labels of {name} ({entry.label_encoding}) cannot be read as {space.name}')
        remap = REMAPS[entry.label_encoding, space.name]
        # mmseg's loader maps ids one by one, so only those that change are named.
        self._ids = {old: int(new) for old, new in enumerate(remap) if old != new and old != IGNORE}
        if entry.label_encoding == space.name:
            self._ids = {}
        self._wanted = (name, split, root, list_file)
        self._labels = labels
        super().__init__(metainfo={'classes': space.classes, 'palette': [list(c) for c in space.palette]}, **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry an image: path, label path, map of label ids."""
        name, split, root, list_file = self._wanted
        listing = list_dataset(name, split, root, list_file)
        entries: list[dict[str, Any]] = []
        for sample in listing.samples:
            label = sample.label
            if self._labels is not None:
                label = Path(self._labels) / f'{sample.id}_labelTrainIds.png'
            if label is None or not label.is_file():
                raise ConfigError(
                    f'{sample.image} has no label{"" if label is None else f" {label}"}; {name} {split} cannot be used '
                    'for training with labels or for scoring'
                )
            entries.append(
                {
                    'img_path': str(sample.image),
                    'seg_map_path': str(label),
                    'label_map': self._ids or None,
                    'reduce_zero_label': False,
                    'seg_fields': [],
                }
            )
        return entries
