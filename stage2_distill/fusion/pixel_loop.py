"""The passes of ``predict_pixels`` over the logits as one loop, which Numba compiles for CPUs where it is installed.

PyTorch needs a pass through memory for every operation; the loop does all of them on blocks that stay in the cache.
Numba comes with its compiler, so that none is needed on the user's machine. It is imported at the first use.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 1024  # pixels whose logits of some 20 classes stay in a core's second cache
_SIGNATURE = 'void(float32[:, ::1], int64, int64, int64[::1], float32[::1], float32[::1], float32[::1])'
_F, _I = np.float32, np.int32

Loop = Callable[..., None]


@cache
def compiled_loop() -> Loop | None:
    """Compile ``sum_up``, or load what an earlier process compiled; None without Numba, or if it is switched off."""
    try:
        import numba
    except (ImportError, OSError):  # not installed, of another NumPy, or without its library
        return None
    if vars(numba.config)['DISABLE_JIT']:  # by NUMBA_DISABLE_JIT=1
        return None
    # Products may be added unrounded; nothing else may change, least of all NaN.
    options: dict[str, Any] = {'nogil': True, 'error_model': 'numpy', 'fastmath': {'contract'}}
    try:
        return numba.njit(_SIGNATURE, cache=True, **options)(sum_up)
    except (RuntimeError, OSError):  # no folder for compiled code can be written
        return numba.njit(_SIGNATURE, **options)(sum_up)


def sums_of(loop: Loop, window: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run the loop over a window, in as many threads as PyTorch uses.

    Args:
        loop: ``sum_up``, compiled.
        window: Logits ``(C, n)`` of any float type on the CPU.
        labels: int64 ``(n,)``, contiguous; receives the labels.

    Returns:
        ``total``, ``weighted`` and ``gap`` of ``sum_up``, each float32 ``(n,)``.
    """
    x = window.detach().float().contiguous().numpy()
    pixels = x.shape[1]
    sums = torch.empty(3, pixels)
    threads = torch.get_num_threads()
    part = max(_BLOCK, -(-pixels // (threads * _BLOCK)) * _BLOCK)  # whole blocks
    begins = range(0, pixels, part)

    def run(begin: int) -> None:
        loop(x, begin, min(begin + part, pixels), labels.numpy(), *sums.numpy())

    if len(begins) < 2:
        run(0)
    else:
        with ThreadPoolExecutor(len(begins)) as pool:
            list(pool.map(run, begins))
    total, weighted, gap = sums
    return total, weighted, gap


def sum_up(
    x: NDArray[np.float32],
    begin: int,
    end: int,
    labels: NDArray[np.int64],
    total: NDArray[np.float32],
    weighted: NDArray[np.float32],
    gap: NDArray[np.float32],
) -> None:
    """Write what pixels ``begin`` to ``end`` of logits ``(C, n)`` need for labels, entropies and margins.

    With t a logit minus the largest of its pixel, no less than -1e4: ``total`` is the sum of e^t, ``weighted`` that of
    t e^t, and ``gap`` is t of the second largest. ``labels`` receives the place of the largest, of equals the first.
    """
    best, rival, place = np.empty(_BLOCK, _F), np.empty(_BLOCK, _F), np.empty(_BLOCK, _F)
    power, product = np.empty(_BLOCK, _F), np.empty(_BLOCK, _F)
    for start in range(begin, end, _BLOCK):
        count = min(_BLOCK, end - start)
        for i in range(count):
            best[i], rival[i], place[i] = x[0, start + i], -np.inf, 0
            power[i], product[i] = 0, 0
        for c in range(1, x.shape[0]):
            plane, label = x[c, start : start + count], _F(c)
            for i in range(count):
                value, highest, second = plane[i], best[i], rival[i]
                beats = value > highest
                lower = highest if beats else value
                # Plus 0: stores of a choice alone are compiled to masked stores, which are slow on AMD's processors.
                rival[i] = (lower if lower > second else second) + _F(0)
                place[i] = (label if beats else place[i]) + _F(0)
                best[i] = value if beats or value != value else highest  # NaN stays
        for c in range(x.shape[0]):
            plane = x[c, start : start + count]
            for i in range(count):
                t = plane[i] - best[i]
                t = _F(-1e4) if t < _F(-1e4) else t
                # e^t = 2^n e^r with n whole and |r| < 0.35: Cephes' polynomial, wrong by 1 ulp at most. Adding 1.5 *
                # 2^23 rounds to a whole number, which the lowest bits then hold.
                shifted = _F(t * _F(1.44269504) + _F(12582912))
                n = shifted - _F(12582912)
                r = t - n * _F(0.693359375) - n * _F(-2.12194440e-4)
                p = _F(1.9875691500e-4) * r + _F(1.3981999507e-3)
                p = p * r + _F(8.3334519073e-3)
                p = p * r + _F(4.1665795894e-2)
                p = p * r + _F(1.6666665459e-1)
                p = p * r + _F(5.0000001201e-1)
                scale = _I((shifted.view(_I) + _I(127)) << _I(23))
                e = (p * r * r + r + _F(1)) * scale.view(_F)
                e = _F(0) if t < _F(-87) else e  # 2^n is no normal number there
                power[i] += e
                product[i] += e * t
        for i in range(count):
            at = start + i
            labels[at], total[at], weighted[at], gap[at] = place[i], power[i], product[i], rival[i] - best[i]
