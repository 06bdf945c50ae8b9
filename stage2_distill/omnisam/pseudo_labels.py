"""Pseudo-labels of a round on disk: a PNG of class ids per image, and a manifest that says what made them.

    work_dir/pseudo_labels/round_0/manifest.json
    work_dir/pseudo_labels/round_0/<image id>.png       class ids, 255 where there is no label

They are not in the mask cache, because they depend on the model. Labelling can be killed at any moment: a file is
complete or absent, and it is kept if the manifest is of the same model, rule and images.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dist import barrier, get_dist_info
from mmseg.registry import TRANSFORMS
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.data.labels import check_ids, read_ids
from stage1_sam_cache.system import interruption
from stage1_sam_cache.system.atomic_file import commit, make_folder, remove_abandoned
from stage2_distill.errors import ConfigError, TrainingError
from stage2_distill.fusion.label_drift import class_counts, shares
from stage2_distill.omnisam.labelling import LabelSettings, label_panorama

FOLDER = 'pseudo_labels'  # of a work dir
MANIFEST = 'manifest.json'
_FORMAT = 1


class RoundStore:
    """The labels of one round.

    Args:
        folder: Of this round; it is made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_round(cls, work_dir: str | Path, number: int) -> RoundStore:
        """Return the store of a round in a work dir."""
        return cls(Path(work_dir, FOLDER, f'round_{number}'))

    def path(self, image_id: str) -> Path:
        """Return the file of an image's labels."""
        return self.folder / f'{image_id}.png'

    def manifest(self) -> dict[str, Any]:
        """Read the manifest; empty if it is missing or damaged."""
        try:
            content = json.loads((self.folder / MANIFEST).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def begin(self, about: Mapping[str, Any]) -> None:
        """Begin to label, or continue: labels that something else made are removed.

        Args:
            about: What labels depend on, as plain values, with the ids of the images as ``images``.

        Raises:
            WriteError: If nothing can be written there.
        """
        make_folder(self.folder, 'give another --work-dir')
        for part in {self.path(image_id).parent for image_id in about['images']}:
            remove_abandoned(part)
        wanted = _plain({'format': _FORMAT, **about})
        if self._is_of(wanted):
            return
        for image_id in about['images']:
            self.path(image_id).unlink(missing_ok=True)
        self._write(wanted)

    def missing(self) -> list[str]:
        """Return the ids of the images without labels."""
        return [image_id for image_id in self.manifest()['images'] if not self.path(image_id).is_file()]

    def write(self, image_id: str, labels: NDArray[np.uint8]) -> None:
        """Write the labels ``(H, W)`` of an image, atomic.

        Raises:
            WriteError: If they can't be written.
        """
        path, buffer = self.path(image_id), io.BytesIO()
        make_folder(path.parent, 'give another --work-dir')
        Image.fromarray(labels).save(buffer, 'PNG')
        commit(path, buffer.getvalue(), replace=True)

    def finish(self) -> dict[str, Any]:
        """Count all labels, add what they are made of to the manifest, and return it.

        Added are ``coverage``, the share of pixels with a label, and ``class_shares`` of those, by class.

        Raises:
            ImageError: If a file is damaged.
            WriteError: If the manifest can't be written.
        """
        about = self.manifest()
        if 'coverage' in about:
            return about
        classes: list[str] = about['classes']
        counts, pixels = torch.zeros(len(classes), dtype=torch.int64), 0
        for image_id in about['images']:
            with Image.open(self.path(image_id)) as size:
                rows, columns = size.height, size.width
            labels = torch.from_numpy(self.read(image_id, (rows, columns), len(classes)).copy())
            counts += class_counts(labels, len(classes))
            pixels += labels.numel()
        by_class = dict(zip(classes, shares(counts).tolist(), strict=True))
        self._write({**about, 'coverage': int(counts.sum()) / max(pixels, 1), 'class_shares': by_class})
        return self.manifest()

    def read(self, image_id: str, size: tuple[int, ...], classes: int = IGNORE) -> NDArray[np.uint8]:
        """Read the labels of an image, uint8 ``(H, W)``.

        Args:
            image_id: Of the image.
            size: Rows and columns of the image.
            classes: Ids from here on are refused, but for 255.

        Raises:
            TrainingError: If there are none.
            ImageError: If the file is damaged, of another size, or has other ids.
        """
        path = self.path(image_id)
        if not path.is_file():
            raise TrainingError(f'{path} is missing', 'were labels removed during the run?')
        labels = read_ids(path, size)
        check_ids(path, labels, range(classes))
        return labels

    def check_complete(self, about: Mapping[str, Any]) -> None:
        """Check that the labels of a resumed run are there: the model that made them no longer is.

        Args:
            about: As for ``begin``.

        Raises:
            TrainingError: If they are not, or are other ones.
        """
        remedy = 'copy the folder from the run, or resume from a checkpoint of the iteration at which the round began'
        if not self._is_of(_plain({'format': _FORMAT, **about})):
            raise TrainingError(f"{self.folder} does not have this run's labels of the round that is resumed", remedy)
        if lost := self.missing():
            raise TrainingError(f'{self.folder} lacks the labels of {len(lost)} images, such as {lost[0]}', remedy)

    def _is_of(self, wanted: dict[str, Any]) -> bool:
        found = self.manifest()
        return {name: found.get(name) for name in wanted} == wanted

    def _write(self, content: dict[str, Any]) -> None:
        commit(self.folder / MANIFEST, json.dumps(content, indent=1).encode(), replace=True)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(values))  # tuples become lists, as in the file
    return plain


