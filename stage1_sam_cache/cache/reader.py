"""The cache on disk: one folder per fingerprint, one immutable file per panorama; reading and checking.

``<root>/<fingerprint>/`` holds ``fingerprint.json`` (the settings, for people and for the check at opening), one
``<name>-<hash>.h5`` per panorama, ``manifest.json`` after the cache is sealed, and ``quarantine/`` if a damaged file
was found. Files are never changed in place, so that readers need no lock.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stage1_sam_cache.cache import panorama_file as cache_file
from stage1_sam_cache.cache.fingerprint import FORMAT_VERSION, Fingerprint
from stage1_sam_cache.cache.manifest import parse_manifest
from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.cache.remedies import nothing_here, set_aside
from stage1_sam_cache.errors import DamagedFileError, MaskCacheError, MissingCacheError

FINGERPRINT_FILE = 'fingerprint.json'
MANIFEST_FILE = 'manifest.json'


class Check(NamedTuple):
    """Result for one file of a cache; ``problem`` is None if it is sound.

    ``damaged``: its bytes are wrong. ``unread``: its bytes can't be read now. Neither: it is missing, or not the file
    that was sealed.
    """

    file: str
    problem: str | None = None
    damaged: bool = False
    unread: bool = False


class MaskCache:
    """The masks of many panoramas, made with the same settings; ``cache[image_id]`` reads one panorama.

    It holds no open files and little memory, and can be pickled and used in any number of processes.

    Args:
        path: The fingerprint folder.

    Raises:
        MaskCacheError: If the folder's description is missing, damaged, or of another format version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        description = self.path / FINGERPRINT_FILE
        try:
            self.fingerprint = Fingerprint(json.loads(description.read_text(encoding='utf-8')))
            sound = self.fingerprint.key == self.path.resolve().name
        except (OSError, ValueError) as problem:
            raise MaskCacheError(
                f'{description}: cannot be read ({problem})',
                f'if {path} is a mask cache, restore the file with {set_aside(path)}',
            ) from problem
        if not sound:
            raise MaskCacheError(
                f'{description}: its settings have fingerprint {self.fingerprint.key}, the folder is named '
                f'{self.path.resolve().name}: one of them was changed',
                f'rename the folder back to its fingerprint, or restore the file with {set_aside(path)}',
            )
        version = self.fingerprint.settings.get('format')
        if version != FORMAT_VERSION:
            raise MaskCacheError(
                f'{self.path}: cache format {version}, this version reads {FORMAT_VERSION}', 'make it again'
            )

    def __repr__(self) -> str:
        return f'MaskCache({str(self.path)!r})'

    def __getitem__(self, image_id: str) -> PanoramaMasks:
        """Read one panorama and check every byte.

        Raises:
            KeyError: If it is not in the cache.
            MaskCacheError: If its file can't be read now; DamagedFileError if it is damaged or belongs to another
                cache or image.
        """
        file = self.path / entry_name(image_id)
        try:
            return self.read(file)
        except FileNotFoundError:
            raise KeyError(f'{image_id} is not in the mask cache {self.path}') from None

    def read(self, file: Path) -> PanoramaMasks:
        """Read one of ``files()`` and check every byte.

        Raises:
            FileNotFoundError: If there is no such file.
            MaskCacheError: If it can't be read now.
            DamagedFileError: If it is damaged, of another cache, or in the place of another panorama.
        """
        return self.decode(read_bytes(file), file)

    def decode(self, data: bytes, file: Path) -> PanoramaMasks:
        """Decode the bytes of one of ``files()``; see ``read``."""
        panorama = cache_file.decode(data, str(file))
        differences = panorama.fingerprint.differences(self.fingerprint)
        if differences:
            raise DamagedFileError(f'{file}: was made with other settings than its folder: {"; ".join(differences)}')
        if entry_name(panorama.image_id) != file.name:
            raise DamagedFileError(f'{file}: holds the masks of {panorama.image_id!r}, which belong in another file')
        return panorama

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and (self.path / entry_name(image_id)).exists()

    def __len__(self) -> int:
        return len(self.files())

    def __iter__(self) -> Iterator[str]:
        """Yield the image ids of all panoramas; reads every file that the manifest does not list."""
        listed = {record['file']: record['id'] for record in self.manifest()}
        for file in self.files():
            yield listed.get(file.name) or self.read(file).image_id

    def files(self) -> list[Path]:
        """List the panoramas' files, sorted by name."""
        return sorted(file for file in self.path.glob('*.h5') if not file.name.startswith('.'))

    def missing(self, image_ids: Iterable[str]) -> list[str]:
        """Return the ids that have no file here, in their order."""
        present = {file.name for file in self.files()}
        return [image_id for image_id in image_ids if entry_name(image_id) not in present]

    def manifest(self) -> list[dict[str, Any]]:
        """Read what the cache held when it was sealed: id, file, bytes, sha256, image_sha256 and masks per window.

        The list is empty if the cache is not sealed.

        Raises:
            MaskCacheError: If the manifest can't be read now; DamagedFileError if it is damaged or of another cache.
        """
        file = self.path / MANIFEST_FILE
        try:
            data = read_bytes(file)
        except FileNotFoundError:
            return []
        return parse_manifest(data, file, self.fingerprint)

    def verify(self, full: bool = False) -> Iterator[Check]:
        """Check every byte of every file, and that the files of the manifest are there.

        Args:
            full: Also compute every mask's area and box and compare them with those stored.
        """
        listed = {record['file']: record for record in self.manifest()}
        for file in self.files():
            yield self.check(file, listed.pop(file.name, None), full)
        for name in listed:
            yield Check(name, f'{self.path / name}: sealed in the manifest, but missing; run cache_sam again')

    def check(self, file: Path, record: Mapping[str, Any] | None = None, full: bool = False) -> Check:
        """Check one of ``files()``, against its record in the manifest if one is given."""
        try:
            data = read_bytes(file)
            panorama = self.decode(data, file)
            if full:
                cache_file.check_records(panorama, data, str(file))
        except DamagedFileError as problem:
            return Check(file.name, str(problem), damaged=True)
        except MaskCacheError as problem:
            return Check(file.name, str(problem), unread=True)
        except FileNotFoundError as problem:  # set aside by another process in the meantime
            return Check(file.name, f'{file}: cannot be read ({problem.strerror}); try again')
        if record is not None and describe(panorama, data) != record:
            return Check(file.name, f'{file}: sound, but not the file that was sealed in the manifest')
        return Check(file.name)


