"""The compiled loop over logits against PyTorch's operations; without Numba the same loop runs as plain Python."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fuzz import examples
from hypothesis import given
from hypothesis import strategies as st
from test_fusion import random_window

from stage2_distill.fusion import ctcf, pixel_loop, pixelwise

BLOCK = 1024
FLOATS = [torch.float32, torch.float16, torch.bfloat16]


def stand_in(njit=lambda *given, **options: lambda function: function, switched_off=0):
    """What ``compiled_loop`` uses of Numba; by default it compiles nothing."""
    return SimpleNamespace(njit=njit, config=SimpleNamespace(DISABLE_JIT=switched_off))


def loop_with(numba):
    """The loop that is found if this is Numba."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'numba', numba)
        return pixel_loop.compiled_loop.__wrapped__()


LOOP = loop_with(stand_in()) if importlib.util.find_spec('numba') is None else pixel_loop.compiled_loop()


def with_loop(loop, call, *given):
    """The result with this loop, or with None in PyTorch's operations."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all='ignore'):
        patch.setattr(pixelwise, 'compiled_loop', lambda: loop)
        return call(*given)


def assert_both_agree(logits):
    fast, slow = (with_loop(loop, pixelwise.predict_pixels, logits) for loop in (LOOP, None))
    assert torch.equal(fast.labels, slow.labels)
    assert [part.dtype for part in fast] == [torch.int64, torch.float32, torch.float32]
    for part in ('entropy', 'margin'):
        near = {'rtol': 1e-6, 'atol': 1e-6, 'equal_nan': True}
        torch.testing.assert_close(getattr(fast, part), getattr(slow, part), **near)


@st.composite
def logits_of(draw):
    """Logits ``(n, C, h, w)`` in which ties, probabilities of 0 and NaN are frequent."""
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 7)), draw(st.integers(1, 3)), draw(st.integers(1, 11))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.integers(-2, 3, shape) * draw(st.sampled_from([0.0, 0.3, 1.0, 30.0, 1e4]))
    for value in (-np.inf, np.inf, np.nan):
        logits[rng.random(shape) < draw(st.sampled_from([0, 0, 0.1]))] = value
    return torch.tensor(logits).to(draw(st.sampled_from(FLOATS)))


@given(logits_of())
@examples(100)
def test_the_loop_gives_the_labels_of_pytorchs_operations_and_their_figures_to_rounding(logits):
    assert_both_agree(logits)


@pytest.mark.parametrize('threads', [1, 2])
def test_blocks_and_threads_leave_no_pixel_out(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for pixels in (BLOCK - 1, BLOCK, 2 * BLOCK + 5):
            assert_both_agree(torch.randn(2, 3, 1, pixels, generator=torch.Generator().manual_seed(pixels)))
    finally:
        torch.set_num_threads(before)


def test_equal_pixels_have_equal_figures_wherever_they_lie():
    pixel = torch.randn(6, generator=torch.Generator().manual_seed(0))
    predicted = with_loop(LOOP, pixelwise.predict_pixels, pixel[:, None, None].expand(6, 1, BLOCK + 13))
    assert all(len(part.unique()) == 1 for part in predicted)


def test_fusion_is_the_same_with_both():
    for seed in range(5):
        masks, logits = random_window(seed)
        fast, slow = (with_loop(loop, ctcf.fuse, masks, logits) for loop in (LOOP, None))
        assert torch.equal(fast.labels, slow.labels) and torch.equal(fast.weight, slow.weight)


def test_gradients_are_cut_off():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    assert not any(part.requires_grad for part in with_loop(LOOP, pixelwise.predict_pixels, logits))


def test_there_is_no_loop_without_numba_or_where_it_is_switched_off():
    assert loop_with(None) is None  # an import of None raises ImportError
    assert loop_with(stand_in(switched_off=1)) is None


def test_where_compiled_code_cannot_be_kept_it_is_compiled_anew():
    asked = []

    def njit(signature, cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError('cannot cache function: no locator available')
        return lambda function: function

    assert loop_with(stand_in(njit)) is pixel_loop.sum_up and asked == [True, False]
