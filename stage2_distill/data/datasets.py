"""One mmseg data set for every entry of the catalogue, and for a folder of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS as MMSEG_DATASETS
from numpy.typing import NDArray

from stage1_sam_cache.cache.reader import MaskCache, open_cache
from stage1_sam_cache.data import own_labels
from stage1_sam_cache.data.catalog import DATASETS, list_dataset
from stage1_sam_cache.data.labels import LabelReader
from stage1_sam_cache.data.listing import Listing, Sample, list_folder
from stage1_sam_cache.data.own_labels import LabelIds
from stage1_sam_cache.data.refusals import Refused, RefusedError, SomeRefusedError, name_refused
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
        labels: Folder of labels that the catalogue doesn't name: those of ``images``, or the ground truth of ToyPASS's
            training panoramas. Files are found as ``own_labels.with_labels`` says.
        label_space: Key of ``LABEL_SPACES``; None takes the catalogue's, and cityscapes19 for ``images``.
        label_ids: What the ids in ``labels`` are, as ``own_labels.OwnLabelReader`` takes it.
        list_file: Text file that chooses and orders the images.
        cache: Folder of stage 1's mask cache; None for images without masks.
        expect: Settings that the cache must have been made with, as ``open_cache`` takes them.
        limit: Only the first images of the list.
        follow_links: Take images and labels behind links that leave the folder.
        skip_refused: Go on without images that are refused: links, two files of one name, formats that are not read.
        options: Of ``BaseSegDataset``, such as ``pipeline`` and ``test_mode``.

    Attributes:
        mask_cache: The opened cache; None without one.
        listed: How many images were found, or named by the list.
        left_out: Those that cannot be in the data set, with the reason; ``limit`` leaves out more.
        unused_labels: Names of label files in ``labels`` of which there is no image.
        is_own: Whether it is a folder of images, not a catalogue entry.
        notes: Warnings for the user, a line each; the runner logs them.

    Raises:
        DatasetError: If there are no such images, some are refused and may not be skipped, or their labels can't be
            converted to the label space.
        MaskCacheError: If there is no such cache.
        ConfigError: If labels are missing; of ``images`` that are scored (``test_mode``), only if all are.
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
        label_ids: LabelIds | None = None,
        list_file: str | None = None,
        cache: str | None = None,
        expect: Mapping[str, Any] | None = None,
        limit: int | None = None,
        follow_links: bool = False,
        skip_refused: bool = False,
        **options: Any,
    ) -> None:
        if (name is None) == (images is None):
            raise ConfigError(
                'a data set needs either a name of the catalogue or a folder of images',
                'set name=None and split=None beside images' if name else 'give one of them',
            )
        self._entry = DATASETS.get(name) if name is not None else None
        if name is not None and self._entry is None:
            raise ConfigError(f'the config asks for data set {name!r}; known: {", ".join(DATASETS)}')
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise ConfigError(f'limit={limit} of a data set', 'give a whole number of at least 1')
        if label_ids is not None and labels is None:
            raise ConfigError('label_ids says what the ids in a folder of labels are', 'give the folder as labels')
        self._space = own_labels.label_space(
            label_space or (self._entry.label_space if self._entry else 'cityscapes19')
        )
        self._source = (name, split, root, images, list_file)
        self._labelled, self._labels, self._limit = labelled and (images is None or labels is not None), labels, limit
        self._label_ids, self.is_own = label_ids, images is not None
        self.listed, self.left_out, self.unused_labels = 0, list[Refused](), list[str]()
        self._cache, self._expect = cache, expect
        self._follow_links, self._skip_refused = follow_links, skip_refused
        self.mask_cache: MaskCache | None = None
        self.notes: list[str] = []
        meta = {'classes': self._space.classes, 'palette': [list(c) for c in self._space.palette]}
        super().__init__(metainfo=meta, **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images, and give the transforms what they read masks and labels with.

        Returns:
            One entry per image: id, path, label path.
        """
        listing = self._list()
        read_label = self._label_reader(listing.root)
        self.listed = len(listing.samples) + len(listing.refused)
        self.left_out = list(listing.refused)
        samples = self._with_labels(listing) if self._labelled else listing.samples
        if self._cache is not None:
            self.mask_cache = open_cache(self._cache, self._expect)
        for step in built_steps(self.pipeline.transforms):
            if isinstance(step, LoadAnnotations):
                raise ConfigError(
                    "LoadAnnotations reads labels of 16 bits as other ids, and does not know the data set's",
                    'begin the pipeline with LoadPanorama, and load labels with LoadLabel',
                )
            if isinstance(step, LoadCachedMasks):
                step.cache = self.mask_cache
            elif isinstance(step, LoadLabel):
                if read_label is None:
                    raise ConfigError(
                        f'the config loads labels, but {self._source[3] or self._source[0]} is used without labels',
                        'give their folder as labels, or take LoadLabel out of the pipeline',
                    )
                step.read = read_label
        return [self._entry_of(sample) for sample in samples[: self._limit]]

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
        self.notes = [f'skipped: {listing.root}: {name_refused(listing.refused)}'] if listing.refused else []
        return listing

    def _label_reader(self, root: Path) -> Callable[[Path, NDArray[np.uint8]], NDArray[np.uint8]] | None:
        if not self._labelled:
            return None
        if self._entry is None or self._label_ids is not None:
            return own_labels.OwnLabelReader(self._space.name, self._label_ids)
        return LabelReader(self._entry, root, self._space.name)

    def _with_labels(self, listing: Listing) -> list[Sample]:
        """The samples that have a label; only where custom images are scored may others be skipped.

        Raises:
            ConfigError: If other samples have none.
        """
        reasons: dict[str, str] = {}
        if self._labels is not None:
            chosen = self._source[-1] is not None  # by a list, so others are not expected to be there
            listing, reasons, unused = own_labels.with_labels(
                listing, self._labels, self._label_ids, self._follow_links
            )
            self.unused_labels = [] if chosen else unused
        without = [sample for sample in listing.samples if sample.label is None]
        name, split, _, images, _ = self._source
        if without and not (images is not None and self.test_mode):
            which = str(without[0].image) + (f' and {len(without) - 1} more' if without[1:] else '')
            why = reasons.get(without[0].id, 'no label')
            raise ConfigError(
                f'{which} has {"no label" if why == "no label" else f"no label ({why})"}; '
                f'{images or f"{name} {split}"} cannot be used for training with labels or for scoring'
            )
        self.left_out += [Refused(sample.id, reasons[sample.id]) for sample in without]
        return [sample for sample in listing.samples if sample.label is not None]

    def _entry_of(self, sample: Sample) -> dict[str, Any]:
        entry: dict[str, Any] = {'img_path': str(sample.image), 'image_id': sample.id, 'seg_fields': []}
        return {**entry, 'seg_map_path': str(sample.label)} if self._labelled else entry

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
