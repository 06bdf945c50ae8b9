"""How many examples property tests try: ten times as many in the long form of the fault tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import settings

FORM = 'GOODSAM_TESTS_LONG'  # set by the option --long, for test processes too


def examples(count: int, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """``hypothesis.settings`` for so many examples, counted in the table of ``make faults``."""
    count *= 10 if os.environ.get(FORM) else 1

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        test.fuzz_examples = count
        return settings(max_examples=count, deadline=None, **options)(test)

    return decorate
