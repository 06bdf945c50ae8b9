"""What to say when a name matches nothing: all names where they are few, else the nearest."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_FEW = 30


def known(name: str, names: Iterable[str], between: str = ', ') -> str:
    """Return a list of names for a message that refuses ``name``: all of them, or the nearest of many.

    Args:
        name: What was given.
        names: What there is.
        between: What separates the names.

    Returns:
        Such as ``known: a, b, c``, or ``the nearest of 4000 names: a, b``.
    """
    names = list(dict.fromkeys(names))
    if len(names) <= _FEW:
        return f'known: {between.join(names)}' if names else 'there are none'
    near = nearest(name, names, count=5, likeness=0.0)
    return f'the nearest of {len(names)} names: {between.join(near)}'


def nearest(name: str, names: Iterable[str], count: int = 1, likeness: float = 0.8) -> list[str]:
    """Return the names that look most like one, best first; letters' case does not matter.

    Args:
        name: What was given.
        names: What there is.
        count: How many at most.
        likeness: The least likeness, as ``difflib`` counts it, 0 to 1.
    """
    by_folded = {each.casefold(): each for each in names}
    return [by_folded[match] for match in get_close_matches(name.casefold(), by_folded, count, likeness)]
