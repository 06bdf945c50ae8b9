"""A hook that shows whether labels drift while the teacher assistant learns from labels of its own making."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.data.transforms import LoadPanorama, PackPanorama
from stage2_distill.fusion.label_drift import agreement, drift_signs, shares
from stage2_distill.fusion.pixelwise import first_argmax
from stage2_distill.geometry.window_batch import stitch_windows
from stage2_distill.models.goodsam import GoodSAM
from stage2_distill.models.steps import forward_pass

START_LABELS = 'start_labels.safetensors'  # in the work dir
Labels = dict[str, Tensor]  # uint8 (H, W) by image id


@HOOKS.register_module()
class LabelGuardHook(Hook):
    """Logs what the labels of a run are made of, and warns once when they drift; it changes nothing.

    Every ``interval`` iterations, and after the last, it writes to ``vis_data/scalars.json`` and TensorBoard:

    - ``label_share/<class>``: the share of each class in the ensemble labels of the iterations since the last time, of
      all processes;
    - ``label_agreement``: the share of pixels of a few training panoramas whose label is that of the start of the run.
      Labels are those of the network that makes them, in windows: the averaged copy (``label_momentum``) if there is
      one, else the assistant;
    - ``assistant_agreement``: with a copy, the same of the assistant, which the copy follows.

    The labels of the start are kept in the work dir, so that a resumed run is compared with the start of the first. The
    panoramas are the first of the training list, without augmentation; the main process runs them. With a frozen
    assistant only shares are logged.

    The bounds come from ToyPASS (docs/usage.md, one seed). A healthy assistant, and at first a drifting one too, gets
    better while classes that it sees too often shrink: to 48% of their share, in drifting runs to 29%, with 94% of the
    labels or more as at the start. When a run got worse, four classes had less than a quarter left, and 91% agreed.

    Args:
        interval: In iterations.
        panoramas: How many are labelled; 0 logs shares only.
        min_agreement: Warns if ``label_agreement`` is below.
        min_share: Classes that held at least this share of the pixels at the start are watched.
        kept: Warns if a watched class has less than this part of its pixels left.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        interval: int = 500,
        panoramas: int = 4,
        min_agreement: float = 0.9,
        min_share: float = 0.001,
        kept: float = 0.25,
    ) -> None:
        if interval < 1 or panoramas < 0 or not all(0 <= bound <= 1 for bound in (min_agreement, min_share, kept)):
            raise ValueError(
                f'interval={interval}, panoramas={panoramas}, min_agreement={min_agreement}, min_share={min_share}, '
                f'kept={kept}: bounds are from 0 to 1'
            )
        self.interval, self.panoramas = interval, panoramas
        self.min_agreement, self.min_share, self.kept = min_agreement, min_share, kept
        self._counts: Tensor | None = None
        self._images: dict[str, dict[str, Any]] = {}
        self._start: Labels = {}
        self._warned = False

    def before_train(self, runner: Any) -> None:
        """Label the panoramas, or read the labels that the run began with."""
        self._counts, self._images, self._start, self._warned = None, {}, {}, False
        model = _model(runner)
        if not model.update_ta or not is_main_process():
            return
        dataset = runner.train_dataloader.dataset
        for i in range(min(self.panoramas, len(dataset))):
            packed = PackPanorama().transform(LoadPanorama().transform(dataset.get_data_info(i)))
            self._images[packed['data_samples'].image_id] = packed
        if self._images:
            self._start = self._labels_of_the_start(runner)

    def _labels_of_the_start(self, runner: Any) -> Labels:
        path = Path(runner.work_dir, START_LABELS)
        sizes = {name: packed['inputs'].shape[-2:] for name, packed in self._images.items()}
        if runner.iter:
            kept = read_labels(path)
            if {name: labels.shape for name, labels in kept.items()} == sizes:
                return {name: kept[name] for name in sizes}
            runner.logger.warning(
                f'{path} {"is of other panoramas" if kept else "is missing or damaged"}: from here on, labels are '
                f'compared with those of iteration {runner.iter}, not with those of the start'
            )
        start = self._labels(runner, _labelling_network(_model(runner)))
        commit(path, save(start), replace=True)
        return start

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Add up the classes of the iteration's labels; at the interval, log and judge."""
        counts = _model(runner).label_counts
        self._counts = counts.clone() if self._counts is None else self._counts + counts
        if not self.every_n_train_iters(runner, self.interval) and not self.is_last_train_iter(runner):
            return
        all_reduce(self._counts)
        counted, self._counts = self._counts, None
        if is_main_process():
            self._log(runner, counted.cpu())

    def _log(self, runner: Any, counts: Tensor) -> None:
        model, names = _model(runner), runner.train_dataloader.dataset.metainfo['classes']
        by_class = shares(counts)
        scalars = {f'label_share/{name}': share for name, share in zip(names, by_class.tolist(), strict=True)}
        held = int(((by_class > 0) & (by_class >= self.min_share)).sum())
        line = f'{held} of {len(names)} classes hold at least {self.min_share:.1%} of the labels'
        if self._start:
            labels, start = self._labels(runner, _labelling_network(model)), _joined(self._start)
            scalars['label_agreement'] = agreement(_joined(labels), start)
            line += f'; {scalars["label_agreement"]:.1%} of {len(start)} pixels are labelled as at the start'
            if model.label_assistant is not None:
                own = self._labels(runner, model.teacher_assistant)
                scalars['assistant_agreement'] = agreement(_joined(own), start)
                line += f', {scalars["assistant_agreement"]:.1%} by the assistant itself'
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)
        runner.logger.info(f'labels, iteration {runner.iter + 1}: {line}')
        if self._start and not self._warned:
            self._judge(runner, labels)

    def _judge(self, runner: Any, labels: Labels) -> None:
        names = runner.train_dataloader.dataset.metainfo['classes']
        bounds = self.min_agreement, self.min_share, self.kept
        signs = drift_signs(_joined(labels), _joined(self._start), names, *bounds)
        if signs:
            self._warned = True
            momentum = '0.999 or 1' if _model(runner).label_assistant is None else '1'
            runner.logger.warning(
                f'labels drift by iteration {runner.iter + 1}, on {len(labels)} training panoramas: '
                f'{"; ".join(signs)}. The teacher assistant learns from labels of its own making, and classes that '
                f'leave them are unlearned. Remedies: model.label_momentum={momentum}, model.update_ta=False, or a '
                'lower optim_wrapper.teacher_assistant.optimizer.lr. Training goes on'
            )

    def _labels(self, runner: Any, network: nn.Module) -> Labels:
        """The labels that a network gives the panoramas, computed as in training; no state of the run changes."""
        model, network = _model(runner), getattr(network, 'module', network)
        found = {}
        with evaluation_mode(network), forward_pass(runner.optim_wrapper, 'teacher_assistant', network, False):
            for name, packed in self._images.items():
                data = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
                inputs = model.data_preprocessor(data, False)['inputs']
                tiled = stitch_windows(model.assistant_windows(inputs, network), model.grid_of(inputs))
                found[name] = first_argmax(tiled)[0].to(torch.uint8).cpu()
        return found


def read_labels(path: Path) -> Labels:
    """Read label maps by image id; empty if there is no such file, or if it is damaged."""
    try:
        with safe_open(path, framework='pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except (OSError, SafetensorError):
        return {}


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode; afterwards every module in it has the mode that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _model(runner: Any) -> GoodSAM:
    return getattr(runner.model, 'module', runner.model)


def _labelling_network(model: GoodSAM) -> nn.Module:
    return model.teacher_assistant if model.label_assistant is None else model.label_assistant


def _joined(labels: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in labels.values()])
