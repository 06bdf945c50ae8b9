"""Stage 1's loop: panoramas of this shard -> windows and overlaps -> masks -> cache."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from stage1_sam_cache.cache.fingerprint import FORMAT_VERSION, MASKS_VERSION, Fingerprint
from stage1_sam_cache.cache.panorama_file import MAX_WINDOW, OverlapBoundary, PanoramaMasks, encode
from stage1_sam_cache.cache.writer import CacheWriter
from stage1_sam_cache.data.images import MAX_PIXELS, RgbImage, read_rgb
from stage1_sam_cache.data.listing import Sample
from stage1_sam_cache.errors import ImageError, MaskCacheError, WriteError
from stage1_sam_cache.geometry.windows import Box, Overlap, WindowGrid
from stage1_sam_cache.masks.boundary_map import RULES, boundary_map, contour_map
from stage1_sam_cache.masks.instance_masks import MAX_MASKS, ORDERS, InstanceMasks
from stage1_sam_cache.sam.mask_generator import MaskGenerator, generate_many
from stage1_sam_cache.system import interruption

OVERLAP_SOURCES = ('crop', 'window')


@dataclass(frozen=True)
class CacheSettings:
    """All that decides about the masks beside the generator; sizes in pixels.

    Args:
        window: Rows and columns of a window.
        stride: Columns, or ``(rows, columns)``, from one window to the next.
        wrap: Windows across the 0/360 degree seam.
        order: Painting order of overlapping masks, see ``InstanceMasks.in_painting_order``.
        overlap_source: ``'crop'`` gives each overlap to the generator by itself, as the paper does; ``'window'``
            cuts it from the masks of its first window, which saves about half of the work.
        boundary: ``'labels'`` is ``boundary_map`` of the id map, ``'contours'`` is ``contour_map``.
        boundary_thickness: Of ``'labels'``, 2 or 1.

    Raises:
        ValueError: If a setting is not one of these.
    """

    window: tuple[int, int] = (400, 512)
    stride: int | tuple[int, int] = 256
    wrap: bool = False
    order: str = 'area_desc'
    overlap_source: str = 'crop'
    boundary: str = 'labels'
    boundary_thickness: int = 2

    def __post_init__(self) -> None:
        for name, known in [('order', ORDERS), ('overlap_source', OVERLAP_SOURCES), ('boundary', RULES)]:
            if getattr(self, name) not in known:
                raise ValueError(f'{name} {getattr(self, name)!r} is none of {", ".join(known)}')
        if self.boundary_thickness not in (1, 2):
            raise ValueError(f'boundary thickness {self.boundary_thickness} is neither 1 nor 2')
        if max(self.window) > MAX_WINDOW:
            raise ValueError(f'window of {self.window} pixels; at most {MAX_WINDOW} a side can be cached')
        self.grid(*self.window)

    def grid(self, height: int, width: int) -> WindowGrid:
        """The window grid over a panorama of this size.

        Raises:
            ValueError: See ``WindowGrid``.
        """
        return WindowGrid(height, width, self.window, self.stride, self.wrap)

    def fingerprint(self, generator: MaskGenerator) -> Fingerprint:
        """What identifies a cache made with these settings and this generator."""
        return Fingerprint(
            {
                'format': FORMAT_VERSION,
                'version': MASKS_VERSION,
                'grid': self.grid(*self.window).settings.to_json(),
                'generator': generator.identity,
                'order': self.order,
                'boundary': {
                    'source': self.overlap_source,
                    'rule': self.boundary,
                    'thickness': self.boundary_thickness if self.boundary == 'labels' else None,
                },
            }
        )


@dataclass
class Summary:
    """What a run did; coverage and masks are summed over the windows that it made itself."""

    done: int = 0
    already_there: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    windows: int = 0
    crops: int = 0
    masks: int = 0
    coverage: float = 0.0
    bytes: int = 0
    seconds: float = 0.0


def make_masks(
    image_id: str,
    image: RgbImage,
    settings: CacheSettings,
    generator: MaskGenerator,
    on_crop: Callable[[], object] = lambda: None,
) -> PanoramaMasks:
    """Instance masks of every window and the boundary map of every overlap of one panorama.

    Args:
        image_id: Its name in the cache.
        image: The decoded panorama.
        settings: Grid and rules.
        generator: Makes the masks.
        on_crop: Called after each run of the generator.

    Raises:
        ImageError: If the grid does not fit the panorama (wrapped and narrower than a window), or a window has more
            masks than an id map can tell apart.
    """
    work = _Work(image_id, image, grid_over(image, settings, image_id), settings)
    return work.finish(generate_many(generator, work.crops()), generator, on_crop)


@dataclass(frozen=True)
class _Work:
    """A panorama between being read and being written."""

    image_id: str
    image: RgbImage
    grid: WindowGrid
    settings: CacheSettings

    def __len__(self) -> int:
        """Runs of the generator that it takes."""
        return crops_of(self.grid, self.settings)

    def crops(self) -> Iterator[NDArray[np.uint8]]:
        """What the generator sees: the windows, then the overlaps that it gets by themselves."""
        for box in (*self.grid.windows, *(overlap.box for overlap in self._cropped)):
            yield _crop(self.image, self.grid, box)

    @property
    def _cropped(self) -> list[Overlap]:
        return self.grid.overlaps if self.settings.overlap_source == 'crop' else []

    def finish(
        self, found: Iterator[InstanceMasks], generator: MaskGenerator, on_crop: Callable[[], object]
    ) -> PanoramaMasks:
        """What is cached, of the masks of ``crops``; takes no more than those from ``found``."""
        grid, settings = self.grid, self.settings

        def ordered() -> Iterator[InstanceMasks]:
            for masks in islice(found, len(self)):
                if len(masks) > MAX_MASKS:
                    raise ImageError(
                        f'{self.image_id}: {len(masks)} masks in one window; at most {MAX_MASKS} fit an id map'
                    )
                on_crop()
                yield masks.in_painting_order(settings.order)

        in_order = ordered()
        windows = [masks.padded_to(settings.window) for masks in islice(in_order, len(grid.windows))]
        parts = in_order if self._cropped else (_cut(windows[seam.first], grid, seam) for seam in grid.overlaps)
        overlaps = [
            OverlapBoundary(overlap, _boundary(masks, settings, overlap.box))
            for overlap, masks in zip(grid.overlaps, parts, strict=True)
        ]
        return PanoramaMasks(
            self.image_id,
            self.image.sha256,
            (grid.height, grid.width),
            settings.fingerprint(generator),
            windows,
            overlaps,
            generator.made_with,
        )


def _crop(image: RgbImage, grid: WindowGrid, box: Box) -> NDArray[np.uint8]:
    """What the generator sees of a box: never its padding, whose edge would look like an object's."""
    crop = grid.crop(image.pixels.transpose(2, 0, 1), grid.valid(box))
    return np.ascontiguousarray(crop.transpose(1, 2, 0))


