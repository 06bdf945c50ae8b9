"""What a run has done so far, as numbers and as a progress bar."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import TracebackType

from tqdm import tqdm

from stage1_sam_cache.cache.panorama_file import PanoramaMasks


@dataclass
class Summary:
    """What a run did; windows, crops, masks, coverage and bytes are those of the ``done`` panoramas."""

    done: int = 0
    already_there: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    windows: int = 0
    crops: int = 0
    masks: int = 0
    coverage: float = 0.0
    bytes: int = 0
    seconds: float = 0.0

    def add(self, panorama: PanoramaMasks, crops: int, written_bytes: int) -> None:
        """Count a panorama that this run made, with the crops that it took and the size of its file."""
        self.done += 1
        self.crops += crops
        self.bytes += written_bytes
        self.windows += len(panorama.windows)
        self.masks += sum(len(masks) for masks in panorama.windows)
        self.coverage += sum(panorama.coverage)


class ProgressBar:
    """A bar over all crops, on standard error; panoramas not read yet are taken to be like the last one read.

    Args:
        panoramas: How many there are.
        label: Text in front of the bar.
        show: Draw the bar. Nothing is drawn without a standard error, as in a daemon.
    """

    def __init__(self, panoramas: int, label: str, show: bool = True) -> None:
        show = show and sys.stderr is not None
        # In a log file a line every half minute is enough.
        pause = 0.1 if show and sys.stderr.isatty() else 30
        self._bar = tqdm(unit='window', desc=label, disable=not show, mininterval=pause)
        self._panoramas, self._left = panoramas, panoramas
        self._crops_per_panorama, self._finished_crops = 0, 0

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def start_panorama(self, crops: int) -> None:
        """Note how many crops a panorama has."""
        self._crops_per_panorama = crops
        if self._bar.total is None:
            self._bar.total = crops * self._left

    def add_crop(self) -> None:
        """Count the crop whose masks have been made."""
        self._bar.update()

    def finish_panorama(self, crops: int) -> None:
        """Count a panorama that is made, skipped or failed, after ``crops`` calls of ``add_crop`` for it."""
        self._left -= 1
        self._finished_crops += crops
        self._bar.total = self._finished_crops + self._crops_per_panorama * self._left
        self._bar.set_postfix_str(f'{self._panoramas - self._left}/{self._panoramas} panoramas')
