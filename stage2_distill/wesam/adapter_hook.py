"""Writes adapters during a run, and says at its end where a loss had nothing to do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook

from stage2_distill.wesam.model import SamAdaptation

if TYPE_CHECKING:
    from stage1_sam_cache.sam.adapter import AdapterNotes

IDLE = 'contrast_idle'


class AdapterHook(Hook):
    """Writes ``adapter_<steps>.safetensors`` after chosen steps and ``adapter.safetensors`` after the last one.

    Args:
        notes: What the adapters say of themselves, but for their steps.
        kept: After which steps one is written.
    """

    priority = 'LOW'

    def __init__(self, notes: AdapterNotes, kept: Collection[int]) -> None:
        self.notes, self.kept = notes, set(kept)
        self._idle = self._steps = 0.0

    def before_train(self, runner: Any) -> None:
        """Write the adapter of 0 steps if it is asked for."""
        if 0 in self.kept and runner.iter == 0:
            self.write(runner, Path(runner.work_dir, 'adapter_0.safetensors'))

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Write an adapter if this step is one of those."""
        self._idle += float((outputs or {}).get(IDLE, 0))
        self._steps += 1
        if runner.iter + 1 in self.kept:
            self.write(runner, Path(runner.work_dir, f'adapter_{runner.iter + 1}.safetensors'), runner.iter + 1)

    def after_train(self, runner: Any) -> None:
        """Write the last one."""
        self.write(runner, Path(runner.work_dir, 'adapter.safetensors'), runner.iter)
        if self._idle:
            runner.logger.warning(
                f'the contrastive loss had no negative pair in {self._idle / self._steps:.0%} of the windows, where it '
                'is 0 and teaches nothing'
            )

    def write(self, runner: Any, path: Path, steps: int = 0) -> None:
        """Write the updates as they are now."""
        from stage1_sam_cache.sam.adapter import write_adapter

        model = runner.model
        assert isinstance(model, SamAdaptation)
        write_adapter(path, model.adaptation.updates, replace(self.notes, steps=steps))
