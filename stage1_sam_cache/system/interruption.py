"""Signals that end a run: each raises ``KeyboardInterrupt`` and is remembered in case that exception gets lost.

It gets lost in a Python function that is called by C code, such as a destructor or one of HDF5's file operations: C
code can only drop it or turn it into another error. A bare ``except`` has the same effect, as in MMEngine's formatting
of configs.

Work that first has to come to a state that can be saved calls ``defer``: then the first signal raises nothing, and
``stopping`` says that it has come; the second raises.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, pre-emption, a lost terminal

INTERRUPTED = 130  # exit status

_GRACE = 1.0  # seconds; torchrun and timeout send the signal that the whole group got once more to each process
_CLEANUP = 10.0  # seconds for it after a second signal, which may have broken a loader's queue

_requested = threading.Event()
_deferred = threading.Event()
_first = [0.0]  # when the first deferred signal came


def listen() -> None:
    """Make each of the signals raise ``KeyboardInterrupt``, as Ctrl-C does."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    sys.unraisablehook = _unraisable


def defer(wanted: bool = True) -> None:
    """Let the first signal from here on raise nothing, or no longer so; after it ``stopping`` is true."""
    if wanted:
        _deferred.set()
    else:
        _deferred.clear()


def stopping() -> bool:
    """Whether a signal has come that was deferred: save what there is, and end."""
    return _deferred.is_set() and _requested.is_set()


def outlast() -> None:
    """Ignore signals, but for the SIGTERM by which the parent ends this process; for a loader's workers.

    Ctrl-C and schedulers signal all processes of a run, and without its workers a run can't finish its iteration.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS, where SIGTERM ends it whoever sends it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by_parent, daemon=True).start()


def _end_by_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def requested() -> bool:
    """Whether a signal has come since ``listen``."""
    return _requested.is_set()


def check() -> None:
    """Raise ``KeyboardInterrupt`` if a signal has come since ``listen``; long work calls this between its parts."""
    if requested() and not _deferred.is_set():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise ``KeyboardInterrupt``, unless deferred, and ignore further signals so that the cleanup is not interrupted.

    A signal to all processes of a run, as ``timeout`` and schedulers send it, ends a loader's workers too. PyTorch's
    handler would raise that as an error, anywhere and as late as the last line is printed.
    """
    signal.signal(signal.SIGCHLD, _ignore)  # not SIG_IGN: the statuses of child processes would be lost
    if _deferred.is_set():
        if not requested():
            _first[0] = time.monotonic()
        _requested.set()
        if time.monotonic() - _first[0] < _GRACE:
            return
        _end_after(_CLEANUP)
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    _requested.set()
    raise KeyboardInterrupt


def _end_after(seconds: float) -> None:
    """End this process after some seconds if it has not ended by then."""
    watchdog = threading.Timer(seconds, os._exit, (INTERRUPTED,))
    watchdog.daemon = True
    watchdog.start()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing."""


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """Print exceptions that got lost in destructors or callbacks, except for our own, which is remembered."""
    if not (requested() and issubclass(lost.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)