@torch.no_grad()
def label_images(
    model: Any,
    images: Callable[[Sequence[str]], Dataset],
    store: RoundStore,
    about: Mapping[str, Any],
    settings: LabelSettings,
    workers: int = 0,
    stop: Callable[[], None] = lambda: None,
    title: str = 'labelling',
) -> dict[str, Any]:
    """Label the images of a round that are not labelled yet; processes share the work.

    Args:
        model: ``OmniSAM`` in evaluation mode, on its device.
        images: Returns the packed samples of images by their ids.
        store: Gets the labels.
        about: As ``RoundStore.begin`` takes it; equal in all processes.
        settings: How they are labelled.
        workers: Processes that load images.
        stop: Called after each image; may raise.
        title: Of the progress bar.

    Returns:
        The finished manifest.

    Raises:
        WriteError: If a file can't be written; those written before stay.
        ImageError: If an image can't be read.
    """
    rank, processes = get_dist_info()
    if rank == 0:
        store.begin(about)
    barrier()
    mine = store.missing()[rank::processes]
    barrier()  # before anyone writes: all have the same list
    loader = DataLoader(images(mine), batch_size=None, num_workers=workers if mine else 0, worker_init_fn=_begin_worker)
    for packed in tqdm(loader, desc=title, unit='image', disable=not mine):
        batch = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
        data = model.data_preprocessor(batch, False)
        (sample,) = data['data_samples']
        labels = label_panorama(model, data['inputs'], sample, settings).labels
        store.write(sample.image_id, labels.to(torch.uint8).cpu().numpy())
        stop()
    barrier()
    if rank == 0:
        store.finish()
    barrier()
    return store.manifest()


def _begin_worker(number: int) -> None:
    """Begin a loader's worker, which outlives signals to all processes of a run."""
    interruption.outlast()


@TRANSFORMS.register_module()
class LoadPseudoLabel(BaseTransform):
    """Read an image's pseudo-label of the present round. Adds ``gt_seg_map``, uint8 ``(H, W)``.

    Steps before it are also those of the images that are labelled, so that they may change nothing at random.

    Attributes:
        store: Of the round, set by the data set.

    Raises:
        ConfigError: If the data set has no rounds.
        TrainingError, ImageError: As ``RoundStore.read``.
    """

    store: RoundStore | None = None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if self.store is None:
            raise ConfigError(
                'LoadPseudoLabel reads labels of a round, and there is none',
                'use it in the target of a PairedDataset, with PseudoLabelRoundHook among the hooks',
            )
        results['gt_seg_map'] = self.store.read(results['image_id'], results['img'].shape[:2])
        results['seg_fields'].append('gt_seg_map')
        return results
