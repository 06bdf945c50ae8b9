"""Numbers of examples of property tests, 25 times as many in the long form of the fault tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from hypothesis import is_hypothesis_test, settings

FORM = 'GOODSAM_TESTS_LONG'  # set by the option --long in conftest.py


def examples(count: int, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Apply ``hypothesis.settings`` with a number of examples; goes below ``given``.

    The examples tried are counted in the test's ``fuzz_tried``, for the table of ``make faults``.
    """
    count *= 25 if os.environ.get(FORM) else 1
    tried = [0]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        assert not is_hypothesis_test(test), 'examples goes below given'

        @functools.wraps(test)
        def counted(*args: Any, **drawn: Any) -> None:
            tried[0] += 1
            test(*args, **drawn)

        counted.fuzz_tried = tried  # ``given`` copies it
        return settings(max_examples=count, deadline=None, **options)(counted)

    return decorate
