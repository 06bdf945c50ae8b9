"""Training samples of the adaptation: labelled source images beside a target image with its pseudo-label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from mmengine.registry import DATA_SAMPLERS
from mmseg.registry import DATASETS, MODELS
from torch.utils.data import Dataset

from stage1_sam_cache.data.refusals import RefusedError
from stage2_distill.data.pipeline_steps import built_steps
from stage2_distill.data.sampler import Draw, DrawSampler
from stage2_distill.data.transforms import PackPanorama, PanoramaPreProcessor
from stage2_distill.errors import ConfigError
from stage2_distill.omnisam.pseudo_labels import LoadPseudoLabel, RoundStore
from stage2_distill.omnisam.rounds import place_in_round

SOURCE, TARGET = 'source', 'target'
Sample = dict[str, Any]  # of PackPanorama


@dataclass(frozen=True)
class TargetRound:
    """The target images of a round.

    Attributes:
        number: Of the round, from 0.
        seed: Of the run.
        images: Their indices, in the order of the first pass.
        first_draw: Draws of the run before the round, of all processes.
        store: Their labels.
    """

    number: int
    seed: int
    images: Sequence[int]
    first_draw: int
    store: RoundStore

    def image_of(self, draw: int) -> int:
        """Return the index of the image that a draw of the run takes."""
        return self.images[place_in_round(self.seed, self.number, draw - self.first_draw, len(self.images))]


class PairedDraw(NamedTuple):
    """One sample of a run: a source image, the seed of all augmentation, and how many draws of the run were before."""

    image: int
    seed: int
    number: int


@DATA_SAMPLERS.register_module()
class PairedSampler(DrawSampler):
    """``DrawSampler`` for a ``PairedDataset``, which also asks how many draws were before."""

    def draw(self, image: int, seed: int, number: int) -> PairedDraw:
        """Return all three."""
        return PairedDraw(image, seed, number)


@DATASETS.register_module()
class PairedDataset(Dataset):
    """One labelled source draw, or several, and one target draw of the present round per sample.

    Images of both have sizes of their own, so that a sample holds two inputs. ``PairedSampler`` chooses source images
    and seeds all augmentation; the round chooses target images.

    Args:
        source: Config of a data set with labels.
        target: Config of a ``CatalogueDataset`` without labels, or such a data set; its pipeline has
            ``LoadPseudoLabel``.
        source_images: Source draws per sample; more than one where an image is a single window and a panorama many.

    Attributes:
        metainfo: Classes and palette.

    Raises:
        ConfigError: If both do not have the same classes, or pseudo-labels are not loaded.
        DatasetError: As the data sets.
    """

    def __init__(self, source: dict[str, Any], target: dict[str, Any] | Dataset, source_images: int = 1) -> None:
        if not isinstance(source_images, int) or source_images < 1:
            raise ConfigError(f'source_images={source_images} of a PairedDataset', 'give a whole number of at least 1')
        self.source, self.target, self.source_images = _built(SOURCE, source), _built(TARGET, target), source_images
        self.metainfo = self.source.metainfo
        if self.metainfo['classes'] != self.target.metainfo['classes']:
            raise ConfigError(
                f'the source of a PairedDataset has {len(self.metainfo["classes"])} classes, the target other ones '
                f'({len(self.target.metainfo["classes"])})',
                'give both the same label_space',
            )
        self.notes = [*getattr(self.source, 'notes', []), *getattr(self.target, 'notes', [])]
        steps = self.target.pipeline.transforms
        place = next((i for i, step in enumerate(steps) if isinstance(step, LoadPseudoLabel)), None)
        if place is None:
            raise ConfigError(
                'the target of a PairedDataset loads no pseudo-labels', 'put LoadPseudoLabel into its pipeline'
            )
        self._label_steps = [*steps[:place], PackPanorama()]
        self._round: TargetRound | None = None

    def begin_round(self, turn: TargetRound) -> None:
        """Take target images of a round from now on; loaders' workers that run already do not hear of it."""
        self._round = turn
        for step in built_steps(self.target.pipeline.transforms):
            if isinstance(step, LoadPseudoLabel):
                step.store = turn.store

    def target_ids(self) -> list[str]:
        """Return the ids of all target images."""
        return [self.target.get_data_info(i)['image_id'] for i in range(len(self.target))]

    def unlabelled(self, ids: Sequence[str]) -> Dataset:
        """Return target images as they are labelled: packed samples in this order."""
        places = {image_id: i for i, image_id in enumerate(self.target_ids())}
        return _Unlabelled(self.target, [places[image_id] for image_id in ids], self._label_steps)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return what is known of a source image."""
        info: dict[str, Any] = self.source.get_data_info(index)
        return info

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: PairedDraw) -> dict[str, Any]:
        """Return ``{'source': [sample, ...], 'target': sample}`` of a draw."""
        if self._round is None:
            raise ConfigError('a PairedDataset is in no round', 'add PseudoLabelRoundHook to default_hooks')
        more = np.random.SeedSequence((draw.seed, 1)).generate_state(2 * self.source_images)
        draws = [Draw(draw.image, draw.seed)]
        draws += [Draw(int(more[2 * i]) % len(self), int(more[2 * i + 1])) for i in range(1, self.source_images)]
        target = Draw(self._round.image_of(draw.number), int(more[0]))
        return {SOURCE: [self.source[each] for each in draws], TARGET: self.target[target]}


class _Unlabelled(Dataset):
    def __init__(self, dataset: Any, indices: list[int], steps: list[Any]) -> None:
        self._dataset, self._indices, self._steps = dataset, indices, steps

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> Sample:
        results = self._dataset.get_data_info(self._indices[position])
        for step in self._steps:
            results = step(results)
        return results


def _built(name: str, settings: dict[str, Any] | Dataset) -> Any:
    """Build one of the two data sets, unless it is one."""
    if isinstance(settings, Dataset):
        return settings
    try:
        return DATASETS.build(settings)
    except RefusedError as problem:
        option = f'--cfg-options train_dataloader.dataset.{name}'
        refused = problem.with_ways(f'{option}.follow_links=True', f'{option}.skip_refused=True')
        raise ConfigError(refused.problem, refused.remedy) from None


@MODELS.register_module()
class PairedPreProcessor(PanoramaPreProcessor):
    """Prepares source and target images of a paired batch, each by themselves; other batches as usual."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return ``inputs`` and ``data_samples``, of a paired batch each with ``'source'`` and ``'target'``.

        A paired batch of B samples with k source images has k B source images: the first of all samples, then the
        second of all, and so on.
        """
        if SOURCE not in data:
            return super().forward(data, training)
        parts: list[dict[str, Any]] = data[SOURCE]
        joined = {name: [each for part in parts for each in part[name]] for name in parts[0]}
        found = {
            name: super(PairedPreProcessor, self).forward(each, training)
            for name, each in ((SOURCE, joined), (TARGET, data[TARGET]))
        }
        return {name: {domain: found[domain][name] for domain in found} for name in ('inputs', 'data_samples')}
