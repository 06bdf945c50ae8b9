"""Adaptation to unlabelled panoramas: source labels, pseudo-labels, and prototypes of a frozen source model."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmseg.models.losses import accuracy
from mmseg.registry import MODELS
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.system.weight_files import missing_from
from stage2_distill.errors import CheckpointError, ConfigError, Stage2Error
from stage2_distill.models.norm_eval import keep_statistics
from stage2_distill.omnisam.memory_bank import MemoryEntry
from stage2_distill.omnisam.omnisam import OmniSAM
from stage2_distill.omnisam.paired_dataset import SOURCE, TARGET
from stage2_distill.omnisam.paired_walk import ANCHOR, Domain, PairedWalk
from stage2_distill.omnisam.patch_steps import Sequences, Walk
from stage2_distill.omnisam.prototypes import FeatureSums, Prototypes, of_all_processes
from stage2_distill.omnisam.semantic_head import SemanticHead

TRAIN_ONE = (
    'train one with a config source_*.py of mmseg_configs/omnisam (source_toypass.py for adapt_toypass.py) and give '
    'its checkpoint, for training by --load-from FILE'
)


@MODELS.register_module()
class AdaptedOmniSAM(OmniSAM):
    """``OmniSAM`` that learns from labelled source images and from pseudo-labels of target images.

    ``L = CE(source) + target_weight CE(target) + fpa_weight L_fpa``; means over all patches, or of each patch with
    ``step='patch'``. The anchor, a frozen copy of the source model in evaluation mode, makes the prototypes
    (``prototypes.py``). It is not part of the model: optimizers, checkpoints and distributed training do not know it.

    Args:
        options: Of ``OmniSAM``. ``weights`` is not read: the model starts from a checkpoint of the source training.
        target_weight: Of the target's cross-entropy.
        fpa_weight: lambda; with 0 there are no prototypes.
        ramp: Iterations between which a weight grows from 0 to its value, by the names ``target`` and ``fpa``; None:
            both are there from the start, as in the authors' first revision. (One of its iterations is nine steps.)
        source_loss: Config of the source's loss, such as one with class weights; None: ``loss_decode``.
        norm_eval: Batch normalisation keeps the source model's statistics and normalises by them, so that a batch of
            few images of two domains does not change what the model predicts with. False: as in the source training.
        prototypes: ``index``, ``positions`` and ``literal`` of ``Prototypes``.

    Raises:
        ConfigError: If a setting is out of range.
    """

    def __init__(
        self,
        *args: Any,
        target_weight: float = 1.0,
        fpa_weight: float = 0.3,
        ramp: Mapping[str, Sequence[int]] | None = None,
        source_loss: dict[str, Any] | None = None,
        norm_eval: bool = True,
        prototypes: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        for name, weight in (('target_weight', target_weight), ('fpa_weight', fpa_weight)):
            if not weight >= 0:
                raise ConfigError(f'model.{name}={weight} of AdaptedOmniSAM', 'give a number of at least 0')
        self.ramp = {name: tuple(span) for name, span in (ramp or {}).items()}
        if not set(self.ramp) <= {TARGET, 'fpa'} or not all(len(s) == 2 and s[0] < s[1] for s in self.ramp.values()):
            raise ConfigError(
                f'model.ramp={dict(ramp or {})} of AdaptedOmniSAM', 'give (begin, end) as target, as fpa, or as both'
            )
        self.target_weight, self.fpa_weight, self.norm_eval = target_weight, fpa_weight, norm_eval
        self.source_loss = MODELS.build(source_loss) if source_loss else self.loss_decode
        head: SemanticHead = self.head
        self.prototypes = Prototypes(self.num_classes, head.classify.in_channels, **(prototypes or {}))
        self._anchor: list[OmniSAM] = []  # in a list, so that its weights are not registered

    def init_weights(self) -> None:
        """Draw nothing and read nothing: all weights come from a checkpoint."""

    def train(self, mode: bool = True) -> AdaptedOmniSAM:
        """Set the mode; with ``norm_eval`` batch normalisation stays in evaluation mode."""
        super().train(mode)
        if self.norm_eval:
            keep_statistics(self)
        return self

    def complete(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a checkpoint as the model loads them: one of the source training has no prototypes yet.

        Raises:
            CheckpointError: If they are SAM 2's own and not those of a source model.
        """
        sam2 = weights.get('model', weights)  # below that key in the published files
        if isinstance(sam2, Mapping) and any(name.startswith('image_encoder.') for name in sam2):
            raise CheckpointError(
                'these weights are SAM 2 itself, and the adaptation starts from a source model', TRAIN_ONE
            )
        return {f'prototypes.{name}': value for name, value in self.prototypes.state_dict().items()} | weights

    # --- the anchor ---

    @property
    def anchor(self) -> OmniSAM:
        """The frozen source model.

        Raises:
            Stage2Error: If it was not set.
        """
        if not self._anchor:
            raise Stage2Error('AdaptedOmniSAM has no anchor', 'add PseudoLabelRoundHook to default_hooks')
        return self._anchor[0]

    def set_anchor(self, weights: Mapping[str, Tensor] | None = None) -> None:
        """Make the anchor: a copy of the model as it is now, or with other weights.

        What is frozen in the model as well, such as SAM 2's encoder, is shared and not copied.

        Args:
            weights: What ``anchor_weights`` has returned; None: the model's own.

        Raises:
            CheckpointError: If they are of another model.
        """
        self._anchor.clear()
        shared = {id(value): value for value in self.parameters() if not value.requires_grad}
        anchor = copy.deepcopy(self, memo=dict(shared))
        del anchor.prototypes  # so that its digest is that of the source model
        for value in anchor.parameters():
            value.requires_grad_(False)
        if weights is not None:
            own = {name: value for name, value in anchor.state_dict().items() if name in self._own_names()}
            if bad := missing_from(dict(weights), own):
                raise CheckpointError(f'the anchor has no {bad[0]} of this shape', 'give the config of the run')
            anchor.load_state_dict(dict(weights), strict=False)
        self._anchor.append(anchor.eval())

    def anchor_weights(self) -> dict[str, Tensor]:
        """Return what the anchor does not share with the model, by name, on the CPU."""
        names = self._own_names()
        weights = self.anchor.state_dict()
        return {name: value.cpu().contiguous() for name, value in weights.items() if name in names}

    def _own_names(self) -> set[str]:
        """Names of trained parameters and of statistics; the anchor has no use for prototypes."""
        trained = {name for name, value in self.named_parameters() if value.requires_grad}
        statistics = {name for name, _ in self.head.named_buffers(prefix='head')}
        return trained | statistics

    # --- training ---

    def domains(self, inputs: Mapping[str, Tensor], data_samples: Mapping[str, Any]) -> dict[str, Domain]:
        """Cut source and target into the patches of a batch.

        Where a sample has several source images of one window each, these are the steps of one sequence without memory.

        Args:
            inputs: Normalised images ``(k B, 3, H, W)`` as ``'source'``, and ``(B, 3, H', W')`` as ``'target'``.
            data_samples: Of both, as ``training_patches`` takes them.

        Raises:
            ConfigError: If the prototypes' index does not fit the number of windows.
        """
        slots = self.training_slots()
        source, target = (self.training_patches(inputs[name], data_samples[name]) for name in (SOURCE, TARGET))
        windows, batch = [each.patches.shape[1] for each in (source, target)], len(target.patches)
        if windows[0] == 1:
            source = Sequences(*(part[:, 0].unflatten(0, (-1, batch)).transpose(0, 1) for part in source))
        self._check_positions(windows, max(each.patches.shape[1] for each in (source, target)))
        return {SOURCE: Domain(source, slots if windows[0] > 1 else 0), TARGET: Domain(target, slots)}

    def _check_positions(self, windows: list[int], steps: int) -> None:
        index, positions = self.prototypes.index, self.prototypes.positions
        if not self.fpa_weight or index == 'class':
            return
        if index == 'window' and windows != [positions, positions]:
            raise ConfigError(
                f"model.prototypes.index='window' compares equal places, but source images have {windows[0]} windows, "
                f'target images {windows[1]}, and model.prototypes.positions={positions}',
                "set positions to the number of windows; where the two differ, set index to 'class'",
            )
        if steps > positions:
            raise ConfigError(
                f'model.prototypes.positions={positions}, and there are {steps} steps', 'set positions to that'
            )

    def loss(self, inputs: Any, data_samples: Any) -> dict[str, Tensor]:
        """Losses of a paired batch, each the mean over its domain's steps.

        Returns:
            ``loss_source``, ``loss_target`` and ``loss_fpa``, weighted; ``acc_source`` and ``acc_target``;
            ``labelled``, the share of the target's pixels that have a label.
        """
        logs: dict[str, list[Tensor]] = {}
        sums: dict[str, FeatureSums] = {}
        domains = self.domains(inputs, data_samples)
        for name, domain in domains.items():
            for step, (features, logits) in enumerate(self.visit(domain.sequences.patches, domain.slots)):
                for term, value in self._domain_losses(name, logits, domain.sequences.labels[:, step]).items():
                    logs.setdefault(term, []).append(value)
                if name == TARGET and self.fpa_weight:
                    _add(sums, TARGET, self._sums(features, *domain.at(step)[1:], step))
        losses = {term: torch.stack(values).mean() for term, values in logs.items()}
        if not self.fpa_weight:
            return losses
        with torch.no_grad():
            domain = domains[SOURCE]
            for step, (features, _) in enumerate(self.anchor.visit(domain.sequences.patches, domain.slots)):
                _add(sums, SOURCE, self._sums(features, *domain.at(step)[1:], step))
        return losses | self._alignment(sums)

    def patch_walk(self, inputs: Any, data_samples: Any) -> Walk:
        """Return the visit of a paired batch, for one optimizer step per patch."""
        return PairedWalk(self.domains(inputs, data_samples))

    def patch_loss(self, patches: Any, given: Any) -> tuple[dict[str, Tensor], Any]:
        """Losses of one patch of every image of both domains, and what the memories keep of them.

        Args:
            patches: ``(B, 3, S, S)`` by domain; one that has no such step is missing.
            given: By domain labels ``(B, S, S)`` and windows ``(B,)``; ``step``; and ``memories``, the entries of the
                model in both domains and of the anchor in the source, oldest first.
        """
        losses: dict[str, Tensor] = {}
        sums: dict[str, FeatureSums] = {}
        kept: dict[str, MemoryEntry] = {}
        for name, each in patches.items():
            labels, windows = given[name]
            features = self.encoder(each)
            decoded, logits = self.see(features, given['memories'][name])
            kept[name] = self.remember(features, logits)
            losses |= self._domain_losses(name, logits, labels)
            if name == TARGET and self.fpa_weight:
                _add(sums, TARGET, self._sums(decoded, labels, windows, given['step']))
        if SOURCE in patches and self.fpa_weight:
            with torch.no_grad():
                features = self.anchor.encoder(patches[SOURCE])
                decoded, logits = self.anchor.see(features, given['memories'][ANCHOR])
                kept[ANCHOR] = self.anchor.remember(features, logits)
            labels, windows = given[SOURCE]
            _add(sums, SOURCE, self._sums(decoded, labels, windows, given['step']))
        return losses | (self._alignment(sums) if self.fpa_weight else {}), kept

    def _domain_losses(self, domain: str, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        loss = (self.source_loss if domain == SOURCE else self.loss_decode)(logits, labels, ignore_index=IGNORE)
        found = {f'acc_{domain}': accuracy(logits, labels, ignore_index=IGNORE).squeeze()}
        if domain == SOURCE:
            return {'loss_source': loss, **found}
        labelled = (labels != IGNORE).float().mean()
        return {'loss_target': self.target_weight * self._grown(TARGET) * loss, **found, 'labelled': labelled}

    def _sums(self, features: Tensor, labels: Tensor, windows: Tensor, step: int) -> FeatureSums:
        return self.prototypes.sums(features, labels, self.prototypes.rows(windows, step))

    def _alignment(self, sums: Mapping[str, FeatureSums]) -> dict[str, Tensor]:
        """Take the source into the prototypes, then compare the target with them; a domain may be missing."""
        if SOURCE in sums:
            self.prototypes.update(of_all_processes(sums[SOURCE]))
        if TARGET not in sums:
            return {}
        weight = self.fpa_weight * self._grown('fpa')
        return {'loss_fpa': weight * self.prototypes.loss(of_all_processes(sums[TARGET]))}

    def _grown(self, name: str) -> float:
        """The part, from 0 to 1, that a weight has of its value in this iteration."""
        if name not in self.ramp:
            return 1.0
        begin, end = self.ramp[name]
        iteration = MessageHub.get_current_instance().get_info('iter', 0) or 0
        return min(max((iteration - begin) / (end - begin), 0.0), 1.0)


def _add(sums: dict[str, FeatureSums], name: str, more: FeatureSums) -> None:
    sums[name] = sums[name].plus(more) if name in sums else more
