"""The sizes of SAM 2 (2.1): the numbers of its constructors, and the images that its networks take."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from stage1_sam_cache.errors import InputSizeError

GRAIN = 32  # the side of an image is a multiple of it: Hiera's stride, and its first windows of 8 at stride 4


def check_patch(height: int, width: int) -> None:
    """Check that SAM 2 can encode an image of this size.

    Raises:
        InputSizeError: If it is not square (memory attention would silently take wrong positions), or its side is no
            multiple of ``GRAIN``.
    """
    if height != width:
        raise InputSizeError(f'SAM 2 takes square images, not {height}x{width}', 'resize them to a square first')
    if height < GRAIN or height % GRAIN:
        lower = max(GRAIN, height // GRAIN * GRAIN)
        raise InputSizeError(
            f'SAM 2 takes images whose side is a multiple of {GRAIN}, not {height}x{width}',
            f'take {lower} or {lower + GRAIN}',
        )


def feature_sizes(side: int) -> list[tuple[int, int]]:
    """Return height and width of the three levels that the encoder gives for an image of this side, finest first.

    Raises:
        InputSizeError: If SAM 2 can't encode such an image.
    """
    check_patch(side, side)
    return [(side // stride, side // stride) for stride in (4, 8, 16)]


@dataclass(frozen=True)
class Sam2Size:
    """The numbers of SAM 2's constructors that differ between sizes; the defaults are those of all official ones.

    Attributes:
        width: Channels of Hiera's first stage; each further stage has twice as many.
        heads: Attention heads of the first stage.
        stages: Blocks per stage.
        global_blocks: Indices of the blocks that attend to the whole image.
        windows: Sides of the windows of the other blocks, per stage.
        positions: Side of the learned position embedding, which is enlarged to the image.
        dim: Channels of neck, memory attention and mask decoder.
        memory_dim: Channels of a memory.
        memory_layers: Layers of memory attention.
        image_size: Side of the square image of the mask decoder, pixels. Encoder and memory take other sides too.
    """

    width: int
    heads: int
    stages: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    positions: int = 7
    dim: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    image_size: int = 1024

    def __post_init__(self) -> None:
        opening = {0, *self.widening}
        if opening & set(self.global_blocks):
            raise ValueError(f'the blocks {sorted(opening)} open a stage: none of them can be a global one')
        check_patch(self.image_size, self.image_size)

    @property
    def widening(self) -> tuple[int, ...]:
        """Indices of the blocks in which the number of channels doubles."""
        return tuple(accumulate(self.stages))[:-1]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels at stride 4, 8, 16 and 32."""
        return tuple(self.width * 2**stage for stage in range(len(self.stages)))


SIZES = {
    't': Sam2Size(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    's': Sam2Size(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    'b': Sam2Size(112, 2, (2, 3, 16, 3), (12, 16, 20), positions=14),
    'l': Sam2Size(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
    # Not of the publishers: a small one for ToyPASS, which segments what it was trained on and nothing else.
    'toy': Sam2Size(32, 1, (1, 2, 5, 1), (4, 6), (8, 4, 4, 2), dim=128, memory_dim=32, memory_layers=2, image_size=256),
}
