"""A table of measurements within a time: each row is printed and written as soon as it is there, none is dropped."""

from __future__ import annotations

import gc
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from stage1_sam_cache.system.atomic_file import commit

OUT_OF_TIME = 'out of time'


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        what: What it is of.
        value: The number.
        unit: Its unit.
        least, most: What the goal asks for, None without one.
        note: More about it.
    """

    what: str
    value: float
    unit: str = 'ms'
    least: float | None = None
    most: float | None = None
    note: str = ''

    def __str__(self) -> str:
        said = f'{self.what} {self.value:.4g} {self.unit}'.rstrip()
        for bound, words in ((self.least, 'at least'), (self.most, 'at most')):
            if bound is not None:
                reached = self.value >= bound if words == 'at least' else self.value <= bound
                said += f' (goal: {words} {bound:g}, {"reached" if reached else "missed"})'
        return f'{said} [{self.note}]' if self.note else said


@dataclass(frozen=True)
class Row:
    """What is measured together.

    Attributes:
        name: Of the row.
        seconds: How long it takes on an H100, roughly; it is not begun with less time left.
        measure: Returns its figures.
    """

    name: str
    seconds: float
    measure: Callable[[], Sequence[Figure]]


class Missing(Exception):
    """A row can't be measured here; the message says what is missing."""


class _OutOfTime(BaseException):
    """Raised in the middle of a row; no library catches it as an error of its own."""


def run(rows: Sequence[Row], minutes: float, about: dict[str, Any], out: Path | None) -> bool:
    """Measure rows in order, print each, and write all of them after each.

    Args:
        rows: The most important first.
        minutes: The time for all; a row that no longer fits is named as not measured, and one that takes too long is
            stopped.
        about: What the figures depend on; it is written beside them.
        out: A JSON file, or None. It is complete after each row.

    Returns:
        Whether no row failed; those that were not measured for want of time or of a package have not failed.

    Raises:
        WriteError: If the file can't be written.
    """
    end = time.monotonic() + 60 * minutes
    done: list[dict[str, Any]] = []
    for row in rows:
        begun = time.monotonic()
        found: dict[str, Any] = {'row': row.name, **_measured(row, end)}
        found['seconds'] = round(time.monotonic() - begun, 2)
        done.append(found)
        if 'not_measured' in found:
            print(f'{row.name}: not measured: {found["not_measured"]}', flush=True)
        else:
            said = '; '.join(map(str, found['figures']))
            print(f'{row.name}: {said} ({found["seconds"]:.1f} s)', flush=True)
            found['figures'] = [asdict(figure) for figure in found['figures']]
        if out is not None:
            commit(out, json.dumps({**about, 'minutes': minutes, 'rows': done}, indent=1).encode(), replace=True)
    return not any(found.get('failed') for found in done)


def _measured(row: Row, end: float) -> dict[str, Any]:
    left = end - time.monotonic()
    if left < row.seconds:
        return {'not_measured': f'{OUT_OF_TIME}: {max(left, 0):.0f} s left, about {row.seconds:.0f} s needed'}
    try:
        with _stopped_after(left):
            return {'figures': list(row.measure())}
    except _OutOfTime:
        return {'not_measured': f'{OUT_OF_TIME}: stopped after {left:.0f} s, about {row.seconds:.0f} s were expected'}
    except Missing as missing:
        return {'not_measured': str(missing)}
    except Exception as problem:  # a peer or the device may raise anything; the other rows are still worth their time
        first_line = (str(problem).strip().splitlines() or [''])[0]
        return {'not_measured': f'{type(problem).__name__}: {first_line}', 'failed': True}
    finally:
        gc.collect()
        torch.cuda.empty_cache()  # the next row takes as many points at once as the free memory allows


@contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    """Raise ``_OutOfTime`` in the block when the time is over; only the main thread of a process can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
