"""Atomic checkpoints, complete or absent, at least one of which is left whenever training is killed.

MMEngine writes a checkpoint straight under its name, and deletes the oldest before it writes the next. Here each is
written next to its place and then renamed, and outdated checkpoints are deleted last. The pointer to the latest is
MMEngine's, written in place; ``resuming.find_latest`` replaces it where it leads nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from stage1_sam_cache.errors import WriteError
from stage1_sam_cache.system import interruption
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned
from stage2_distill.errors import ConfigError
from stage2_distill.training.resuming import POINTER, checkpoint_folder
from stage2_distill.training.shared_stop import SharedStop

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

    A signal, such as a scheduler's before it ends a job or the first Ctrl-C, lets the run save a checkpoint after the
    running iteration and end; a second signal ends it at once. Runs that save by epochs end at once, because they can
    be continued only after an epoch. Between iterations the hook also ends a run after a signal that a library
    swallowed, see ``interruption``.
    """

    interval: int
    save_begin: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, backend_args={'backend': _BACKEND}, **options)
        self._stop = SharedStop()

    def before_train(self, runner: Any) -> None:
        """Prepare as MMEngine does, within this run's folder, and remove what killed runs have left half written."""
        stay_inside(runner, checkpoint_folder(runner.work_dir, self.out_dir))
        super().before_train(runner)
        if is_main_process():
            for folder in {str(self.out_dir), str(runner.work_dir)}:
                remove_abandoned(Path(folder))
        interruption.defer(not self.by_epoch)

    def after_train(self, runner: Any) -> None:
        """Let signals end the process at once again."""
        interruption.defer(False)
        super().after_train(runner)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """End the run if a signal has asked for it and a library swallowed that."""
        interruption.check()
        if not self.by_epoch:
            self._stop.begin()

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """End validation likewise, and after a deferred signal if its iteration is saved; several processes go on."""
        interruption.check()
        latest = Path(runner.message_hub.runtime_info.get('last_ckpt') or '')
        if interruption.stopping() and get_world_size() == 1 and latest.name == f'iter_{runner.iter}.pth':
            raise KeyboardInterrupt(_how_to_go_on(runner.iter, latest))

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """End scoring likewise."""
        interruption.check()

    def after_train_iter(self, runner: Any, *args: Any, **options: Any) -> None:
        """Save as MMEngine does; the oldest checkpoint goes when the new one and the pointer to it are there.

        Raises:
            KeyboardInterrupt: After a signal, with how to continue, when this iteration is saved.
        """
        stop = not self.by_epoch and self._stop.end() and not self.is_last_train_iter(runner)
        usual = self.interval, self.save_begin
        if stop:
            self.interval, self.save_begin = 1, 0
        with self._removing_last(runner):
            super().after_train_iter(runner, *args, **options)
        self.interval, self.save_begin = usual
        if stop:
            latest = runner.message_hub.get_info('last_ckpt')
            raise KeyboardInterrupt(_how_to_go_on(runner.iter + 1, latest) if is_main_process() else '')

    def after_train_epoch(self, runner: Any) -> None:
        """Save after an epoch likewise."""
        with self._removing_last(runner):
            super().after_train_epoch(runner)

    def after_val_epoch(self, runner: Any, metrics: dict[str, Any]) -> None:
        """Save the best so far as MMEngine does; the one before goes when the better one is there.

        Raises:
            ConfigError: If there is no score of the name that ``save_best`` has.
        """
        for name in self.key_indicators if self.save_best else ():
            if name not in metrics and name != 'auto':
                raise ConfigError(
                    f'default_hooks.checkpoint.save_best={name} is no score', f'scores: {", ".join(metrics)}'
                )
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


def _how_to_go_on(iteration: int, path: str | Path) -> str:
    return f'iteration {iteration} is saved as {path}; the same command with --resume goes on from there'


def stay_inside(runner: Any, folder: Path) -> None:
    """Replace the paths of checkpoints that a resumed run remembers by those of the same names in its own folder.

    Where the best checkpoint was not copied along, its score is forgotten, so that the folder gets a best one of its
    own.
    """
    hub = runner.message_hub
    for key in [name for name in hub.runtime_info if name == 'last_ckpt' or name.startswith('best_ckpt')]:
        path = folder / Path(hub.get_info(key) or '').name
        if path.is_file():
            hub.update_info(key, str(path))
            continue
        hub.pop_info(key)
        if key != 'last_ckpt':
            hub.pop_info(key.replace('best_ckpt', 'best_score', 1), None)
            runner.logger.warning(
                f'{path}, the best checkpoint so far, is not there: the next score counts as the best'
            )
