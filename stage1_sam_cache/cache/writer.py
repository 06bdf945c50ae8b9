"""The writing side of the cache: what is done already, committing, quarantine, sealing.

Any number of processes on any number of hosts may write one cache at once. Correctness depends on the atomic commit
only; claims just avoid that two processes do the same work.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

from stage1_sam_cache.cache import panorama_file as cache_file
from stage1_sam_cache.cache.fingerprint import Fingerprint
from stage1_sam_cache.cache.manifest import manifest_text
from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.cache.reader import (
    FINGERPRINT_FILE,
    MANIFEST_FILE,
    MaskCache,
    describe,
    entry_name,
    read_bytes,
)
from stage1_sam_cache.cache.remedies import make_again
from stage1_sam_cache.errors import DamagedFileError, MaskCacheError, WriteError
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned

QUARANTINE = 'quarantine'
_CLAIM_PREFIX = '.claim-'


class CacheWriter:
    """Adds panoramas to the cache of one fingerprint; creates its folder if it does not exist.

    Args:
        root: Folder of caches; the fingerprint's folder is below it.
        fingerprint: Settings of all masks that will be committed.

    Raises:
        WriteError: If the folder can't be made or written to.
    """

    def __init__(self, root: str | Path, fingerprint: Fingerprint) -> None:
        path = Path(root) / fingerprint.key
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise WriteError(f'cannot make the cache folder {path}: {problem.strerror}') from problem
        _write_description(path, fingerprint)
        self.cache = MaskCache(path)
        remove_abandoned(path)
        self._claimed: set[str] = set()

    @property
    def path(self) -> Path:
        """The fingerprint's folder."""
        return self.cache.path

    def is_done(self, image_id: str, image_sha256: str) -> bool:
        """Whether the panorama is cached, sound and for this image; a damaged file goes to quarantine.

        Raises:
            MaskCacheError: If the cached masks were made from another image of the same name, or can't be read now.
        """
        if image_id not in self.cache:
            return False
        try:
            cached = self.cache[image_id]
        except KeyError:  # set aside by another process in the meantime
            return False
        except DamagedFileError as damage:
            quarantine(self.path / entry_name(image_id), str(damage))
            return False
        if cached.image_sha256 != image_sha256:
            raise MaskCacheError(
                f'{image_id}: was cached from another image (SHA-256 {cached.image_sha256[:12]}..., now '
                f'{image_sha256[:12]}...)',
                f'give another --out, or {make_again(self.path, image_id)}',
            )
        return True

    def commit(self, panorama: PanoramaMasks) -> int:
        """Add a panorama's masks to the cache, atomically.

        Returns:
            The bytes of its file; 0 if another process was faster, whose file stays.

        Raises:
            WriteError: If it can't be written.
        """
        data = cache_file.encode(panorama)
        return len(data) if commit(self.path / entry_name(panorama.image_id), data) else 0

    def claim(self, image_id: str) -> bool:
        """Announce that this process works on a panorama; False if another one has announced it.

        A claim left by a killed process does not block anybody: claimed panoramas are done last.
        """
        self._claimed.add(image_id)
        try:
            with self._claim_file(image_id).open('x') as file:
                file.write(f'{socket.gethostname()} {os.getpid()}\n')
        except FileExistsError:
            self._claimed.discard(image_id)
            return False
        except OSError:
            return True  # such as a full disk: the commit will report it
        return True

    def release(self, image_id: str) -> None:
        """Withdraw a claim, whoever made it."""
        with contextlib.suppress(OSError):
            self._claim_file(image_id).unlink()
        self._claimed.discard(image_id)

    def release_all(self) -> None:
        """Withdraw all claims of this writer, also after a signal in the middle of ``release``."""
        for image_id in list(self._claimed):
            self.release(image_id)

    def _claim_file(self, image_id: str) -> Path:
        return self.path / (_CLAIM_PREFIX + Path(entry_name(image_id)).stem)

    def seal(self) -> int:
        """Write the manifest of all that is cached; return the number of panoramas.

        Raises:
            MaskCacheError: If a file is damaged or can't be read, the manifest can't be written, or the folder was
                replaced meanwhile.
        """
        _write_description(self.path, self.cache.fingerprint)  # the folder may have been replaced
        place = _identity(self.path)
        records = []
        for file in self.cache.files():
            data = read_bytes(file)
            records.append(describe(self.cache.decode(data, file), data))
        commit(self.path / MANIFEST_FILE, manifest_text(self.cache.fingerprint, records).encode(), replace=True)
        if _identity(self.path) != place:  # what was listed lies elsewhere now
            with contextlib.suppress(OSError):
                (self.path / MANIFEST_FILE).unlink()
            raise MaskCacheError(
                f'{self.path}: the folder was moved away or replaced while its manifest was written',
                'move it back and run the same command again',
            )
        return len(records)


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another one of its name; None if there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def restore_description(folder: Path) -> bool:
    """Restore a folder's damaged or missing ``fingerprint.json`` from its panoramas; True if it was written."""
    for file in sorted(folder.glob('[!.]*.h5')):
        with contextlib.suppress(DamagedFileError, OSError):
            fingerprint = cache_file.decode(file.read_bytes(), str(file)).fingerprint
            if fingerprint.key == folder.resolve().name:
                return _write_description(folder, fingerprint)
    return False


def _write_description(folder: Path, fingerprint: Fingerprint) -> bool:
    """Write ``fingerprint.json`` unless it is there and right; True if it was written."""
    file = folder / FINGERPRINT_FILE
    data = (json.dumps(json.loads(fingerprint.canonical), indent=2, sort_keys=True) + '\n').encode()
    with contextlib.suppress(OSError):
        if file.read_bytes() == data:
            return False
    return commit(file, data, replace=True)


def quarantine(file: Path, reason: str) -> Path | None:
    """Move a file of the cache into its quarantine folder and note why; None if the file is gone."""
    folder = file.parent / QUARANTINE
    try:
        folder.mkdir(exist_ok=True)
    except OSError as problem:
        raise WriteError(f'cannot make {folder}, where damaged files go: {problem.strerror}') from problem
    number = 0
    while (target := folder / f'{file.name}.{number}').exists():
        number += 1
    try:
        file.rename(target)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise WriteError(f'cannot move {file} to {folder}: {problem.strerror}; {reason}') from problem
    notes = folder / 'reasons.txt'
    try:
        with notes.open('a', encoding='utf-8') as text:
            text.write(f'{target.name}: {reason}\n')
    except OSError as problem:
        raise WriteError(f'{target} was set aside, but {notes} cannot be written: {problem.strerror}') from problem
    return target
