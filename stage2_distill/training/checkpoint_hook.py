"""Checkpoints that are either whole or not there, and of which one is always left, whenever training is killed.

MMEngine writes a checkpoint, and the pointer to it, straight under their names, and deletes the oldest before it writes
the next. Here each is written beside its place and then renamed, and what is out of date goes last.
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

from stage1_sam_cache.system import interruption
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned
from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, check_resumable, load_weights_only
from stage2_distill.errors import CheckpointError

POINTER = 'last_checkpoint'  # MMEngine's name of the file that says which checkpoint --resume takes
_BACKEND = 'atomic'


class AtomicBackend(LocalBackend):
    """Local files, written as a whole or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self._removed: list[str] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file.

        Raises:
            WriteError: If it can't be written; the file that was there before is as it was.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        commit(path, bytes(obj), replace=True)

    def remove(self, filepath: str | Path) -> None:
        """Removes a file, at the end of ``removing_last`` if that is in force."""
        if self._removed is None:
            super().remove(filepath)
        else:
            self._removed.append(str(filepath))

    @contextmanager
    def removing_last(self) -> Iterator[None]:
        """Removes nothing before all that is done within has succeeded."""
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
    """MMEngine's, with files that survive a kill at any moment. Takes the same arguments.

    Between iterations it also ends a run for a signal that got lost, see ``interruption``.
    """

    def __init__(self, *args: Any, backend_args: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(*args, backend_args=backend_args or {'backend': _BACKEND}, **options)

    def before_train(self, runner: Any) -> None:
        """As ever; what killed runs have left half written is removed."""
        super().before_train(runner)
        if is_main_process():
            for folder in {str(self.out_dir), str(runner.work_dir)}:
                remove_abandoned(Path(folder))

    def _before_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, mode: str = 'train') -> None:
        """Ends training, validation or test if a signal has asked for it and a library swallowed that."""
        interruption.check()

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        """Writes a checkpoint, then the pointer to it, then removes the oldest if there are too many."""
        outdated = None
        kept = self.keep_ckpt_ids if self.max_keep_ckpts > 0 else None  # None: all of them
        if kept is not None and (not kept or kept[-1] != step):
            outdated = kept.popleft() if len(kept) == self.max_keep_ckpts else None
            kept.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(kept))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        commit(Path(runner.work_dir, POINTER), self.last_ckpt.encode(), replace=True)
        if outdated is not None:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, Any]) -> None:
        """As ever, but the best so far goes only when the better one is there."""
        if not isinstance(self.file_backend, AtomicBackend):
            super()._save_best_checkpoint(runner, metrics)
            return
        with self.file_backend.removing_last():
            super()._save_best_checkpoint(runner, metrics)


def find_latest(work_dir: str | Path) -> Path | None:
    """The checkpoint to go on from, None if there is none.

    The pointer may be missing, empty or out of date: MMEngine's own hook writes it in place, and folders are moved.
    Then it is written anew, for the newest checkpoint of an iteration.
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
    """Whether there is a checkpoint to go on from; makes sure that it can be used, before anything is built.

    Args:
        work_dir: Where a training has saved it.
        trusted: Let the file run code.

    Raises:
        CheckpointError: If it is damaged, asks to run code, or lacks what a training needs to go on.
    """
    load_weights_only(trusted)
    latest = find_latest(work_dir)
    if latest is None:
        return False
    try:
        found = check_checkpoint(str(latest), trusted)
    except CheckpointError as problem:
        raise CheckpointError(f'{problem}; without it, --resume goes on from the newest of the others') from problem
    check_resumable(found, str(latest))
    return True
