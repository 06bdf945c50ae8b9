"""Atomic checkpoints, complete or absent, at least one of which is left whenever training is killed.

MMEngine writes a checkpoint straight under its name, and deletes the oldest before it writes the next. Here each is
written next to its place and then renamed, and outdated checkpoints are deleted last. The pointer to the latest is
MMEngine's, written in place; ``find_latest`` replaces it where it leads nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from stage1_sam_cache.errors import WriteError
from stage1_sam_cache.system import interruption
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, check_resumable, use_safe_loaders
from stage2_distill.errors import CheckpointError

POINTER = 'last_checkpoint'  # MMEngine's name of the file that says which checkpoint --resume takes
_BACKEND = 'atomic'


class AtomicBackend(LocalBackend):
    """Local files whose writes are atomic."""

    def __init__(self) -> None:
        super().__init__()
        self._removed: list[str] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Raises:
            WriteError: If it can't be written; a file that was there before is unchanged.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        commit(path, bytes(obj), replace=True)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file, within ``removing_last`` at its end."""
        if self._removed is None:
            super().remove(filepath)
        else:
            self._removed.append(str(filepath))

    @contextmanager
    def removing_last(self) -> Iterator[None]:
        """Delay removals until all that is done within has succeeded."""
        self._removed = []
        try:
            yield
            removed = self._removed
        finally:
            self._removed = None
        for path in removed:
            super().remove(path)


register_backend(_BACKEND, AtomicBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's checkpoint hook, with local files that survive a kill at any moment. Takes the same arguments.

    Between iterations it also ends a run after a signal that a library swallowed, see ``interruption``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, backend_args={'backend': _BACKEND}, **options)

    def before_train(self, runner: Any) -> None:
        """Prepare as MMEngine does, and remove what killed runs have left half written."""
        super().before_train(runner)
        if is_main_process():
            for folder in {str(self.out_dir), str(runner.work_dir)}:
                remove_abandoned(Path(folder))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """End the run if a signal has asked for it and a library swallowed that."""
        interruption.check()

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """End validation likewise."""
        interruption.check()

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """End scoring likewise."""
        interruption.check()

    def after_train_iter(self, runner: Any, *args: Any, **options: Any) -> None:
        """Save as MMEngine does; the oldest checkpoint goes when the new one and the pointer to it are there."""
        with self._removing_last(runner):
            super().after_train_iter(runner, *args, **options)

    def after_train_epoch(self, runner: Any) -> None:
        """Save after an epoch likewise."""
        with self._removing_last(runner):
            super().after_train_epoch(runner)

    def after_val_epoch(self, runner: Any, metrics: dict[str, Any]) -> None:
        """Save the best so far as MMEngine does; the one before goes when the better one is there."""
        with self._removing_last(runner):
            super().after_val_epoch(runner, metrics)

    @contextmanager
    def _removing_last(self, runner: Any) -> Iterator[None]:
        """Delay removals, and name the folder where the pointer, which MMEngine writes itself, can't be written."""
        try:
            with self.file_backend.removing_last():
                yield
        except OSError as problem:
            raise WriteError(
                f'{runner.work_dir}: the checkpoint or {POINTER} cannot be written ({problem.strerror or problem})'
            ) from problem


def find_latest(work_dir: str | Path) -> Path | None:
    """The checkpoint to resume from, None if there is none.

    The pointer may be missing, empty or out of date: MMEngine writes it in place, and folders are moved. Then it is
    replaced, for the newest checkpoint of an iteration.
    """
    pointer = Path(work_dir, POINTER)
    named = pointer.read_text(encoding='utf-8', errors='replace').strip() if pointer.is_file() else ''
    if named and Path(named).is_file():
        return Path(named)
    numbered = [(re.fullmatch(r'iter_(\d+)\.pth', path.name), path) for path in Path(work_dir).glob('iter_*.pth')]
    saved = sorted((int(number[1]), path) for number, path in numbered if number)
    if not saved:
        pointer.unlink(missing_ok=True)
        return None
    commit(pointer, str(saved[-1][1]).encode(), replace=True)
    return saved[-1][1]


def has_resumable(work_dir: str | Path, trusted: bool = False) -> bool:
    """Whether there is a checkpoint to resume from, and that it can be used, before anything is built.

    Args:
        work_dir: Where a run has saved it.
        trusted: Let the file run code.

    Raises:
        CheckpointError: If it is damaged, asks to run code, or lacks what resuming needs.
    """
    use_safe_loaders(trusted)
    latest = find_latest(work_dir)
    if latest is None:
        return False
    try:
        checkpoint = check_checkpoint(str(latest), trusted)
    except CheckpointError as problem:
        raise CheckpointError(f'{problem}; without it, --resume continues from the newest of the others') from problem
    check_resumable(checkpoint, str(latest))
    return True