def grid_over(image: RgbImage, settings: CacheSettings, name: str | Path) -> WindowGrid:
    """The window grid over an image.

    Raises:
        ImageError: If it does not fit; the message starts with ``name``.
    """
    try:
        return settings.grid(*image.pixels.shape[:2])
    except ValueError as problem:
        raise ImageError(f'{name}: {problem}') from problem


def _cut(masks: InstanceMasks, grid: WindowGrid, overlap: Overlap) -> InstanceMasks:
    """The part of the first window's masks that lies in an overlap; their order stays."""
    window, valid = grid.windows[overlap.first], grid.valid(overlap.box)
    top, left = valid.top - window.top, (valid.left - window.left) % grid.width
    return InstanceMasks.from_dense(masks.masks[:, top : top + valid.height, left : left + valid.width])


def _boundary(masks: InstanceMasks, settings: CacheSettings, box: Box) -> NDArray[np.bool_]:
    if settings.boundary == 'contours':
        boundary = contour_map(masks)
    else:
        boundary = boundary_map(masks.id_map, settings.boundary_thickness)
    # Padding is no boundary.
    return np.pad(boundary, ((0, box.height - boundary.shape[0]), (0, box.width - boundary.shape[1])))


def crops_of(grid: WindowGrid, settings: CacheSettings) -> int:
    """Runs of the generator that a panorama takes."""
    return len(grid.windows) + (len(grid.overlaps) if settings.overlap_source == 'crop' else 0)


