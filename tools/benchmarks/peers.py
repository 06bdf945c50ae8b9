"""Other fast implementations of automatic mask generation, where they are installed; nothing else needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Generate = Callable[[NDArray[np.uint8]], object]


class Peer(NamedTuple):
    """An implementation that one may have.

    Attributes:
        name: As people call it.
        package: What is imported.
        about: In what it differs from the rows that it is compared with.
        build: Makes its generator, with random weights, for a model, points per side, and points per batch.
    """

    name: str
    package: str
    about: str
    build: Callable[[str, int, int, torch.device], Generate]

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        try:
            return find_spec(self.package) is not None
        except ValueError:  # a module without a specification
            return True


def _segment_anything_fast(model: str, points: int, batch: int, device: torch.device) -> Generate:
    package: Any = import_module('segment_anything_fast')
    # Its default compiles for minutes, which the time for the whole table does not allow.
    sam = package.sam_model_fast_registry[model](checkpoint=None, compile_mode='default').to(device)
    generator = package.SamAutomaticMaskGenerator(
        sam, points_per_side=points, points_per_batch=batch, process_batch_size=4
    )
    return _without_gradients(generator.generate)


def _sam2(model: str, points: int, batch: int, device: torch.device) -> Generate:
    build: Any = import_module('sam2.build_sam')
    generation: Any = import_module('sam2.automatic_mask_generator')
    sam = build.build_sam2('configs/sam2.1/sam2.1_hiera_l.yaml', ckpt_path=None, device=str(device))
    generator = generation.SAM2AutomaticMaskGenerator(sam, points_per_side=points, points_per_batch=batch)
    return _without_gradients(generator.generate, device)


def _without_gradients(generate: Generate, autocast: torch.device | None = None) -> Generate:
    def run(image: NDArray[np.uint8]) -> object:
        with torch.no_grad(), _bfloat16(autocast):
            return generate(image)

    return run


@contextmanager
def _bfloat16(device: torch.device | None) -> Iterator[None]:
    if device is None:
        yield
    else:
        with torch.autocast(device.type, torch.bfloat16):
            yield


PEERS = (
    Peer(
        'segment-anything-fast', 'segment_anything_fast', 'bfloat16, its encoder compiled, 4 batches of points at a '
        'time', _segment_anything_fast,
    ),
    Peer('SAM 2', 'sam2', 'another network, Hiera-L in bfloat16', _sam2),
)  # fmt: skip


def absent() -> list[str]:
    """Names of the peers that are not installed."""
    return [peer.name for peer in PEERS if not peer.installed]
