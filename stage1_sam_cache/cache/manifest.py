"""The manifest that seals a finished cache: one record per panorama, and a digest over all records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from stage1_sam_cache.cache.fingerprint import Fingerprint
from stage1_sam_cache.cache.remedies import make_again
from stage1_sam_cache.errors import DamagedFileError


def manifest_text(fingerprint: Fingerprint, records: list[dict[str, Any]]) -> str:
    """Return a manifest as text."""
    lines = ',\n'.join(json.dumps(record, sort_keys=True) for record in records)
    head = f'"fingerprint": "{fingerprint.key}", "sha256": "{_digest(records)}"'
    return f'{{{head}, "panoramas": [\n{lines}\n]}}\n'


def parse_manifest(data: bytes, file: Path, fingerprint: Fingerprint) -> list[dict[str, Any]]:
    """Return the records of a manifest.

    Args:
        data: The manifest.
        file: Its name in error messages.
        fingerprint: That of its cache.

    Raises:
        DamagedFileError: If it is damaged or of another cache.
    """
    try:
        manifest = json.loads(data.decode('utf-8'))
        records, key = manifest['panoramas'], manifest['fingerprint']
        digest = _digest(records)
        names = [(record['id'], record['file']) for record in records]
    except (ValueError, KeyError, TypeError) as problem:
        raise DamagedFileError(f'{file}: cannot be read ({problem})', make_again(file.parent)) from problem
    if key != fingerprint.key or digest != manifest.get('sha256') or not all(map(all, names)):
        raise DamagedFileError(f'{file}: damaged or of another cache', make_again(file.parent))
    return list(records)


def _digest(records: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
