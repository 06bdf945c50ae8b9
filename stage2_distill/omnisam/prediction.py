"""How a panorama is predicted: laps, merging, and controls that show what the memory does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from stage1_sam_cache.geometry.windows import WindowGrid
from stage2_distill.errors import ConfigError
from stage2_distill.omnisam import sequence
from stage2_distill.omnisam.features import PatchFeatures
from stage2_distill.omnisam.memory_bank import MemoryBank, MemoryEntry
from stage2_distill.omnisam.merging import RULES, Merged, merge
from stage2_distill.omnisam.patches import cut_patches, to_patches, window_logits

MODE = 'sequence'
MEMORIES = ('on', 'off', 'shuffled', 'other')


@dataclass(frozen=True)
class PredictionSettings:
    """``test_cfg`` of ``OmniSAM``.

    Args:
        mode: ``'sequence'``, the only one; other networks have others.
        laps: ``'forward'``, ``'both'`` (left to right, then right to left) or ``'ring'``, see ``sequence.laps``.
        rule: How predictions of several windows and laps become one, see ``merging.merge``.
        threshold: Of the rule; None takes the rule's own.
        memory: ``'on'``, or a control: ``'off'`` predicts every patch as a first one, ``'shuffled'`` reads the entries
            in a wrong order, ``'other'`` reads those of the next image of the batch at the same step.
        start: The first window of ``'ring'``.

    Raises:
        ConfigError: If a value is not one of these.
    """

    mode: str = MODE
    laps: str = 'both'
    rule: str = 'mean'
    threshold: float | None = None
    memory: str = 'on'
    start: int = 0

    def __post_init__(self) -> None:
        known = {'mode': (MODE,), 'laps': sequence.LAPS, 'rule': RULES, 'memory': MEMORIES}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ConfigError(
                    f'model.test_cfg.{name}={getattr(self, name)!r} of OmniSAM', f'give one of {", ".join(values)}'
                )

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> PredictionSettings:
        """Make settings of a config's ``test_cfg``.

        Raises:
            ConfigError: If there are other keys or values.
        """
        names = [field.name for field in fields(cls)]
        unknown = [name for name in values or {} if name not in names]
        if unknown:
            raise ConfigError(f'model.test_cfg of OmniSAM has no {unknown[0]}', f'it has {", ".join(names)}')
        return cls(**(values or {}))


class PatchNetwork(Protocol):
    """What a prediction needs of ``OmniSAM``."""

    memory_slots: int
    patch_size: int

    def extract_feat(self, inputs: Tensor) -> PatchFeatures:
        """Encode square patches ``(B, 3, S, S)``."""

    def see(self, features: PatchFeatures, entries: Iterable[MemoryEntry]) -> tuple[Tensor, Tensor]:
        """Return features of the head and logits ``(B, C, S, S)``."""

    def remember(self, features: PatchFeatures, logits: Tensor) -> MemoryEntry:
        """Return what the memory keeps of a patch."""


@torch.no_grad()
def predict_panoramas(
    network: PatchNetwork, images: Tensor, grids: Sequence[WindowGrid], settings: PredictionSettings
) -> list[Merged]:
    """Predict panoramas, one after the other.

    Args:
        network: In evaluation mode.
        images: Normalised ``(B, 3, H, W)``.
        grids: The windows of each.
        settings: As the config says.

    Raises:
        ConfigError: If the memory of another image is asked for in a batch of one, or a ring in an open panorama.
    """
    if settings.memory == 'other' and len(images) < 2:
        raise ConfigError(
            "model.test_cfg.memory='other' reads the memory of the next image of the batch, and this batch has one",
            'give test_dataloader.batch_size a divisor of the number of images that is at least 2',
        )
    merged = []
    for index, (image, grid) in enumerate(zip(images, grids, strict=True)):
        lent = None
        if settings.memory == 'other':
            other = (index + 1) % len(images)
            lent = _memories(network, images[other : other + 1], grids[other], settings)
        features = _encode(network, cut_patches(image[None], grid, network.patch_size))
        predictions = _predictions(network, features, grid, settings, lent)
        of_image = ((window, logits[0]) for window, logits in predictions)
        merged.append(merge(of_image, grid, settings.rule, settings.threshold))
    return merged


def predict_windows(network: PatchNetwork, windows: Tensor, grid: WindowGrid, settings: PredictionSettings) -> Tensor:
    """Predict all windows of panoramas, each as the mean of its laps; gradients do not pass the memory.

    Args:
        network: In any mode.
        windows: Normalised ``(B, n, 3, h, w)``, all windows of a grid.
        grid: It.
        settings: Laps and memory; windows are not merged.

    Returns:
        Logits ``(B, n, C, h, w)``.

    Raises:
        ConfigError: If the memory of another image is asked for, or a ring in an open panorama.
    """
    if settings.memory == 'other':
        raise ConfigError("test_cfg.memory='other' is a control of whole predictions", "give 'on', 'off' or 'shuffled'")
    features = _encode(network, to_patches(windows, network.patch_size))
    by_window: list[list[Tensor]] = [[] for _ in features]
    for window, logits in _predictions(network, features, grid, settings, None):
        by_window[window].append(logits)
    return torch.stack([sum(each[1:], each[0]) / len(each) for each in by_window], 1)


def window_predictions(
    network: PatchNetwork, image: Tensor, grid: WindowGrid, settings: PredictionSettings
) -> Iterator[tuple[int, Tensor]]:
    """Predict the windows of an image one by one.

    Args:
        network: In evaluation mode.
        image: Normalised ``(1, 3, H, W)``.
        grid: Its windows.
        settings: ``laps`` and ``memory`` count, which may not be ``'other'``.

    Yields:
        Window index and logits ``(C, h, w)`` of every prediction that counts, without gradient.
    """
    with torch.no_grad():
        features = _encode(network, cut_patches(image, grid, network.patch_size))
        for window, logits in _predictions(network, features, grid, settings, None):
            yield window, logits[0]


def _predictions(
    network: PatchNetwork,
    features: Sequence[PatchFeatures],
    grid: WindowGrid,
    settings: PredictionSettings,
    lent: list[list[MemoryEntry]] | None,
) -> Iterator[tuple[int, Tensor]]:
    """Window index and logits ``(B, C, h, w)`` of every prediction that counts, from the features of every window."""
    generator = torch.Generator().manual_seed(0)
    for number, lap in enumerate(_laps(grid, settings)):
        bank = MemoryBank(network.memory_slots)
        for step, window in enumerate(lap.windows):
            entries = list(bank) if settings.memory != 'off' else []
            if settings.memory == 'shuffled':
                entries = [entries[place] for place in torch.randperm(len(entries), generator=generator).tolist()]
            _, logits = network.see(features[window], entries)
            own = network.remember(features[window], logits)
            bank.add(own if lent is None else lent[number][step])
            if step >= lap.counted_from:
                yield window, window_logits(logits, grid)


def _memories(
    network: PatchNetwork, image: Tensor, grid: WindowGrid, settings: PredictionSettings
) -> list[list[MemoryEntry]]:
    """The entries that an image writes with its own memory, by lap and step."""
    features = _encode(network, cut_patches(image, grid, network.patch_size))
    written = []
    for lap in _laps(grid, settings):
        bank, entries = MemoryBank(network.memory_slots), []
        for window in lap.windows:
            _, logits = network.see(features[window], list(bank))
            entries.append(network.remember(features[window], logits))
            bank.add(entries[-1])
        written.append(entries)
    return written


def _encode(network: PatchNetwork, patches: Tensor) -> list[PatchFeatures]:
    """Features of every window of ``(B, n, 3, S, S)``; one window at a time, as memory allows on any device."""
    return [network.extract_feat(patch) for patch in patches.unbind(1)]


def _laps(grid: WindowGrid, settings: PredictionSettings) -> list[sequence.Lap]:
    if settings.laps == 'ring' and not grid.wrap:
        raise ConfigError(
            "model.test_cfg.laps='ring' goes around closed panoramas, and these windows do not cross the seam",
            'set wrap=True in model.grid, or choose other laps',
        )
    return sequence.laps(settings.laps, len(grid.windows), settings.start)