def read_bytes(file: Path) -> bytes:
    """Read all bytes of a file of a cache.

    Raises:
        FileNotFoundError: If it does not exist.
        MaskCacheError: If it can't be read now, whatever its content.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise MaskCacheError(f'{file}: cannot be read ({problem.strerror})', 'try again') from problem


def open_cache(root: str | Path, expect: Fingerprint | Mapping[str, Any] | None = None) -> MaskCache:
    """Open the mask cache under a folder.

    Args:
        root: A folder with caches of one or more fingerprints, or the folder of one fingerprint.
        expect: Settings that the cache must have: a complete fingerprint, or only those that matter, such as
            ``{'grid': {'window': [400, 512], 'stride': [400, 256], 'wrap': False}}``.

    Raises:
        MissingCacheError: If there is no cache, or none with the expected settings; the differences are named.
        MaskCacheError: If there are several with the expected settings.
    """
    root = Path(root)
    caches, problems = [], []
    for folder in cache_folders(root):
        try:
            caches.append(MaskCache(folder))
        except MaskCacheError as problem:
            problems.append(problem)
    if not caches and problems:
        raise problems[0]
    if not caches:
        raise no_cache(root)
    differences = [cache.fingerprint.differences(expect) if expect is not None else [] for cache in caches]
    fitting = [cache for cache, differs in zip(caches, differences, strict=True) if not differs]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        nearest = min(range(len(caches)), key=lambda i: len(differences[i]))
        raise MissingCacheError(
            f'{caches[nearest].path}: made with other settings: {"; ".join(differences[nearest])}',
            'run tools/cache_sam.py with the expected settings (both caches can live side by side)',
        )
    names = ', '.join(str(cache.path) for cache in fitting)
    apart = '; '.join(fitting[1].fingerprint.differences(fitting[0].fingerprint))
    raise MaskCacheError(
        f'{root}: several caches would do ({names}); between the first two: {apart}', 'name the folder of one of them'
    )


def cache_folders(root: Path) -> list[Path]:
    """List the fingerprint folders under a root, sorted, or the root itself if it is one."""
    if (root / FINGERPRINT_FILE).exists():
        return [root]
    return sorted(file.parent for file in root.glob(f'*/{FINGERPRINT_FILE}'))


def no_cache(root: Path) -> MissingCacheError:
    """The error of a folder without a cache; it names those that lie one folder deeper."""
    return MissingCacheError(
        *nothing_here(root, sorted({f.parent.parent for f in root.glob(f'*/*/{FINGERPRINT_FILE}')}))
    )


def entry_name(image_id: str) -> str:
    """Return the file name of a panorama: readable letters of its id, and a hash that makes it safe and unique."""
    readable = re.sub(r'[^A-Za-z0-9]+', '_', image_id).strip('_')[-40:]
    return f'{readable}-{hashlib.sha256(image_id.encode()).hexdigest()[:16]}.h5'


def describe(panorama: PanoramaMasks, data: bytes) -> dict[str, Any]:
    """Return a panorama's record in the manifest."""
    return {
        'id': panorama.image_id,
        'file': entry_name(panorama.image_id),
        'bytes': len(data),
        'sha256': hashlib.sha256(data).hexdigest(),
        'image_sha256': panorama.image_sha256,
        'masks': [len(masks) for masks in panorama.windows],
    }
