"""Files whose content is part of a cache's identity: once it is known, they are read unchanged or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from stage1_sam_cache.errors import ImageError


class FileContent(NamedTuple):
    """A file and the SHA-256 (hex) of its content."""

    path: Path
    sha256: str

    def read(self) -> bytes:
        """Return the content.

        Raises:
            ImageError: If it can't be read, or is another one by now.
        """
        try:
            data = self.path.read_bytes()
        except OSError as problem:
            raise ImageError(f'{self.path}: cannot be read ({problem.strerror})') from problem
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ImageError(f'{self.path}: was changed while masks were imported', 'run the same command again')
        return data
