"""What to do when a package is missing; needs no package itself."""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent.parent


def how_to_install() -> str:
    """Return what to do when a package is missing."""
    if (_CHECKOUT / 'Makefile').is_file():
        return 'run `make venv` and `source .venv/bin/activate` first'
    return 'run `pip install` with the wheel or the checkout of GoodSAM again, which brings all that it needs'
