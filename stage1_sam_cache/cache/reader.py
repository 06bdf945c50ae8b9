"""The cache on disk: one folder a fingerprint, one immutable file a panorama; reading, checking, sealing.

``<root>/<fingerprint>/`` holds ``fingerprint.json`` (the settings, for people and for the check at opening), one
``<name>-<hash>.h5`` a panorama, ``manifest.json`` once the cache is sealed, and ``quarantine/`` if a damaged file was
ever found. Nothing is ever changed in place, so readers need no lock.
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
from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.errors import DamagedFileError, MaskCacheError

FINGERPRINT_FILE = 'fingerprint.json'
MANIFEST_FILE = 'manifest.json'


class Check(NamedTuple):
    """Outcome for one file of a cache; ``problem`` is None if it is sound.

    ``damaged`` says that its bytes are wrong, and not merely that it is missing or can't be read now; ``unread`` that
    they could not be looked at.
    """

    file: str
    problem: str | None = None
    damaged: bool = False
    unread: bool = False


class MaskCache:
    """The masks of many panoramas, made with one set of settings; ``cache[image_id]`` reads one of them.

    It holds no open file and little memory, and can be pickled and used in any number of processes.

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
                f'{description}: cannot be read ({problem}); if {path} is a mask cache, tools/inspect_cache.py repair '
                'restores this file'
            ) from problem
        if not sound:
            raise MaskCacheError(
                f'{description}: its settings have fingerprint {self.fingerprint.key}, the folder is named '
                f'{self.path.resolve().name}: one of them was changed; rename the folder back to its fingerprint, or '
                'have tools/inspect_cache.py repair restore the file'
            )
        version = self.fingerprint.settings.get('format')
        if version != FORMAT_VERSION:
            raise MaskCacheError(
                f'{self.path}: cache format {version}, this version reads {FORMAT_VERSION}; make it again'
            )

    def __repr__(self) -> str:
        return f'MaskCache({str(self.path)!r})'

    def __getitem__(self, image_id: str) -> PanoramaMasks:
        """Reads one panorama, every byte checked.

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
        """Reads one of ``files()``, every byte checked.

        Raises:
            FileNotFoundError: If there is no such file.
            MaskCacheError: If it can't be read now.
            DamagedFileError: If it is damaged, of another cache, or in another's place.
        """
        return self.decode(read_bytes(file), file)

    def decode(self, data: bytes, file: Path) -> PanoramaMasks:
        """Like ``read``, for a file whose bytes are at hand."""
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
        """Image ids of all panoramas; reads every file that the manifest does not list."""
        listed = {record['file']: record['id'] for record in self.manifest()}
        for file in self.files():
            yield listed.get(file.name) or self.read(file).image_id

    def files(self) -> list[Path]:
        """The panoramas' files, sorted by name."""
        return sorted(file for file in self.path.glob('*.h5') if not file.name.startswith('.'))

    def missing(self, image_ids: Iterable[str]) -> list[str]:
        """Those of the ids that have no file here, in their order."""
        present = {file.name for file in self.files()}
        return [image_id for image_id in image_ids if entry_name(image_id) not in present]

    def manifest(self) -> list[dict[str, Any]]:
        """What the cache held when it was sealed: id, file, bytes, sha256, image_sha256 and masks per window.

        Empty before sealing.

        Raises:
            MaskCacheError: If the manifest can't be read now; DamagedFileError if it is damaged or of another cache.
        """
        file = self.path / MANIFEST_FILE
        try:
            manifest = json.loads(read_bytes(file).decode('utf-8'))
            records, key = manifest['panoramas'], manifest['fingerprint']
            digest = _digest_of_records(records)
            names = [(record['id'], record['file']) for record in records]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as problem:
            raise DamagedFileError(
                f'{file}: cannot be read ({problem}); tools/inspect_cache.py repair sets it aside'
            ) from problem
        if key != self.fingerprint.key or digest != manifest.get('sha256') or not all(map(all, names)):
            raise DamagedFileError(f'{file}: damaged or of another cache; tools/inspect_cache.py repair sets it aside')
        return list(records)

    def verify(self, full: bool = False) -> Iterator[Check]:
        """Checks every byte of every file, and the manifest's files against what is there.

        Args:
            full: Also work out every mask's area and box anew and compare them with those stored.
        """
        listed = {record['file']: record for record in self.manifest()}
        for file in self.files():
            yield self.check(file, listed.pop(file.name, None), full)
        for name in listed:
            yield Check(name, f'{self.path / name}: sealed in the manifest, but missing; run cache_sam again')

    def check(self, file: Path, record: Mapping[str, Any] | None = None, full: bool = False) -> Check:
        """Checks one of ``files()``, against its record in the manifest if one is given."""
        try:
            data = read_bytes(file)
            panorama = self.decode(data, file)
            if full:
                cache_file.check_records(panorama, data, str(file))
        except DamagedFileError as problem:
            return Check(file.name, str(problem), damaged=True)
        except MaskCacheError as problem:
            return Check(file.name, str(problem), unread=True)
        except FileNotFoundError as problem:  # another process set it aside since
            return Check(file.name, f'{file}: cannot be read ({problem.strerror}); try again')
        if record is not None and describe(panorama, data) != record:
            return Check(file.name, f'{file}: sound, but not the file that was sealed in the manifest')
        return Check(file.name)


