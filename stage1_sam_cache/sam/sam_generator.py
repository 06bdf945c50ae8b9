"""SAM's automatic mask generation as a mask generator (the frozen teacher of Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.adapter import Adapter
from stage1_sam_cache.sam.arriving_masks import ArrivingMasks
from stage1_sam_cache.sam.exact_generation import ExactMaskGenerator, PackedMasks, packed_of_records
from stage1_sam_cache.sam.fast_generation import FastMaskGenerator, PreparedImage
from stage1_sam_cache.sam.on_device import OnDevice
from stage1_sam_cache.sam.settings import LEVELS, SamSettings
from stage1_sam_cache.sam.toy_sam import NAME as TOY


class SamMaskGenerator(OnDevice):
    """Runs SAM's automatic mask generation on RGB images.

    Args:
        sam: The model; it is moved to ``device``.
        name: What the model is called in the cache's identity, such as ``vit_h``; masks of ``toy`` are never
            called SAM's.
        weights_sha256: Hex digest of its weights' file.
        settings: Arguments of the automatic mask generation.
        device: Device of the model.
        level: One of ``LEVELS``, from plain to fast. From ``fp32-fast`` on, the networks of ``sam`` are replaced in
            place.
        encoder_batch: How many images go through the encoder at once, from ``fp32-fast`` on; read as ``batch_size``.
        compiled: Compile encoder and decoder, from ``fp32-fast`` on.
        adapter: Merged into the weights of ``sam``, in place and before any level changes the networks. Its masks are
            never called SAM's.

    Raises:
        ValueError: If there is no such level.
        WeightsError: If the adapter is of another model or of other weights.
    """

    def __init__(
        self,
        sam: Sam,
        name: str,
        weights_sha256: str,
        settings: SamSettings | None = None,
        device: torch.device | str = 'cpu',
        level: str = 'exact',
        encoder_batch: int = 1,
        compiled: bool = False,
        adapter: Adapter | None = None,
    ) -> None:
        if level not in LEVELS:
            raise ValueError(f'level {level!r} is none of {", ".join(LEVELS)}')
        self.settings = settings or SamSettings()
        super().__init__(device, self.settings)
        self.name = name
        self.weights_sha256 = weights_sha256
        self.level, self.batch_size = level, encoder_batch
        self.adapter = adapter
        if adapter is not None:
            adapter.merge(sam, name, weights_sha256)
        sam, options = sam.to(self.device), asdict(self.settings)
        self._generator: SamAutomaticMaskGenerator
        if level == 'stock':
            self._generator = SamAutomaticMaskGenerator(sam, **options)
        elif level == 'exact':
            self._generator = ExactMaskGenerator(sam, **options)
        else:
            dtype = {'bf16': torch.bfloat16, 'fp16': torch.float16}.get(level, torch.float32)
            self._generator = FastMaskGenerator(sam, dtype, compiled, **options)

    @property
    def identity(self) -> dict[str, Any]:
        """Model, digest of its weights, settings, level and package version; the adapter if there is one.

        Points per batch and device are not part of it: they change rounding at most, and nodes with different hardware
        should be able to fill one cache.
        """
        settings = asdict(self.settings)
        del settings['points_per_batch']
        name = 'toy_sam' if self.name == TOY else 'sam'
        # Without an adapter there is no entry: one that says so would change the fingerprint of every cache.
        adapted = {'adapter': self.adapter.identity} if self.adapter else {}
        return {
            'name': f'adapted_{name}' if self.adapter else name,
            'model': self.name,
            'weights_sha256': self.weights_sha256,
            'segment-anything': version('segment-anything'),
            'level': self.level,
            **settings,
            **adapted,
        }

    def generate(self, image: NDArray[np.uint8]) -> InstanceMasks:
        """Return SAM's masks of an RGB image uint8 ``(h, w, 3)``, with predicted IoU and stability.

        Raises:
            Stage1Error: If the device's memory is too small.
        """
        return self.generate_many([image])[0]

    def generate_many(self, images: Sequence[NDArray[np.uint8]]) -> list[InstanceMasks]:
        """Return the masks of several images; ``batch_size`` of them at a time share a run of the encoder.

        Two threads may call it: one prepares images or makes runs, while the other has the device.

        Raises:
            Stage1Error: If the device's memory is too small.
        """
        # Runs are made by another thread, while the device works on the next image.
        with self.memory_explained(), ThreadPoolExecutor(1, 'runs') as runs:
            prepared = self._prepare(images)
            with self._in_use:
                made = [runs.submit(_instance_masks, packed) for packed in self._packed(prepared)]
            return [masks.result() for masks in made]

    def _prepare(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[PreparedImage]:
        if isinstance(self._generator, FastMaskGenerator):
            return self._generator.prepare(images)
        return [PreparedImage(image, None) for image in images]

    def _packed(self, images: Sequence[PreparedImage]) -> Iterator[ArrivingMasks | PackedMasks]:
        generator = self._generator
        if isinstance(generator, FastMaskGenerator):
            for first in range(0, len(images), self.batch_size):
                yield from generator.generate_together(images[first : first + self.batch_size])
        elif isinstance(generator, ExactMaskGenerator):
            yield from (generator.generate_packed(image) for image, _ in images)
        else:
            yield from (packed_of_records(generator.generate(image), image.shape[:2]) for image, _ in images)


def _instance_masks(packed: ArrivingMasks | PackedMasks) -> InstanceMasks:
    return InstanceMasks.from_packed(*(packed.wait() if isinstance(packed, ArrivingMasks) else packed))
