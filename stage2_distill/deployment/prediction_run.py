"""A run over many images and videos: each finished file kept, each refusal named, and nothing made twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stage1_sam_cache.build.shards import Shard
from stage1_sam_cache.data.gpano import PanoramaFacts, read_facts
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.errors import GoodSAMError, ImageError, OutOfMemory
from stage1_sam_cache.system.digests import sha256_of
from stage1_sam_cache.system.resources import explain
from stage2_distill.deployment.derived_files import DerivedFiles
from stage2_distill.deployment.levelling import label_level
from stage2_distill.deployment.outputs import Predictions
from stage2_distill.deployment.own_output import Note, read_note
from stage2_distill.deployment.predictor import Labeller, Pixels, Progress
from stage2_distill.deployment.sequence_labeller import SequenceLabeller
from stage2_distill.deployment.sources import Source
from stage2_distill.deployment.videos import frame_count, read_frames
from stage2_distill.errors import NotFiniteError


@dataclass
class Counts:
    """What a run has done so far."""

    done: int = 0
    already_there: int = 0
    own: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


class Run:
    """Labels a list of images and videos into a folder; what is finished there is not made again.

    Args:
        labeller: Student and mode.
        predictions: The folder.
        student_id: As ``identity``.
        shard: The part of images, and of each video's frames, that this process labels.
        labelled: Called with the id of each image that has just been labelled and written.
        derived: What is made of labelled panoramas beside; None for nothing.
        level: Whether tilted panoramas are levelled before the student sees them.
    """

    def __init__(
        self,
        labeller: Labeller | SequenceLabeller,
        predictions: Predictions,
        student_id: str,
        shard: Shard,
        labelled: Callable[[str], Any] = lambda image_id: None,
        derived: DerivedFiles | None = None,
        level: bool = False,
    ) -> None:
        self.labeller, self.predictions, self.shard, self.labelled = labeller, predictions, shard, labelled
        self.derived, self.level = derived, level
        self.counts = Counts()
        self.planned = 0  # images and frames
        self._note = {
            'student': student_id,
            **labeller.mode.to_json(),
            'scale': labeller.scale,
            'level': level or None,  # None agrees with notes of versions that did not know it
        }

    @property
    def derived_folders(self) -> list[str]:
        """What is written beside labels and overlays, for the last line of a run."""
        return [] if self.derived is None else self.derived.folders

    @property
    def note(self) -> Note:
        """What the note of every label file says that this run makes or takes as finished."""
        return self._note

    @property
    def progress(self) -> Progress:
        """What is told about the run."""
        return self.labeller.progress

    def expected_frames(self, video: Source) -> int:
        """Return how many frames of a video this shard labels, by what the video declares; 0 if it can't be read."""
        try:
            return len(range(self.shard.index, frame_count(video.path), self.shard.count))
        except ImageError:
            return 0  # the reason is given when it is its turn

    def images(self, images: Iterable[Source]) -> None:
        """Label images; the run goes on after one that can't be labelled."""
        for source in images:
            self._guard(str(source.path), lambda source=source: self._image(source))  # type: ignore[misc]
            self.progress.advance()

    def videos(self, videos: Iterable[Source]) -> None:
        """Label this shard's frames of each video, as ``<video>/<frame number>``."""
        for source in videos:
            self._guard(str(source.path), lambda source=source: self._video(source))  # type: ignore[misc]

    def _image(self, source: Source) -> None:
        if read_note(source.path) is not None:
            self.counts.own += 1
            return
        limits = self.labeller.max_pixels, '--max-pixels'
        item = _Item(source.id, source.id + source.path.suffix, str(source.path), read_facts(source.path, *limits))
        if self._exists(item) and self._is_finished(item, {'image': sha256_of(source.path)}):
            return
        image = read_rgb(source.path, *limits)
        self._label(item, image.pixels, {'image': image.sha256}, {'name': item.name})

    def _video(self, source: Source) -> None:
        digest = sha256_of(source.path)

        def wanted(number: int) -> bool:
            if number % self.shard.count != self.shard.index:
                return False
            item = _frame(source, number)
            finished = self._guard(
                item.shown_name,
                lambda: self._exists(item) and self._is_finished(item, {'image': digest, 'frame': number}),
                otherwise=True,
            )
            if finished:
                self.progress.advance()
            return not finished

        for number, pixels in read_frames(source.path, wanted, self.labeller.max_pixels):
            item, note = _frame(source, number, pixels), {'image': digest, 'frame': number}
            self._guard(item.shown_name, lambda: self._label(item, pixels, note))  # noqa: B023
            self.progress.advance()

    def _label(self, item: _Item, pixels: Pixels, made_of: Note, told: Note | None = None) -> None:
        """Label an image, unless that is done, and make of it what is asked for beside.

        Args:
            item: The image.
            pixels: RGB, uint8 ``(H, W, 3)``.
            made_of: What its labels depend on.
            told: What the note of its labels says more.
        """
        note = self._whole_note(item, made_of)
        if self._has_labels(item, note):
            labels = self.predictions.labels(item.id)
        else:
            name, facts = item.shown_name, item.facts
            if self.level and not facts.is_level:
                labels, how = label_level(self.labeller.label, pixels, name, facts)
            else:
                labels, how = self.labeller.label(pixels, name, facts.is_closed)
            self.predictions.write(item.id, pixels, labels, {**note, **(told or {}), 'how': how})
            self.labelled(item.id)
            labels = labels[0] if self.labeller.confidence else labels
        if self.derived is not None:
            self.derived.write(item.id, item.name, pixels, labels, item.facts, note)
        self.counts.done += 1

    def _whole_note(self, item: _Item, made_of: Note) -> Note:
        """All that the labels of an image depend on; what versions without these keys made agrees with None."""
        seam_open = (self.labeller.mode.wrap and not item.facts.is_closed) or None
        return {**self._note, **made_of, 'seam_open': seam_open}

    def _exists(self, item: _Item) -> bool:
        derived = self.derived is not None and self.derived.exist(item.id, item.name)
        return derived or any(path.exists() for path in self.predictions.files(item.id).values())

    def _has_labels(self, item: _Item, note: Note) -> bool:
        """Whether the labels are those that would be made, of a file of the same name."""
        if not self.predictions.is_finished(item.id, note):
            return False
        return self.predictions.note(item.id).get('name', item.name) == item.name  # versions that kept none: any

    def _is_finished(self, item: _Item, made_of: Note) -> bool:
        note = self._whole_note(item, made_of)
        finished = self._has_labels(item, note)
        if self.derived is not None:
            finished &= self.derived.is_finished(item.id, item.name, note)
        self.counts.already_there += finished
        return finished

    def _guard(self, name: str, work: Callable[[], Any], otherwise: Any = None) -> Any:
        """Return what work returns; note as failed what concerns this image alone."""
        try:
            return work()
        except (ImageError, NotFiniteError, OutOfMemory) as problem:
            reason = problem
        except (MemoryError, RuntimeError, OSError) as problem:
            explained = explain(problem)
            if explained is None and isinstance(problem, OSError):
                explained = ImageError(f'cannot be read or written ({problem.strerror or problem})')
            if not isinstance(explained, (OutOfMemory, ImageError)):
                raise
            reason = explained
        self._fail(name, reason)
        return otherwise

    def _fail(self, name: str, reason: GoodSAMError) -> None:
        text = str(reason).removeprefix(f'{name}: ')
        self.counts.failed.append((name, text))
        self.progress.report(f'failed: {name}: {text}')


class _Item(NamedTuple):
    """One image or frame: its id, that with the extension of its file, its name in reports, what it shows."""

    id: str
    name: str
    shown_name: str
    facts: PanoramaFacts


def _frame(source: Source, number: int, pixels: Pixels | None = None) -> _Item:
    """A video's frame, which has no metadata; its image is named as programs write frames, as PNG."""
    frame = frame_id(source.id, number)
    size = (1, 2) if pixels is None else (pixels.shape[0], pixels.shape[1])
    return _Item(frame, f'{frame}.png', f'{source.path} frame {number}', PanoramaFacts(size))


def frame_id(video_id: str, number: int) -> str:
    """Return the id of a video's frame."""
    return f'{video_id}/{number:06d}'
