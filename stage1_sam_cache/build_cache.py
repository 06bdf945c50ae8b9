"""Stage 1's loop: panoramas of this shard -> windows and overlaps -> masks -> cache."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from stage1_sam_cache import interruption
from stage1_sam_cache.boundary_map import RULES, boundary_map, contour_map
from stage1_sam_cache.cache_file import MAX_WINDOW, OverlapBoundary, PanoramaMasks, encode
from stage1_sam_cache.cache_writer import CacheWriter
from stage1_sam_cache.errors import CacheWriteError, ImageError, MaskCacheError
from stage1_sam_cache.fingerprint import FORMAT_VERSION, MASKS_VERSION, Fingerprint
from stage1_sam_cache.image_listing import Sample
from stage1_sam_cache.images import MAX_PIXELS, RgbImage, read_rgb
from stage1_sam_cache.instance_masks import MAX_MASKS, ORDERS, InstanceMasks
from stage1_sam_cache.mask_generator import MaskGenerator, generate_many
from stage1_sam_cache.windows import Box, Overlap, WindowGrid

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
                'grid': self.grid(*self.window).settings,
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
    grid = grid_over(image, settings, image_id)
    cropped = [overlap.box for overlap in grid.overlaps] if settings.overlap_source == 'crop' else []

    def generate() -> Iterator[InstanceMasks]:
        for masks in generate_many(generator, [_crop(image, grid, box) for box in (*grid.windows, *cropped)]):
            if len(masks) > MAX_MASKS:
                raise ImageError(f'{image_id}: {len(masks)} masks in one window; at most {MAX_MASKS} fit an id map')
            on_crop()
            yield masks.in_painting_order(settings.order)

    found = generate()
    windows = [masks.padded_to(settings.window) for masks in islice(found, len(grid.windows))]
    parts = found if cropped else (_cut(windows[overlap.first], grid, overlap) for overlap in grid.overlaps)
    overlaps = [
        OverlapBoundary(overlap, _boundary(masks, settings, overlap.box))
        for overlap, masks in zip(grid.overlaps, parts, strict=True)
    ]
    fingerprint = settings.fingerprint(generator)
    return PanoramaMasks(
        image_id,
        image.sha256,
        (grid.height, grid.width),
        fingerprint,
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

        While one panorama is with the generator, the next image is read and the one before is written. An image that
        can't be used is noted in the summary and the others go on. Panoramas that another process has announced are
        left for the end, and done then unless they are there.

        Raises:
            CacheWriteError: If the cache can't be written; what is committed stays.
        """
        start = time.monotonic()
        later: list[Sample] = []
        left = len(samples)
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
            try:
                for queue, wait_turn in ((samples, True), (later, False)):
                    for sample, image in self._ahead(queue, reader):
                        if wait_turn and not self.writer.claim(sample.id):
                            later.append(sample)
                            continue
                        crops, panorama = self._make(sample, image, bar, left)
                        written()
                        if panorama is not None:
                            writing = panorama, crops, writer.submit(self.writer.commit, panorama)
                        else:
                            self.writer.release(sample.id)
                        interruption.check()
                        left -= 1
                        bar.total = bar.n + crops * left
                        bar.set_postfix_str(f'{len(samples) - left}/{len(samples)} panoramas')
                    written()
            finally:
                with suppress(CacheWriteError):  # stopped early: what is being written is finished
                    written()
                self.writer.release_all()
                self.summary.seconds += time.monotonic() - start
        return self.summary

    def _ahead(self, samples: Sequence[Sample], reader: Executor) -> Iterator[tuple[Sample, Future[RgbImage]]]:
        """Samples with their images, each read while the one before is in use."""
        waiting: deque[tuple[Sample, Future[RgbImage]]] = deque()
        for sample in samples:
            waiting.append((sample, reader.submit(read_rgb, sample.image, self.max_pixels)))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting

    def _make(
        self, sample: Sample, reading: Future[RgbImage], bar: tqdm, left: int
    ) -> tuple[int, PanoramaMasks | None]:
        """How many crops a panorama of this size takes, to foresee the rest, and its masks unless there are none."""
        crops = 0
        try:
            image = reading.result()
            crops = crops_of(grid_over(image, self.settings, sample.image), self.settings)
            if self.writer.is_done(sample.id, image.sha256):
                self.summary.already_there += 1
                return crops, None
            bar.total = bar.n + crops * left
            return crops, make_masks(sample.id, image, self.settings, self.generator, bar.update)
        except CacheWriteError:
            raise
        except (ImageError, MaskCacheError) as problem:
            interruption.check()  # not the image's fault, perhaps
            self.summary.failed.append((sample.id, str(problem)))
        except MemoryError:
            self.summary.failed.append((sample.id, f'{sample.image}: there is not enough memory for its masks'))
        return crops, None

    def _count(self, panorama: PanoramaMasks, crops: int, writing: Future[int]) -> None:
        """Waits until a panorama is written, and counts it."""
        try:
            size = writing.result()
        except CacheWriteError:
            raise
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