class CacheBuilder:
    """Fills a cache with the masks of many panoramas; may be killed at any moment and run again.

    Args:
        root: Folder of caches; the one of these settings and this generator is made below it.
        settings: Grid and rules.
        generator: Makes the masks.
        max_pixels: Larger images are refused.

    Attributes:
        writer: Of that cache.
        summary: What was done so far, also after ``run`` was interrupted.
    """

    def __init__(
        self,
        root: str | Path,
        settings: CacheSettings,
        generator: MaskGenerator,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.writer = CacheWriter(root, settings.fingerprint(generator))
        self.settings = settings
        self.generator = generator
        self.max_pixels = max_pixels
        self.summary = Summary()

    def run(self, samples: Sequence[Sample], show_progress: bool = True, label: str = 'caching masks') -> Summary:
        """Caches every panorama that is not there yet, with a progress bar on standard error.

        While one panorama is with the generator, the next image is read and the one before is written. Windows of
        consecutive panoramas share the generator's batches. An image that can't be used is noted in the summary and
        the others go on. Panoramas that another process has announced are left for the end, and done then unless they
        are there.

        Raises:
            WriteError: If the cache can't be written; what is committed stays.
        """
        start = time.monotonic()
        later: list[Sample] = []
        show_progress = show_progress and sys.stderr is not None  # which is closed, of a daemon for example
        # In a log file a line every half minute is enough.
        pause = 0.1 if show_progress and sys.stderr.isatty() else 30
        writing: tuple[PanoramaMasks, int, Future[int]] | None = None

        def written() -> None:
            nonlocal writing
            if writing is not None:
                (panorama, crops, size), writing = writing, None
                self._count(panorama, crops, size)
                self.writer.release(panorama.image_id)

        with (
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as writer,
            tqdm(unit='window', desc=label, disable=not show_progress, mininterval=pause) as bar,
        ):
            progress = _Progress(bar, len(samples))
            try:
                for queue, left_over in ((samples, later), (later, None)):
                    for work, panorama in self._made(self._begun(queue, reader, left_over, progress), bar):
                        written()
                        if panorama is not None:
                            writing = panorama, len(work), writer.submit(self.writer.commit, panorama)
                        else:
                            self.writer.release(work.image_id)
                        interruption.check()
                        progress.one_less()
                    written()
            finally:
                with suppress(WriteError):  # stopped early: what is being written is finished
                    written()
                self.writer.release_all()
                self.summary.seconds += time.monotonic() - start
        return self.summary

    def _begun(
        self, samples: Sequence[Sample], reader: Executor, later: list[Sample] | None, progress: _Progress
    ) -> Iterator[_Work]:
        """Panoramas that need masks; those that others have announced go to ``later`` unless that is None."""
        for sample, reading in self._ahead(samples, reader):
            if later is not None and not self.writer.claim(sample.id):
                later.append(sample)
                continue
            work = self._begin(sample, reading)
            if work is None:
                self.writer.release(sample.id)
                interruption.check()
                progress.one_less()
            else:
                progress.expect(len(work))
                yield work

    def _begin(self, sample: Sample, reading: Future[RgbImage]) -> _Work | None:
        """A panorama that is read, unless it is cached or can't be used."""
        try:
            image = reading.result()
            work = _Work(sample.id, image, grid_over(image, self.settings, sample.image), self.settings)
            if not self.writer.is_done(sample.id, image.sha256):
                return work
            self.summary.already_there += 1
        except (ImageError, MaskCacheError) as problem:
            self._note_failure(sample.id, problem)
        except MemoryError:
            self._too_large(sample.id)
        return None

    def _made(self, begun: Iterator[_Work], bar: tqdm) -> Iterator[tuple[_Work, PanoramaMasks | None]]:
        """Panoramas with their masks, or None for those that have none.

        Their crops are one stream, from which the generator takes as many as it likes before it gives masks.
        """
        in_hand: deque[_Work] = deque()

        def crops() -> Iterator[NDArray[np.uint8]]:
            for work in begun:
                in_hand.append(work)
                yield from work.crops()

        found = generate_many(self.generator, crops())
        while True:
            counted = bar.n
            try:
                first = next(found, None)  # puts the panorama it is of in hand
                if first is None:
                    return
                masks = chain([first], islice(found, len(in_hand[0]) - 1))
                panorama = None
                try:
                    panorama = in_hand[0].finish(masks, self.generator, bar.update)
                except ImageError as problem:
                    self._note_failure(in_hand[0].image_id, problem)
                    deque(masks, maxlen=0)  # the rest of this panorama's
            except MemoryError:
                if not in_hand:  # no panorama's fault
                    raise
                bar.update(counted - bar.n)
                for work in in_hand:  # whose windows are too much shows when each has the generator for itself
                    yield work, self._alone(work, bar)
                in_hand.clear()
                found = generate_many(self.generator, crops())
            else:
                yield in_hand.popleft(), panorama

    def _alone(self, work: _Work, bar: tqdm) -> PanoramaMasks | None:
        """The masks of one panorama, whose windows share no batch with another's; None if it failed."""
        try:
            return work.finish(generate_many(self.generator, work.crops()), self.generator, bar.update)
        except ImageError as problem:
            self._note_failure(work.image_id, problem)
        except MemoryError:
            self._too_large(work.image_id)
        return None

    def _note_failure(self, image_id: str, problem: Exception) -> None:
        interruption.check()  # not the image's fault, perhaps
        self.summary.failed.append((image_id, str(problem)))

    def _too_large(self, image_id: str) -> None:
        self.summary.failed.append((image_id, f'{image_id}: there is not enough memory for its masks'))

    def _ahead(self, samples: Sequence[Sample], reader: Executor) -> Iterator[tuple[Sample, Future[RgbImage]]]:
        """Samples with their images, each read while the one before is in use."""
        waiting: deque[tuple[Sample, Future[RgbImage]]] = deque()
        for sample in samples:
            waiting.append((sample, reader.submit(read_rgb, sample.image, self.max_pixels)))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting

    def _count(self, panorama: PanoramaMasks, crops: int, writing: Future[int]) -> None:
        """Waits until a panorama is written, and counts it."""
        try:
            size = writing.result()
        except MaskCacheError as problem:
            self.summary.failed.append((panorama.image_id, str(problem)))
            return
        except MemoryError:
            reason = f'{panorama.image_id}: there is not enough memory to write its masks'
            self.summary.failed.append((panorama.image_id, reason))
            return
        if not size:  # another process was quicker
            self.summary.already_there += 1
            return
        self.summary.done += 1
        self.summary.crops += crops
        self.summary.bytes += size
        self.summary.windows += len(panorama.windows)
        self.summary.masks += sum(len(masks) for masks in panorama.windows)
        self.summary.coverage += sum(panorama.coverage)


class _Progress:
    """How many windows are left, if the panoramas that were not read yet are like the last one that was."""

    def __init__(self, bar: tqdm, panoramas: int) -> None:
        self._bar, self._panoramas, self._left, self._crops = bar, panoramas, panoramas, 0

    def expect(self, crops: int) -> None:
        """A panorama was read."""
        self._crops = crops
        if self._bar.total is None:
            self._bar.total = crops * self._left

    def one_less(self) -> None:
        """A panorama is done with."""
        self._left -= 1
        self._bar.total = self._bar.n + self._crops * self._left
        self._bar.set_postfix_str(f'{self._panoramas - self._left}/{self._panoramas} panoramas')


@dataclass(frozen=True)
class Estimate:
    """What a trial of two windows foretells: seconds a crop, crops and bytes a panorama."""

    seconds_per_crop: float
    crops: int
    bytes_per_panorama: float


def estimate(
    image: RgbImage, settings: CacheSettings, generator: MaskGenerator, clock: Callable[[], float] = time.perf_counter
) -> Estimate:
    """Times the generator on the first and the middle window of a panorama, after a run to warm up; writes nothing.

    Raises:
        ImageError: If the grid does not fit the panorama.
    """
    grid = grid_over(image, settings, 'the image')
    boxes = [grid.windows[0], grid.windows[len(grid.windows) // 2]]
    seconds, size = 0.0, 0
    generator.generate(_crop(image, grid, boxes[0]))
    for box in boxes:
        crop = _crop(image, grid, box)
        begin = clock()
        masks = generator.generate(crop).in_painting_order(settings.order).padded_to(settings.window)
        seconds += clock() - begin
        size += _encoded_size(masks, settings, generator)
    per_window = size / len(boxes)
    return Estimate(seconds / len(boxes), crops_of(grid, settings), per_window * len(grid.windows))


def _encoded_size(masks: InstanceMasks, settings: CacheSettings, generator: MaskGenerator) -> int:
    alone = replace(settings, stride=settings.window, wrap=False)  # a panorama of one window
    return len(encode(PanoramaMasks('', '', settings.window, alone.fingerprint(generator), [masks], [])))
