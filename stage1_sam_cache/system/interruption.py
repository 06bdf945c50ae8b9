"""Signals that end a run: each raises ``KeyboardInterrupt`` and is remembered in case that exception gets lost.

It gets lost in a Python function that is called by C code, such as a destructor or one of HDF5's file operations: C
code can only drop it or turn it into another error. A bare ``except`` has the same effect, as in MMEngine's formatting
of configs.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, pre-emption, a lost terminal

_requested = threading.Event()


def listen() -> None:
    """Make each of the signals raise ``KeyboardInterrupt``, as Ctrl-C does."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    sys.unraisablehook = _unraisable


def requested() -> bool:
    """Whether a signal has come since ``listen``."""
    return _requested.is_set()


def check() -> None:
    """Raise ``KeyboardInterrupt`` if a signal has come since ``listen``; long work calls this between its parts."""
    if requested():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise ``KeyboardInterrupt``, and ignore further signals so that the cleanup is not interrupted.

    A signal to all processes of a run, as ``timeout`` and schedulers send it, ends a loader's workers too. PyTorch's
    handler would raise that as an error, anywhere and as late as the last line is printed.
    """
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _ignore)  # not SIG_IGN: the statuses of child processes would be lost
    _requested.set()
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing."""


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """Print exceptions that got lost in destructors or callbacks, except for our own, which is remembered."""
    if not (requested() and issubclass(lost.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)
