"""Damage in PyTorch's files, which ``torch.load`` does not look for."""

from __future__ import annotations

import zipfile
from pathlib import Path

_ZIP = b'PK\x03\x04'
_FOLDER = 0x10  # of DOS's attributes


def find_damage(path: Path) -> str | None:
    """What is wrong with a file that ``torch.save`` wrote, None if nothing is seen.

    Since PyTorch 1.6 a file is a zip of uncompressed records. Each has a CRC-32, unless whoever wrote it did without
    (``torch.serialization.set_crc32_options``): then all are zero. ``torch.load`` compares none of them, so that a
    flipped bit would become another weight. Older files have no checksums, and nothing is said of them here.

    Raises:
        OSError: If the file can't be read.
    """
    with path.open('rb') as file:
        if file.read(len(_ZIP)) != _ZIP:
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            if any(record.compress_type != zipfile.ZIP_STORED for record in records):
                return 'it has compressed records, which may unpack to any size'
            if any(record.is_dir() or record.external_attr & _FOLDER for record in records):
                return 'a record is marked as a folder'  # PyTorch would take what lies in memory for its content
            if sum(record.file_size for record in records) > path.stat().st_size:
                return 'its records are larger than the file'
            damaged = archive.testzip() if any(record.CRC for record in records) else None
    except Exception as problem:  # a damaged zip makes zipfile raise almost anything
        return ' '.join(str(problem).split())[:80] or type(problem).__name__
    return None if damaged is None else f'{damaged} does not match its checksum'
