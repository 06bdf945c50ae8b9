"""The segmentor: SAM 2's encoder, memory along the windows of an image, semantic head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.models.losses import accuracy
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.geometry.windows import WindowGrid
from stage1_sam_cache.sam.sam2_networks import build_sam2
from stage1_sam_cache.sam.sam2_sizes import SIZES
from stage1_sam_cache.system.nearest import known
from stage2_distill.errors import ConfigError
from stage2_distill.omnisam.features import ENCODERS, PatchEncoder, PatchFeatures
from stage2_distill.omnisam.initial_weights import load_sam2_weights, names_in_sam2
from stage2_distill.omnisam.mask_input import KINDS, class_shares, memory_mask
from stage2_distill.omnisam.memory_bank import MemoryBank, MemoryEntry, MemoryNetwork
from stage2_distill.omnisam.patch_steps import PatchWalk, Sequences, Walk, train_by_patches
from stage2_distill.omnisam.patches import cut_label_patches, cut_patches
from stage2_distill.omnisam.prediction import PredictionSettings, predict_panoramas, predict_windows
from stage2_distill.omnisam.semantic_head import SemanticHead
from stage2_distill.omnisam.sequence import draw_orders, in_order
from stage2_distill.omnisam.window_choice import WindowChoice

STEPS = ('sequence', 'patch')


@MODELS.register_module()
class OmniSAM(BaseSegmentor):
    """Labels an image window by window, each with the memory of those before it.

    Args:
        size: Key of ``SIZES``.
        num_classes: C.
        grid: Windows in pixels of the image, as ``WindowChoice`` takes them.
        patch_size: Side of the square patches that windows are resized to, a multiple of 32.
        weights: Initial weights of SAM 2: ``goodsam://`` or another address, or a file; None: random ones.
        encoder: ``'lora'`` or ``'full'``, see ``PatchEncoder``.
        rank: Of the low-rank updates.
        literal_rows: See ``PatchEncoder``.
        checkpoint_encoder: Compute the encoder's activations once more for the backward pass, to save memory.
        memory_slots: Entries of the memory; with 0 every patch is a first one.
        mask_input: What the memory is told of a prediction: ``class_ids`` (the authors'), ``confidence``, ``none`` or
            ``embedding``, see ``mask_input.py``.
        step: ``'sequence'``: the mean loss of all patches, one optimizer step. ``'patch'``: one step for each patch.
        train_memory_share: Share of the batches with memory; in the others every patch is a first one.
        reverse: Probability that an image is visited from right to left in training.
        loss_decode: Config of the loss.
        data_preprocessor: Config of mmseg's data preprocessor.
        train_cfg: Not used; mmseg gives it.
        test_cfg: See ``PredictionSettings``.

    Raises:
        ConfigError: If a setting is unknown or out of range.
        GoodSAMError: If the package ``sam2`` is not installed.
    """

    def __init__(
        self,
        size: str,
        num_classes: int,
        grid: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        patch_size: int = 1024,
        weights: str | None = None,
        encoder: str = 'lora',
        rank: int = 4,
        literal_rows: bool = False,
        checkpoint_encoder: bool = False,
        memory_slots: int = 9,
        mask_input: str = 'class_ids',
        step: str = 'sequence',
        train_memory_share: float = 1.0,
        reverse: float = 0.5,
        loss_decode: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        _check_choice('size', size, SIZES)
        _check_choice('encoder', encoder, ENCODERS)
        _check_choice('mask_input', mask_input, KINDS)
        _check_choice('step', step, STEPS)
        for name, share in (('train_memory_share', train_memory_share), ('reverse', reverse)):
            if not 0 <= share <= 1:
                raise ConfigError(f'model.{name}={share} of OmniSAM', 'give a share from 0 to 1')
        if not isinstance(patch_size, int):
            raise ConfigError(f'model.patch_size={patch_size} of OmniSAM', 'give the side of a square in pixels')
        self.windows, self.patch_size = WindowChoice(grid), patch_size
        self.settings = PredictionSettings.of(test_cfg)
        self.size, self.weights, self.num_classes, self.align_corners = size, weights, num_classes, False
        self.memory_slots, self.mask_input, self.step = memory_slots, mask_input, step
        self.train_memory_share, self.reverse = train_memory_share, reverse
        self.train_cfg, self.test_cfg = train_cfg, test_cfg
        sam2 = build_sam2(size)
        named = dict(sam2.named_parameters())
        self.encoder = PatchEncoder(sam2, rank, literal_rows, encoder, checkpoint_encoder)
        self.memory = MemoryNetwork(sam2, memory_slots, num_classes if mask_input == 'embedding' else 0)
        self.head = SemanticHead(SIZES[size].dim, num_classes)
        self.loss_decode = MODELS.build(loss_decode or {'type': 'CrossEntropyLoss', 'avg_non_ignore': True})
        self.sam2_names = names_in_sam2(self, named)
        if memory_slots == 0:
            self.memory.requires_grad_(False).nu.requires_grad_(True)

    def init_weights(self) -> None:
        """Give SAM 2's modules the weights that ``weights`` names; all others are drawn when they are built.

        An ``init_cfg`` of type ``Pretrained`` names a trained OmniSAM instead, whose weights are all of them.

        Raises:
            CheckpointError: If they can't be used, or are of another size.
        """
        if self.init_cfg:
            super().init_weights()
        elif self.weights is not None:
            load_sam2_weights(self, self.sam2_names, self.weights, f'SAM 2 of size {self.size}')

    # --- one patch ---

    def see(self, features: PatchFeatures, entries: Iterable[MemoryEntry]) -> tuple[Tensor, Tensor]:
        """Decode a patch.

        Args:
            features: Of the encoder.
            entries: The memory, oldest first; without entries it is a first patch.

        Returns:
            Features of the head, ``(B, 256, S/4, S/4)``, and logits ``(B, C, S, S)``.
        """
        decoded: tuple[Tensor, Tensor] = self.head(
            features.high, features.medium, self.memory.read(features, list(entries))
        )
        return decoded

    def remember(self, features: PatchFeatures, logits: Tensor) -> MemoryEntry:
        """Return what the memory keeps of a patch, without gradient."""
        shares = class_shares(logits) if self.mask_input == 'embedding' else None
        return self.memory.write(features, memory_mask(logits, self.mask_input), shares)

    # --- training ---

    def training_patches(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> Sequences:
        """Cut images and labels into the patches of a batch, in the order in which they are visited.

        Args:
            inputs: Normalised images ``(B, 3, H, W)``.
            data_samples: With ``gt_sem_seg``, and the ``order_seed`` of ``DrawOrder``; without one the order is drawn
                from PyTorch's own generator.
        """
        grid = self.windows.over(*inputs.shape[-2:])
        truth = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
        orders = torch.cat([self._order(sample, len(grid.windows), grid.wrap) for sample in data_samples])
        patches = cut_patches(inputs, grid, self.patch_size)
        labels = cut_label_patches(truth, grid, self.patch_size, IGNORE)
        return Sequences(in_order(patches, orders), in_order(labels, orders), orders.to(inputs.device))

    def _order(self, sample: SegDataSample, n: int, wrap: bool) -> Tensor:
        seed = sample.metainfo.get('order_seed')
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return draw_orders(1, n, wrap, self.reverse, generator)

    def training_slots(self) -> int:
        """Slots of the memory of a batch: none in the share of the batches that train first patches."""
        with_memory = self.train_memory_share == 1 or float(torch.rand(())) < self.train_memory_share
        return self.memory_slots if with_memory else 0

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Mean cross-entropy of all patches; the encoder sees them in one batch."""
        sequences = self.training_patches(inputs, data_samples)
        visited = self.visit(sequences.patches, self.training_slots())
        losses = [self._losses(logits, sequences.labels[:, step]) for step, (_, logits) in enumerate(visited)]
        return {name: torch.stack([each[name] for each in losses]).mean() for name in losses[0]}

    def visit(self, patches: Tensor, slots: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode sequences step by step; the encoder sees all patches in one batch.

        Args:
            patches: ``(B, T, 3, S, S)``.
            slots: Of the memory; with 0 every patch is a first one.

        Yields:
            Of each step features of the head and logits, as ``see``.
        """
        bank = MemoryBank(slots)
        for step, features in enumerate(self.encoder.sequence(patches)):
            decoded = self.see(features, bank)
            yield decoded
            if slots and step + 1 < patches.shape[1]:
                bank.add(self.remember(features, decoded[1]))

    def patch_walk(self, inputs: Any, data_samples: Any) -> Walk:
        """Return the visit of a batch, for one optimizer step per patch; the arguments are those of ``loss``."""
        return PatchWalk(self.training_patches(inputs, data_samples), self.training_slots())

    def patch_loss(self, patches: Any, given: Any) -> tuple[dict[str, Tensor], Any]:
        """Losses of one patch of every image, and what the memory keeps of it.

        Args:
            patches: ``(B, 3, S, S)``.
            given: Labels ``(B, S, S)``, and the memory's entries, oldest first.
        """
        labels, entries = given
        features = self.encoder(patches)
        _, logits = self.see(features, entries)
        return self._losses(logits, labels), self.remember(features, logits)

    def _losses(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        loss = self.loss_decode(logits, labels, ignore_index=IGNORE)
        return {'loss_ce': loss, 'acc_seg': accuracy(logits, labels, ignore_index=IGNORE).squeeze()}

    def train_step(self, data: dict[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Take one step per batch, or one per patch."""
        if self.step == 'patch':
            return train_by_patches(self, data, optim_wrapper)
        log: dict[str, Tensor] = super().train_step(data, optim_wrapper)
        return log

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """As mmseg's segmentors; the mode ``'patch'`` is ``patch_loss``, here so that its gradients are joined."""
        if mode == 'patch':
            return self.patch_loss(inputs, data_samples)
        return super().forward(inputs, data_samples, mode)

    # --- prediction ---

    def predict(self, inputs: Tensor, data_samples: Any = None) -> list[SegDataSample]:
        """Label images as ``test_cfg`` says.

        Args:
            inputs: Normalised images ``(B, 3, H, W)``.
            data_samples: Their samples. ``closed=False`` in the metadata of one says that its borders do not meet.

        Returns:
            The samples with ``pred_sem_seg``, int64 ``(1, H, W)`` at the image's original size, and ``confidence``,
            float32, the same.
        """
        samples = [SegDataSample() for _ in inputs] if data_samples is None else data_samples
        size = inputs.shape[-2], inputs.shape[-1]
        grids = [self.windows.over(*size, closed=sample.metainfo.get('closed', True)) for sample in samples]
        for sample, merged in zip(samples, predict_panoramas(self, inputs, grids, self.settings), strict=True):
            maps = {'pred_sem_seg': merged.labels, 'confidence': merged.confidence}
            shape = tuple(sample.metainfo.get('ori_shape', size))
            sample.set_data({name: PixelData(data=_nearest(values, shape)[None]) for name, values in maps.items()})
        return list(samples)

    def forward_sequence(self, windows: Tensor, grid: WindowGrid) -> Tensor:
        """Logits of all windows of panoramas, as GoodSAM asks a teacher assistant that sees them in their order.

        Each is the mean over the laps of ``test_cfg``; windows are not merged.

        Args:
            windows: Normalised ``(B, n, 3, h, w)``.
            grid: Their windows; GoodSAM's, which need not be those of ``grid``.

        Returns:
            ``(B, n, C, h, w)``.

        Raises:
            ConfigError: If the laps need a closed panorama and this is none.
        """
        return predict_windows(self, windows, grid, self.settings)

    def extract_feat(self, inputs: Tensor) -> PatchFeatures:
        """Features of square patches ``(B, 3, S, S)``."""
        features: PatchFeatures = self.encoder(inputs)
        return features

    def encode_decode(self, inputs: Tensor, batch_data_samples: Any) -> Tensor:
        """Logits of square patches without memory."""
        return self.see(self.extract_feat(inputs), [])[1]

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        """The same; mmseg asks its segmentors for this method."""
        return self.encode_decode(inputs, data_samples)


def _check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    if value not in (names := list(choices)):
        raise ConfigError(f'OmniSAM has no {name} {value!r}', known(str(value), names))


def _nearest(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize a map ``(H, W)`` of any dtype."""
    if tuple(values.shape) == size:
        return values
    return F.interpolate(values[None, None].double(), size, mode='nearest-exact')[0, 0].to(values.dtype)
