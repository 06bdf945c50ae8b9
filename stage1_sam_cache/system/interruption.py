"""Signals that end a run: each raises ``KeyboardInterrupt``, and stays known where that exception got lost.

It is lost when it is raised in a Python function that C code calls, such as a destructor or one of HDF5's file
operations: C code can only drop it or turn it into an error of its own. So does Python with a bare ``except``, as where
MMEngine formats its config.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, pre-emption, a lost terminal

_requested = threading.Event()


def listen() -> None:
    """From now on every one of the signals unwinds like Ctrl-C."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    sys.unraisablehook = _unraisable


def requested() -> bool:
    """Whether a signal came since ``listen``."""
    return _requested.is_set()


def check() -> None:
    """Raises ``KeyboardInterrupt`` if a signal came since ``listen``; long work calls it between its parts."""
    if requested():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    """What comes after the first signal is ignored, so that unwinding ends."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    _requested.set()
    raise KeyboardInterrupt


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """Prints what got lost in a destructor or a callback of C code, but not our own exception, which is known."""
    if not (requested() and issubclass(lost.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)
