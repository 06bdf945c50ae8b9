"""What tells the content of a file from others."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK = 2**20  # bytes; a file is never whole in memory


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hex digits.

    Raises:
        OSError: If it can't be read.
    """
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
