"""Fixtures of the fault tests: the count of trials, and pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@dataclass
class Trials:
    """The number of trials of a fault test, and their results.

    Attributes:
        long: Whether this is ``make faults``.
        seed: Of everything random in this test.
        counted: Trials and lost trials by kind.
    """

    long: bool
    seed: int
    counted: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def many(self, short: int, long: int) -> int:
        """Choose the number of trials for this form."""
        return long if self.long else short

    def count(self, kind: str, tries: int = 1, lost: int = 0) -> None:
        """Count trials of a kind; ``lost`` of them did not end as promised."""
        counted = self.counted.setdefault(kind, [0, 0])
        counted[0] += tries
        counted[1] += lost


@pytest.fixture
def trials(request):
    """Trials of this test; its counts go into the table, and no trial may be lost."""
    long, seed = request.config.getoption('--long'), request.config.getoption('--faults-seed')
    own = np.random.SeedSequence([seed, *request.node.name.encode()]).generate_state(1)[0]
    trials, failed = Trials(long, int(own)), request.session.testsfailed
    begun = time.monotonic()
    yield trials
    assert trials.counted or request.session.testsfailed > failed, 'a fault test without trials'
    seconds = time.monotonic() - begun
    for kind, (tries, lost) in trials.counted.items():
        request.node.user_properties.append(('faults', (kind, tries, lost, seconds / len(trials.counted))))
    assert not any(lost for _, lost in trials.counted.values()), trials.counted


def pytest_generate_tests(metafunc):
    """Split a test that takes ``part`` into several in the long form, so that several processes share the work."""
    if 'part' in metafunc.fixturenames:
        metafunc.parametrize('part', range(4 if metafunc.config.getoption('--long') else 1))


def draw_panoramas(folder: Path, count: int, blocks: int) -> None:
    """Draw pictures of 40 rows and 16 columns per block, in random colours."""
    folder.mkdir()
    for seed in range(count):
        colours = np.random.default_rng(seed).integers(0, 256, (3, blocks, 3), dtype=np.uint8)
        Image.fromarray(colours.repeat(16, 0).repeat(16, 1)[:40]).save(folder / f'{seed}.png')
