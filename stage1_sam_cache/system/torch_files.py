"""Damage in PyTorch's files that ``torch.load`` does not detect."""

from __future__ import annotations

import zipfile
from pathlib import Path

_ZIP = b'PK\x03\x04'
_FOLDER = 0x10  # DOS attribute of a folder


def find_damage(path: Path) -> str | None:
    """Return what is wrong with a file written by ``torch.save``, None if no damage is detected.

    Since PyTorch 1.6 a file is a zip of uncompressed records. Each has a CRC-32, or all are zero if the writer disabled
    them (``torch.serialization.set_crc32_options``). ``torch.load`` does not compare them, so that a flipped bit would
    become another weight. Older files have no checksums; damage in them is not detected.

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
                return 'a record is marked as a folder'  # PyTorch would return uninitialised memory as its content
            if sum(record.file_size for record in records) > path.stat().st_size:
                return 'its records are larger than the file'
            damaged = archive.testzip() if any(record.CRC for record in records) else None
    except Exception as problem:  # a damaged zip makes zipfile raise almost anything
        return ' '.join(str(problem).split())[:80] or type(problem).__name__
    return None if damaged is None else f'{damaged} does not match its checksum'
