"""Where published weights are looked for: a folder of the user's, where fetched files are kept, the publisher, mirrors.

The environment names the folder (``GOODSAM_WEIGHTS_DIR``, which ``--weights-dir`` sets) and further mirrors
(``GOODSAM_WEIGHTS_MIRRORS``: addresses of folders, separated by blanks, which are asked before the publisher).
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

FOLDER, MIRRORS = 'GOODSAM_WEIGHTS_DIR', 'GOODSAM_WEIGHTS_MIRRORS'  # variables of the environment
_PATIENCE = 20  # seconds without an answer after which the next address is asked
# Addresses below which the same files are, in the order in which they are asked. The third host has not answered since
# June 2026; configs that name it get the files from the second.
_SAME = (
    (
        'https://dl.fbaipublicfiles.com/segment_anything/',
        'https://huggingface.co/ybelkada/segment-anything/resolve/main/checkpoints/',
    ),
    ('https://mmassets.onedl.ai/', 'https://download.openmmlab.com/'),
)


class NotFoundError(Exception):
    """A file that is nowhere; its text says what was tried, in one line."""


def own_folder() -> Path | None:
    """The folder of ``GOODSAM_WEIGHTS_DIR``; None where it is not set."""
    name = os.environ.get(FOLDER)
    return Path(name).expanduser() if name else None


def addresses_of(url: str) -> list[str]:
    """All addresses at which a file is looked for, in order.

    Args:
        url: Where it is published; ``file:`` works as well.
    """
    name = Path(urlparse(url).path).name
    found = [f'{mirror.rstrip("/")}/{name}' for mirror in os.environ.get(MIRRORS, '').split()]
    for same in _SAME:
        old = next((start for start in same if url.startswith(start)), None)
        if old is not None:
            return [*found, *(start + url.removeprefix(old) for start in same)]
    return [*found, url]


def find_file(url: str, kept: Path, sha256: str | None = None) -> Path:
    """A published file: the one in the user's folder, else the kept one, else fetched and kept.

    However many processes of this host ask for it at the same time, it is fetched once.

    Args:
        url: Where it is published.
        kept: The file that is fetched, if it is nowhere.
        sha256: Published digest of what is fetched; with another one it is not kept, and the next address is asked.
            What lies in a folder is the caller's to check.

    Raises:
        NotFoundError: If it is nowhere.
        OSError: If the folder of ``kept`` can't be written.
    """
    tried, folder = [], own_folder()
    if folder is not None:
        if (folder / kept.name).is_file():
            return folder / kept.name
        tried.append(f'{folder / kept.name} (no such file)')
    if kept.is_file():
        return kept
    tried.append(f'{kept} (no such file)')
    kept.parent.mkdir(parents=True, exist_ok=True)
    with _locked(kept):
        if kept.is_file():  # another process was faster
            return kept
        for address in addresses_of(url):
            reason = _fetch(address, kept, sha256)
            if reason is None:
                if len(tried) > 1 + (folder is not None):
                    logging.getLogger(__name__).warning(f'{kept.name} is from {address}; tried: {", ".join(tried)}')
                return kept
            tried.append(f'{address} ({reason})')
    raise NotFoundError(', '.join(tried))


def _fetch(address: str, kept: Path, sha256: str | None) -> str | None:
    """Fetch a file; return why it could not be."""
    import torch  # here, because it takes seconds, and command lines need the names of the variables at once

    try:
        with _patience():
            # Downloads to a temporary file with a progress bar, compares the digest, and renames it only then.
            torch.hub.download_url_to_file(address, str(kept), hash_prefix=sha256)
    except OSError as problem:  # URLError and timeouts among them
        return re.sub(r'\s+', ' ', str(getattr(problem, 'reason', None) or problem))
    except RuntimeError:  # the digest
        return 'is not the published file, whose SHA-256 it does not have'
    return None


@contextmanager
def _patience() -> Iterator[None]:
    """Give up on a host that does not answer; PyTorch's function would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process of this host at a time fetch a file."""
    lock_file = path.with_name(f'.{path.name}.lock')
    with lock_file.open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            lock_file.unlink(missing_ok=True)
