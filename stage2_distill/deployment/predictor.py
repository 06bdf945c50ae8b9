"""The student over an image of any size, in the first way that memory allows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stage1_sam_cache.errors import ImageError, InputSizeError, OutOfMemory
from stage1_sam_cache.geometry.windows import WindowSettings
from stage1_sam_cache.system.memory import free_memory
from stage1_sam_cache.system.resources import explain
from stage2_distill.deployment.enlarge import (
    BYTES_PER_PIXEL,
    CONFIDENCE_BYTES,
    enlarged_labels,
    enlarged_with_confidence,
)
from stage2_distill.deployment.fitting import first_that_fits
from stage2_distill.deployment.labelling import label_in_windows, label_whole
from stage2_distill.deployment.plans import Mode, describe
from stage2_distill.deployment.student import Student, student_config
from stage2_distill.models.dry_run import needed_bytes
from stage2_distill.training.experiment import read_config

Pixels = NDArray[np.uint8]
Report = Callable[[str], None]


def identity(student: Student, config: str) -> str:
    """Return what tells students apart: a digest of the network's config, its weights, classes and colours."""
    return network_identity(student.network, [student_config(read_config(config)), student.classes, student.palette])


def network_identity(network: torch.nn.Module, facts: list[Any]) -> str:
    """Return a digest of a network's weights and of what else tells it from others, as JSON can write it."""
    digest = hashlib.sha256()
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, weight in network.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass
class Progress:
    """What a run calls as it goes on; by default nothing happens."""

    advance: Callable[[], Any] = lambda: None  # an image or frame is finished, skipped or failed
    window: Callable[[int, int], Any] = lambda done, of: None  # windows of the present image
    report: Report = lambda text: None  # something the user should know now


class Labeller:
    """Labels images with a student, each in the first way of its mode that memory suffices for.

    Args:
        student: On its device.
        mode: Whole, or windows.
        scale: Images are resized by this factor before the student sees them.
        max_pixels: The largest image that the student may see.
        progress: Told about windows and about ways that did not work.
        confidence: Also say how probable each label is.
    """

    def __init__(
        self,
        student: Student,
        mode: Mode,
        scale: float,
        max_pixels: int,
        progress: Progress | None = None,
        confidence: bool = False,
    ) -> None:
        self.student, self.mode, self.scale, self.max_pixels = student, mode, scale, max_pixels
        self.progress, self.confidence = progress or Progress(), confidence
        self._enlarge = enlarged_with_confidence if confidence else enlarged_labels
        self._bytes_per_pixel = BYTES_PER_PIXEL + CONFIDENCE_BYTES * confidence
        self._needed = lru_cache(maxsize=1024)(partial(needed_bytes, student.network))
        self._failed: dict[tuple[int, int], int] = {}  # by size, plans that did not work, from the first on

    def label(self, pixels: Pixels, name: str, closed: bool = True) -> tuple[Pixels, str]:
        """Label one image.

        Args:
            pixels: RGB, uint8 ``(H, W, 3)``.
            name: For reports.
            closed: False for a cropped panorama, whose left and right border do not meet, whatever the mode says.

        Returns:
            Class ids, uint8 ``(H, W)``, and in words how they were made. With ``confidence`` ``(2, H, W)``, ids first,
            as ``enlarged_with_confidence`` returns them.

        Raises:
            ImageError: If the image is too small for the student, or too large after scaling.
            OutOfMemory: If memory suffices for no plan.
            NotFiniteError: If the student's output is NaN or infinite.
        """
        height, width = pixels.shape[:2]
        seen = self._resized(pixels, name)
        size = seen.shape[0], seen.shape[1]
        mode = self.mode if closed else replace(self.mode, wrap=False)
        plans = mode.plans(size)
        free = free_memory(self.student.mean.device)
        try:
            first = first_that_fits(plans, size, mode.wrap, self._needed, free, self._bytes_per_pixel)
        except InputSizeError as problem:
            scaled = f'; it was resized by --scale {self.scale:g}' if self.scale != 1 else ''
            raise ImageError(f'{name}: {problem.problem}{scaled}') from problem
        labels, plan = self._try(seen, plans, max(first, self._failed.get(size, 0)), name, mode.wrap)
        if labels.shape[-2:] != (height, width):
            maps = [
                np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.NEAREST))
                for each in (labels if self.confidence else [labels])
            ]
            labels = np.stack(maps) if self.confidence else maps[0]
        return labels, describe(plan)

    def _resized(self, pixels: Pixels, name: str) -> Pixels:
        if self.scale == 1:
            return pixels
        height, width = (max(1, round(side * self.scale)) for side in pixels.shape[:2])
        if height * width > self.max_pixels:
            raise ImageError(
                f'{name}: {width}x{height} at --scale {self.scale:g} is more than {self.max_pixels} pixels',
                '--max-pixels admits larger images',
            )
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))

    def _try(
        self, seen: Pixels, plans: list[WindowSettings | None], first: int, name: str, wrap: bool
    ) -> tuple[Pixels, WindowSettings | None]:
        """Label by the first plan; as long as memory runs out, by the next."""
        size = seen.shape[0], seen.shape[1]
        for index, plan in enumerate(plans[first:], first):
            try:
                if plan is None:
                    return label_whole(self.student, seen, wrap, self._enlarge), plan
                return label_in_windows(self.student, seen, plan, self.progress.window, self._enlarge), plan
            except (MemoryError, RuntimeError) as problem:
                if not isinstance(explain(problem), OutOfMemory):
                    raise
            # Out of the handler, whose exception keeps the tensors of the attempt alive.
            self._failed[size] = min(index + 1, len(plans) - 1)
            if self.student.mean.device.type == 'cuda':
                torch.cuda.empty_cache()
            if index + 1 < len(plans):
                self.progress.report(
                    f'warning: {name}: not enough memory to label it {describe(plan)}; '
                    f'trying {describe(plans[index + 1])}'
                )
        raise OutOfMemory(
            f'{name}: not enough memory to label it, not even {describe(plans[-1])}', '--scale 0.5 needs a quarter'
        )
