"""Stage 1's loop: panoramas of this shard -> windows and overlaps -> masks -> cache."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1_sam_cache.build.panorama import PanoramaTask, grid_over
from stage1_sam_cache.build.progress import ProgressBar, Summary
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.panorama_file import PanoramaMasks
from stage1_sam_cache.cache.writer import CacheWriter
from stage1_sam_cache.data.images import MAX_PIXELS, RgbImage, read_rgb
from stage1_sam_cache.data.listing import Sample
from stage1_sam_cache.errors import ImageError, MaskCacheError, WriteError
from stage1_sam_cache.masks.instance_masks import InstanceMasks
from stage1_sam_cache.sam.mask_generator import MaskSource, Place, batch_size_of, generate_batch, is_on_accelerator
from stage1_sam_cache.system import interruption


class Crop(NamedTuple):
    """One image for the generator, RGB uint8 ``(h, w, 3)``, the panorama whose next crop it is, and its place there."""

    task: PanoramaTask
    pixels: NDArray[np.uint8]
    place: Place


class CacheBuilder:
    """Fills a cache with the masks of many panoramas; may be killed at any moment and run again.

    Args:
        root: Folder of caches; the one of these settings and this generator is made below it.
        settings: Windows and rules.
        generator: Makes the masks.
        max_pixels: Larger images are refused.

    Attributes:
        writer: Writes that cache.
        summary: What has been done so far, also after ``run`` was interrupted.

    Raises:
        WriteError: If the folder can't be made or written to.
    """

    def __init__(
        self,
        root: str | Path,
        settings: CacheSettings,
        generator: MaskSource,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.writer = CacheWriter(root, settings.fingerprint(generator))
        self.settings = settings
        self.generator = generator
        self.max_pixels = max_pixels
        self.summary = Summary()

    def run(self, samples: Sequence[Sample], show_progress: bool = True, label: str = 'caching masks') -> Summary:
        """Cache every panorama that is not there yet, with a progress bar on standard error.

        While one panorama is with the generator, the next image is read and the one before is written; a generator on
        an accelerator has its next batch of crops before it is done with the last one. Crops of consecutive panoramas
        share the generator's batches. An image that can't be used is noted in the summary and
        the others go on. Panoramas that another process has claimed are left for the end, and made then unless they
        are there.

        Raises:
            WriteError: If the cache can't be written; what is committed stays.
        """
        start = time.monotonic()
        with (
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(2) as maker,  # one batch on an accelerator, and one on its way to it
            ThreadPoolExecutor(1) as committer,
            ProgressBar(len(samples), label, show_progress) as progress,
        ):
            loop = _Loop(self, reader, maker, committer, progress)
            try:
                claimed_by_others = loop.cache(samples, skip_claimed=True)
                loop.cache(claimed_by_others, skip_claimed=False)
            finally:
                with suppress(WriteError):  # stopped early: what is being written is finished
                    loop.finish_writing()
                self.writer.release_all()
                self.summary.seconds += time.monotonic() - start
        return self.summary


class _Batch(NamedTuple):
    """Crops that are with the generator."""

    crops: list[Crop]
    masks: Future[list[InstanceMasks]]


class _Write(NamedTuple):
    """A panorama that is being committed."""

    panorama: PanoramaMasks
    crops: int
    size: Future[int]


class _Loop:
    """One run over a list of panoramas: the batch that is with the generator, failures, and what is being written."""

    def __init__(
        self, builder: CacheBuilder, reader: Executor, maker: Executor, committer: Executor, progress: ProgressBar
    ) -> None:
        self._settings, self._generator, self._max_pixels = builder.settings, builder.generator, builder.max_pixels
        self._writer, self._summary = builder.writer, builder.summary
        self._reader, self._maker, self._committer, self._progress = reader, maker, committer, progress
        self._making: _Batch | None = None
        self._writing: _Write | None = None

    def cache(self, samples: Sequence[Sample], skip_claimed: bool) -> list[Sample]:
        """Cache panoramas, with their crops in batches; return those skipped because other processes claimed them."""
        skipped: list[Sample] = []
        batch: list[Crop] = []
        batch_size = batch_size_of(self._generator)
        for sample, reading in self._read_ahead(samples):
            if skip_claimed and not self._writer.claim(sample.id):
                skipped.append(sample)
                continue
            task = self._start(sample, reading)
            if task is None:
                continue
            for index in range(len(task)):
                if task.is_dropped:
                    break
                batch.append(Crop(task, task.crop(index), task.place(index)))
                if len(batch) == batch_size:
                    self._make_ahead(batch)
                    batch = []
        if batch:
            self._make_ahead(batch)
        self._take_masks()
        self.finish_writing()
        return skipped

    def _read_ahead(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Future[RgbImage]]]:
        """Yield samples with their images, each read while the one before is in use."""
        waiting: deque[tuple[Sample, Future[RgbImage]]] = deque()
        for sample in samples:
            waiting.append((sample, self._reader.submit(read_rgb, sample.image, self._max_pixels, '--max-pixels')))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting

    def _start(self, sample: Sample, reading: Future[RgbImage]) -> PanoramaTask | None:
        """Return the work on a panorama; None if it is cached or can't be used."""
        try:
            image = reading.result()
            grid = grid_over(image, self._settings, sample.image)
            if not self._writer.is_done(sample.id, image.sha256):
                task = PanoramaTask(sample.id, image, grid, self._settings)
                self._progress.start_panorama(len(task))
                return task
            self._summary.already_there += 1
        except (ImageError, MaskCacheError, MemoryError) as problem:
            self._note_failure(sample.id, problem)
        self._end(sample.id)
        return None

    def _make_ahead(self, crops: list[Crop]) -> None:
        """Give a batch to the generator, and meanwhile give the panoramas of the batch before their masks."""
        before, self._making = self._making, self._submit(crops)
        if before is not None:
            self._distribute(before)

    def _take_masks(self) -> None:
        """Wait for the batch that is with the generator, and give its panoramas their masks."""
        if self._making is not None:
            batch, self._making = self._making, None
            self._distribute(batch)

    def _submit(self, crops: list[Crop]) -> _Batch:
        """Give crops to the generator; on a processor wait for it, because an interruption should not have to."""
        images, places = [crop.pixels for crop in crops], [crop.place for crop in crops]
        if is_on_accelerator(self._generator):
            return _Batch(crops, self._maker.submit(generate_batch, self._generator, images, places))
        made: Future[list[InstanceMasks]] = Future()
        try:
            made.set_result(generate_batch(self._generator, images, places))
        except (ImageError, MemoryError) as problem:
            made.set_exception(problem)
        return _Batch(crops, made)

    def _distribute(self, batch: _Batch) -> None:
        """Give each panorama of a batch its masks.

        If the batch fails, each of its panoramas is tried again with the crops that are its own, so that one whose
        crops are too much for the memory fails alone.
        """
        problem = None
        try:
            masks_of_crops = batch.masks.result()
        except (ImageError, MemoryError) as error:
            problem = error.with_traceback(None)  # its frames hold what filled the memory
        if problem is None:
            for crop, masks in zip(batch.crops, masks_of_crops, strict=True):
                self._add(crop.task, masks)
            return
        # One that was dropped since then has crops here too.
        tasks = [task for task in dict.fromkeys(crop.task for crop in batch.crops) if not task.is_dropped]
        if len(tasks) == 1:
            self._drop(tasks[0], problem)
            return
        for task in tasks:
            self._distribute(self._submit([crop for crop in batch.crops if crop.task is task]))

    def _add(self, task: PanoramaTask, masks: InstanceMasks) -> None:
        """Give a panorama the masks of its next crop; after the last one it is written."""
        if task.is_dropped:
            return
        try:
            task.add(masks)
            self._progress.add_crop()
            panorama = task.result(self._generator) if task.is_complete else None
        except (ImageError, MemoryError) as problem:
            self._drop(task, problem)
            return
        if panorama is not None:
            self._write(panorama, len(task))

    def _write(self, panorama: PanoramaMasks, crops: int) -> None:
        """Start to commit a panorama, after the one before is committed."""
        self.finish_writing()
        self._writing = _Write(panorama, crops, self._committer.submit(self._writer.commit, panorama))
        interruption.check()
        self._progress.finish_panorama(crops)

    def finish_writing(self) -> None:
        """Wait until the panorama that is being written is committed, count it, and release it.

        Raises:
            WriteError: If the cache can't be written.
        """
        if self._writing is None:
            return
        (panorama, crops, size), self._writing = self._writing, None
        self._count(panorama, crops, size)
        self._writer.release(panorama.image_id)

    def _count(self, panorama: PanoramaMasks, crops: int, size: Future[int]) -> None:
        try:
            written_bytes = size.result()
        except MaskCacheError as problem:
            self._summary.failed.append((panorama.image_id, str(problem)))
            return
        except MemoryError:
            reason = f'{panorama.image_id}: there is not enough memory to write its masks'
            self._summary.failed.append((panorama.image_id, reason))
            return
        if not written_bytes:  # another process was faster
            self._summary.already_there += 1
            return
        self._summary.add(panorama, crops, written_bytes)

    def _drop(self, task: PanoramaTask, problem: Exception) -> None:
        """Give up a panorama."""
        added = task.crops_added
        task.drop()
        self._note_failure(task.image_id, problem)
        self._end(task.image_id, added)

    def _note_failure(self, image_id: str, problem: Exception) -> None:
        interruption.check()  # perhaps a lost signal is to blame, and not the image
        reason = f'{image_id}: there is not enough memory for its masks'
        self._summary.failed.append((image_id, reason if isinstance(problem, MemoryError) else str(problem)))

    def _end(self, image_id: str, crops: int = 0) -> None:
        """Release a panorama that is not written; ``crops`` of it were counted by the progress bar."""
        self._writer.release(image_id)
        interruption.check()
        self._progress.finish_panorama(crops)
