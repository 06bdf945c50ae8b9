"""Whether the labels of rounds drift: a model that learns from labels of its own making may unlearn classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from safetensors.torch import save
from torch import Tensor

from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.fusion.label_drift import agreement, drift_signs
from stage2_distill.omnisam.labelling import LabelSettings, label_panorama
from stage2_distill.omnisam.paired_dataset import PairedDataset
from stage2_distill.omnisam.pseudo_labels import FOLDER
from stage2_distill.training.label_guard import START_LABELS, evaluation_mode, read_labels


class RoundGuard:
    """Logs what the labels of each round are made of, and warns once when they drift; it changes nothing.

    At the start of every round it writes to ``vis_data/scalars.json``: ``label_coverage``, ``label_share/<class>`` of
    the round's labels, and from round 1 on ``label_agreement``, the share of pixels of a few target images whose label
    is that of round 0. There each pixel has a label (rule ``'mean'``), so that a rule that leaves out more is no drift.
    The images are the first of the target list; the main process labels them.

    Args:
        panoramas: How many images are compared; 0 logs the others alone.
        min_agreement: As of ``LabelGuardHook``, whose bounds these are.
        min_share: Likewise.
        kept: Likewise.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self, panoramas: int = 4, min_agreement: float = 0.9, min_share: float = 0.001, kept: float = 0.25
    ) -> None:
        if panoramas < 0 or not all(0 <= bound <= 1 for bound in (min_agreement, min_share, kept)):
            raise ValueError(
                f'panoramas={panoramas}, min_agreement={min_agreement}, min_share={min_share}, kept={kept}: bounds are '
                'from 0 to 1'
            )
        self.panoramas, self._bounds = panoramas, (min_agreement, min_share, kept)
        self._warned = False

    def look(self, runner: Any, model: Any, number: int, manifest: Mapping[str, Any], settings: LabelSettings) -> None:
        """Log the labels of a round and judge them.

        Args:
            runner: Of the run.
            model: ``OmniSAM`` that has made the labels.
            number: Of the round.
            manifest: Finished, of its labels.
            settings: They were made so.
        """
        if not is_main_process():
            return
        dataset: PairedDataset = runner.train_dataloader.dataset
        scalars = {'label_coverage': manifest['coverage']}
        scalars |= {f'label_share/{name}': share for name, share in manifest['class_shares'].items()}
        line = f'{manifest["coverage"]:.1%} of the pixels of {len(manifest["images"])} images have a label'
        ids = dataset.target_ids()[: self.panoramas]
        now = _labels(model, dataset, ids, replace(settings, rule='mean', threshold=None))
        start = self._start(runner, number, now)
        if number and start:
            scalars['label_agreement'] = agreement(_joined(now), _joined(start))
            line += f'; on {len(ids)} images, {scalars["label_agreement"]:.1%} of the labels are those of round 0'
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)
        runner.logger.info(f'labels, round {number}: {line}')
        signs = drift_signs(_joined(now), _joined(start), dataset.metainfo['classes'], *self._bounds) if start else []
        if signs and not self._warned:
            self._warned = True
            runner.logger.warning(
                f'labels drift by round {number}, on {len(ids)} target images: {"; ".join(signs)}. The model learns '
                'from labels of its own making, and classes that leave them are unlearned. Remedies: a lower '
                'optim_wrapper.optimizer.lr, a higher default_hooks.rounds.labelling.threshold, or '
                'default_hooks.rounds.relabel=False. Training goes on'
            )

    def _start(self, runner: Any, number: int, now: dict[str, Tensor]) -> dict[str, Tensor]:
        """The labels of round 0, which are kept in the work dir; those of now in round 0, and if they are lost."""
        path = Path(runner.work_dir, FOLDER, START_LABELS)
        if not now:
            return {}
        if number:
            kept = read_labels(path)
            if {name: each.shape for name, each in kept.items()} == {name: each.shape for name, each in now.items()}:
                return {name: kept[name] for name in now}
            runner.logger.warning(
                f'{path} {"is of other images" if kept else "is missing or damaged"}: from here on, labels are '
                f'compared with those of round {number}, not with those of round 0'
            )
        commit(path, save(now), replace=True)
        return now


@torch.no_grad()
def _labels(model: Any, dataset: PairedDataset, ids: list[str], settings: LabelSettings) -> dict[str, Tensor]:
    """Labels of images, uint8 ``(H, W)`` by id; nothing of the model changes."""
    images: Any = dataset.unlabelled(ids)
    found = {}
    with evaluation_mode(model):
        for i, image_id in enumerate(ids):
            packed = images[i]
            batch = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
            data = model.data_preprocessor(batch, False)
            merged = label_panorama(model, data['inputs'], data['data_samples'][0], settings)
            found[image_id] = merged.labels.to(torch.uint8).cpu()
    return found


def _joined(labels: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in labels.values()])
