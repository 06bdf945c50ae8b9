"""What is taken of imported masks; apart from the reading, so that stage 2 knows it without the readers."""

from __future__ import annotations

from dataclasses import dataclass, field

NAME = 'imported'  # of the generator, in a fingerprint


@dataclass(frozen=True)
class ImportSettings:
    """What is taken of imported masks."""

    min_area: int = field(default=1, metadata={'help': 'smaller masks of a window are dropped, in pixels'})

    def __post_init__(self) -> None:
        if self.min_area < 1:
            raise ValueError(f'min_area {self.min_area} has to be at least 1 pixel')