def read_bytes(file: Path) -> bytes:
    """All bytes of a file of a cache.

    Raises:
        FileNotFoundError: If it is not there.
        MaskCacheError: If it can't be read now, which says nothing about its content.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise MaskCacheError(f'{file}: cannot be read ({problem.strerror}); try again') from problem


def open_cache(root: str | Path, expect: Fingerprint | Mapping[str, Any] | None = None) -> MaskCache:
    """Opens the mask cache under a folder.

    Args:
        root: A folder that holds caches of one or more fingerprints, or one fingerprint's folder.
        expect: Settings that the cache must have been made with: a whole fingerprint, or only those that matter,
            such as ``{'grid': {'window': [400, 512], 'stride': [400, 256], 'wrap': False}}``.

    Raises:
        MaskCacheError: If there is no cache, none with the expected settings (the differences are named), or
            several that would do.
    """
    root = Path(root)
    found, unusable = [], []
    for folder in cache_folders(root):
        try:
            found.append(MaskCache(folder))
        except MaskCacheError as problem:
            unusable.append(problem)
    if not found and unusable:
        raise unusable[0]
    if not found:
        raise MaskCacheError(f'{root}: no mask cache here', f'make one with tools/cache_sam.py --out {root}')
    differences = [cache.fingerprint.differences(expect) if expect is not None else [] for cache in found]
    fitting = [cache for cache, differs in zip(found, differences, strict=True) if not differs]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        nearest = min(range(len(found)), key=lambda i: len(differences[i]))
        raise MaskCacheError(
            f'{found[nearest].path}: made with other settings: {"; ".join(differences[nearest])}',
            'run tools/cache_sam.py with the settings asked for (both caches can live side by side)',
        )
    apart = '; '.join(fitting[1].fingerprint.differences(fitting[0].fingerprint))
    names = ', '.join(str(cache.path) for cache in fitting)
    raise MaskCacheError(f'{root}: several caches would do ({names}); name one of them. Between the first two: {apart}')


def cache_folders(root: Path) -> list[Path]:
    """The fingerprint folders under a root, or the root itself if it is one; sorted."""
    if (root / FINGERPRINT_FILE).exists():
        return [root]
    return sorted(file.parent for file in root.glob(f'*/{FINGERPRINT_FILE}'))


def entry_name(image_id: str) -> str:
    """File name of a panorama: readable letters of its id, and a hash that makes it safe and unique."""
    readable = re.sub(r'[^A-Za-z0-9]+', '_', image_id).strip('_')[-40:]
    return f'{readable}-{hashlib.sha256(image_id.encode()).hexdigest()[:16]}.h5'


def describe(panorama: PanoramaMasks, data: bytes) -> dict[str, Any]:
    """A panorama's record in the manifest."""
    return {
        'id': panorama.image_id,
        'file': entry_name(panorama.image_id),
        'bytes': len(data),
        'sha256': hashlib.sha256(data).hexdigest(),
        'image_sha256': panorama.image_sha256,
        'masks': [len(masks) for masks in panorama.windows],
    }


def manifest_of(fingerprint: Fingerprint, records: list[dict[str, Any]]) -> str:
    """The manifest as text, with a digest over its records."""
    lines = ',\n'.join(json.dumps(record, sort_keys=True) for record in records)
    head = f'"fingerprint": "{fingerprint.key}", "sha256": "{_digest_of_records(records)}"'
    return f'{{{head}, "panoramas": [\n{lines}\n]}}\n'


def _digest_of_records(records: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
