"""Where a run continues: the checkpoint of its own work dir, also when the folder was copied or moved.

MMEngine remembers whole paths, in the pointer to the latest checkpoint and in the checkpoint itself. Of these only the
names count here: a run reads, writes and removes checkpoints in the folder that it was given and in no other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, check_resumable, use_safe_loaders
from stage2_distill.errors import CheckpointError

POINTER = 'last_checkpoint'  # MMEngine's name of the file that says which checkpoint --resume takes


def checkpoint_folder(work_dir: str | Path, out_dir: str | Path | None = None) -> Path:
    """The folder of a run's checkpoints: its work dir, or of that name in the ``out_dir`` of its checkpoint hook."""
    return Path(work_dir) if out_dir in (None, work_dir) else Path(out_dir or '', Path(work_dir).name)


def folder_of(config: Mapping[str, Any]) -> Path:
    """The folder of the checkpoints of a config, whose ``work_dir`` is set."""
    hook = (config.get('default_hooks') or {}).get('checkpoint') or {}
    return checkpoint_folder(config['work_dir'], hook.get('out_dir'))


def find_latest(work_dir: str | Path, folder: Path | None = None) -> Path | None:
    """The checkpoint to resume from, None if there is none; the pointer is mended.

    The pointer may be missing, empty or out of date, because MMEngine writes it in place, or name a file in the folder
    that this one was copied from. Then it is replaced: for the checkpoint of that name here, else for the newest here.

    Args:
        work_dir: Of the run; the pointer is there.
        folder: Of its checkpoints; None: the work dir.
    """
    pointer, latest, text = Path(work_dir, POINTER), latest_in(work_dir, folder), _pointed_at(work_dir)
    if latest is None:
        pointer.unlink(missing_ok=True)
    elif not text or Path(text).absolute() != latest.absolute():
        commit(pointer, str(latest.absolute()).encode(), replace=True)
    return latest


def latest_in(work_dir: str | Path, folder: Path | None = None) -> Path | None:
    """What ``find_latest`` finds, without a change of the folder."""
    folder, text = Path(folder or work_dir), _pointed_at(work_dir)
    latest = folder / Path(text).name if text else None
    return latest if latest is not None and latest.is_file() else _newest(folder)


def _pointed_at(work_dir: str | Path) -> str:
    """What the pointer of a work dir says; empty without one."""
    pointer = Path(work_dir, POINTER)
    return pointer.read_text(encoding='utf-8', errors='replace').strip() if pointer.is_file() else ''


def _newest(folder: Path, but: Path | None = None) -> Path | None:
    """The checkpoint of the most iterations or epochs, other than one."""
    files = [path for path in folder.glob('*.pth') if path != but]
    named = [(re.fullmatch(r'(?:iter|epoch)_(\d+)\.pth', path.name), path) for path in files]
    saved = sorted((int(number[1]), path) for number, path in named if number)
    return saved[-1][1] if saved else None


def has_resumable(work_dir: str | Path, trusted: bool = False, folder: Path | None = None) -> bool:
    """Whether there is a checkpoint to resume from, and that it can be used, before anything is built.

    Args:
        work_dir: Where a run has saved it.
        trusted: Let the file run code.
        folder: Of the checkpoints; None: the work dir.

    Raises:
        CheckpointError: If it is damaged, asks to run code, or lacks what resuming needs.
    """
    use_safe_loaders(trusted)
    latest = find_latest(work_dir, folder) if Path(work_dir).is_dir() else None
    if latest is None:
        return False
    try:
        checkpoint = check_checkpoint(str(latest), trusted)
    except CheckpointError as problem:
        other = _newest(latest.parent, latest)
        remedy = f'--resume continues from {other.name}' if other else 'there is none to resume from'
        raise CheckpointError(f'{problem}; without it, {remedy}') from problem
    check_resumable(checkpoint, str(latest))
    return True


def nothing_to_resume(work_dir: str | Path, folder: Path | None = None) -> CheckpointError:
    """The error of a run that is to continue and has no checkpoint; it names the folder that was looked in."""
    place = Path(folder or work_dir)
    state = 'holds no checkpoint' if place.is_dir() else 'does not exist'
    return CheckpointError(
        f'there is nothing to resume: {place} {state}',
        'check the work dir, or leave --resume out to begin a new run there',
    )


def list_digest(dataset: Any) -> dict[str, Any]:
    """The number of images of a data set and the SHA-256 (hex) of their ids; empty where images have no ids."""
    if not hasattr(dataset, 'get_data_info'):
        return {}
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        if 'image_id' not in (entry := dataset.get_data_info(index)):
            return {}
        digest.update(f'{entry["image_id"]}\n'.encode())
    return {'count': len(dataset), 'sha256': digest.hexdigest()}
