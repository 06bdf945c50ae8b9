"""The rounds of the adaptation: at the start of each, images are labelled, and training takes them from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from safetensors import SafetensorError
from safetensors.torch import load, save

from stage1_sam_cache.system import interruption
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.content_digest import content_digest
from stage2_distill.errors import ConfigError, TrainingError
from stage2_distill.omnisam.adaptation import AdaptedOmniSAM
from stage2_distill.omnisam.labelling import LabelSettings
from stage2_distill.omnisam.paired_dataset import PairedDataset, TargetRound
from stage2_distill.omnisam.pseudo_labels import RoundStore, label_images
from stage2_distill.omnisam.round_guard import RoundGuard
from stage2_distill.omnisam.rounds import SUBSETS, RoundSettings, round_images
from stage2_distill.training.label_guard import evaluation_mode
from stage2_distill.training.lesson_store import weights_digest

ANCHOR_FILE = 'anchor.safetensors'  # in the work dir
_ANCHOR, _LABEL_MODEL = 'anchor_sha256', 'label_model_sha256'  # in the message hub, and so in checkpoints


@HOOKS.register_module()
class PseudoLabelRoundHook(Hook):
    """Makes the anchor at the start of a run, and the pseudo-labels of each round at its start.

    A resumed run has the same rounds, labels and anchor: rounds depend on the seed, labels are kept while they are of
    the same model, and the anchor is in the work dir.

    Args:
        first: As of ``RoundSettings``, and so the next five.
        later: Images of each later round.
        iters_per_round: Iterations of each later round.
        first_iters: Iterations of round 0.
        rounds: How many there are; with 1 the labels of the start are static.
        subset: Whether images come again before all have come.
        relabel: False: the labels of every round are those of the source model.
        labelling: As ``LabelSettings``.
        reset_optimizer: Rounds after which the optimizer's state is forgotten; ``(0, 5)`` in the authors' first
            revision.
        guard: As ``RoundGuard``.

    Raises:
        ConfigError: If a setting is out of range.
    """

    priority = 'LOWEST'  # labels are made when a checkpoint of the same iteration is saved

    def __init__(
        self,
        first: int = 400,
        later: int = 200,
        iters_per_round: int = 100,
        first_iters: int | None = None,
        rounds: int | None = None,
        subset: str = SUBSETS[0],
        relabel: bool = True,
        labelling: Mapping[str, Any] | None = None,
        reset_optimizer: Sequence[int] = (),
        guard: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = RoundSettings(first, later, iters_per_round, first_iters, rounds, subset)
        self.labelling, self.relabel = LabelSettings.of(labelling), relabel
        self.reset_optimizer, self.guard = tuple(reset_optimizer), RoundGuard(**(guard or {}))

    def before_train(self, runner: Any) -> None:
        """Make or read the anchor, and begin or continue the round.

        Raises:
            ConfigError: If model or data set are not those of an adaptation.
            TrainingError: If anchor or labels of a resumed run are lost.
        """
        if not (isinstance(_model(runner), AdaptedOmniSAM) and isinstance(_dataset(runner), PairedDataset)):
            raise ConfigError(
                'PseudoLabelRoundHook needs the model AdaptedOmniSAM and a PairedDataset',
                'take it from a config adapt_*.py in mmseg_configs/omnisam',
            )
        self._set_anchor(runner)
        if runner.iter >= runner.max_iters:  # a finished run is resumed
            return
        number = self.settings.round_at(runner.iter)
        if runner.iter == self.settings.start_of(number):
            self._label(runner, number, runner.iter)
        else:
            digest = runner.message_hub.runtime_info.get(_LABEL_MODEL, '')
            self._store(runner, number).check_complete(self._about(runner, number, digest))
        self._take(runner, number, runner.iter)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Begin the next round if this was the last iteration of one."""
        following = runner.iter + 1
        number = self.settings.round_at(following)
        if following < runner.max_iters and number != self.settings.round_at(runner.iter):
            self._label(runner, number, following)
            self._take(runner, number, following)

    def _set_anchor(self, runner: Any) -> None:
        model, path, hub = _model(runner), Path(runner.work_dir, ANCHOR_FILE), runner.message_hub
        if runner.iter == 0:
            model.set_anchor()
            weights = model.anchor_weights()
            if is_main_process():
                commit(path, save(weights), replace=True)
            hub.update_info(_ANCHOR, content_digest(weights, ''))
            return
        remedy = 'copy the file from the run that is resumed, or begin a new one with --load-from'
        try:
            weights = load(path.read_bytes())
        except (OSError, SafetensorError) as problem:
            raise TrainingError(f'{path}, the source model of this run, cannot be read: {problem}', remedy) from problem
        if content_digest(weights, '') != hub.runtime_info.get(_ANCHOR):
            raise TrainingError(f'{path} is not the source model that this run began with', remedy)
        model.set_anchor(weights)

    def _label(self, runner: Any, number: int, iteration: int) -> None:
        """Label the images of a round that begins with an iteration."""
        model = _model(runner)
        if number - 1 in self.reset_optimizer:
            runner.optim_wrapper.optimizer.state.clear()
        labeller = model if self.relabel else model.anchor
        digest = weights_digest(labeller)
        about = self._about(runner, number, digest)
        saved = Path(runner.message_hub.runtime_info.get('last_ckpt') or '').name == f'iter_{iteration}.pth'

        def stop() -> None:
            interruption.check()
            if interruption.stopping() and get_world_size() == 1 and (saved or iteration == 0):
                again = 'the same command' + (' with --resume' if iteration else '')
                raise KeyboardInterrupt(f'the labels that are there are kept; {again} goes on from there')

        with evaluation_mode(labeller):
            manifest = label_images(
                labeller,
                _dataset(runner).unlabelled,
                self._store(runner, number),
                about,
                self.labelling,
                workers=runner.train_dataloader.num_workers,
                stop=stop,
                title=f'labelling round {number}',
            )
        runner.message_hub.update_info(_LABEL_MODEL, digest)
        self.guard.look(runner, labeller, number, manifest, self.labelling)
        barrier()

    def _take(self, runner: Any, number: int, iteration: int) -> None:
        """Let training take the images of a round from an iteration on."""
        loader = runner.train_dataloader
        images = round_images(runner.seed, number, len(_dataset(runner).target), self.settings)
        draws = self.settings.start_of(number) * loader.batch_size * get_world_size()
        _dataset(runner).begin_round(TargetRound(number, runner.seed, images, draws, self._store(runner, number)))
        # The loader's workers, which have loaded ahead, are replaced by such as know of the round.
        runner.train_loop.dataloader_iterator.skip_iter(iteration)

    def _store(self, runner: Any, number: int) -> RoundStore:
        return RoundStore.of_round(runner.work_dir, number)

    def _about(self, runner: Any, number: int, digest: str) -> dict[str, Any]:
        """What the labels of a round depend on."""
        model, ids = _model(runner), _dataset(runner).target_ids()
        cache = getattr(_dataset(runner).target, 'mask_cache', None)
        masks = {} if cache is None else {'masks': cache.fingerprint.key}
        return {
            **masks,
            'round': number,
            'model': digest,
            'labelling': self.labelling.to_json(),
            'windows': [each.to_json() for each in model.windows.settings],
            'patch_size': model.patch_size,
            'classes': list(_dataset(runner).metainfo['classes']),
            'images': [ids[i] for i in round_images(runner.seed, number, len(ids), self.settings)],
        }


def _model(runner: Any) -> AdaptedOmniSAM:
    model: AdaptedOmniSAM = getattr(runner.model, 'module', runner.model)
    return model


def _dataset(runner: Any) -> PairedDataset:
    dataset: PairedDataset = runner.train_dataloader.dataset
    return dataset
