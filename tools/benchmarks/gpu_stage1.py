"""Rows of the GPU table about mask generation: windows at every level, networks alone, and many panoramas."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import picture, synchronized, within
from benchmarks.gpu_profile import Profile, watch
from benchmarks.gpu_table import Figure
from benchmarks.random_sam import ENCODED, answers, mask_side, random_generator, random_sam
from benchmarks.stage1_profile import FAST, STOCK, watched
from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.errors import Stage1Error
from stage1_sam_cache.sam.fast_generation import points_that_fit
from stage1_sam_cache.sam.fast_networks import accelerate
from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
from stage1_sam_cache.sam.settings import SamSettings

DTYPES = {'stock': torch.float32, 'fp32-fast': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
_GOALS = {'bf16': 12.0}  # times as fast as stock, for a window
_ENCODER_GOAL, _DECODER_GOAL, _REST_GOAL = 12.0, 25.0, 15.0  # milliseconds per window in bf16


@dataclass
class Scene:
    """What all rows share.

    Attributes:
        device: Where all runs.
        model: A key of ``ARCHITECTURES``, or ``tiny``.
        points: Per side of a window.
        window: Rows and columns.
        panorama: Rows and columns.
        panoramas: Of the run of many.
        seconds: That one figure is measured for, warm-up excluded.
        stock_ms: Of a window by the stock generator, when it has been measured.
    """

    device: torch.device
    model: str
    points: int
    window: tuple[int, int] = (400, 512)
    panorama: tuple[int, int] = (400, 2048)
    panoramas: int = 6
    seconds: float = 2.0
    stock_ms: float | None = field(default=None, init=False)

    def settings(self, level: str) -> SamSettings:
        """Stock takes its own number of points at once, the other levels what fits the device."""
        batch = 64 if level in ('stock', 'exact') else points_that_fit(self.device, level)
        return SamSettings(points_per_side=self.points, points_per_batch=batch)

    def generator(self, level: str, compiled: bool = False) -> SamMaskGenerator:
        """A generator with random weights."""
        return random_generator(self.model, level, self.settings(level), self.device, compiled)

    def image(self) -> NDArray[np.uint8]:
        """A window's pixels."""
        return np.ascontiguousarray(picture(0, *self.window))

    def timed(self, call: Callable[[], object]) -> float:
        """Median milliseconds of a call."""
        return within(call, self.device, self.seconds)


def whole_window(scene: Scene, level: str, compiled: bool = False) -> list[Figure]:
    """Time of one window alone, and of one of a batch, with their ratio to the stock generator in this run."""
    generator, image = scene.generator(level, compiled), scene.image()
    with answers(scene.points, mask_side(scene.model)):
        alone = scene.timed(partial(generator.generate, image))
        figures = [Figure('one window', alone, note=f'{len(generator.generate(image))} masks')]
        fastest = alone
        if level == 'stock':
            scene.stock_ms = alone
        else:
            fastest = scene.timed(partial(generator.generate_many, [image] * ENCODED)) / ENCODED
            figures.append(Figure(f'one of {ENCODED}', fastest))
    if level != 'stock' and scene.stock_ms is not None:
        figures += [
            Figure('stock takes', scene.stock_ms / alone, 'times the time of one'),
            Figure('and', scene.stock_ms / fastest, f'times that of one of {ENCODED}', least=_GOALS.get(level)),
        ]
    return figures


def parts(scene: Scene, level: str) -> list[Figure]:
    """Where the time of a window goes; the device is waited for after each part."""
    generator, image = scene.generator(level), scene.image()
    names = STOCK if level in ('stock', 'exact') else FAST
    networks = {name: names[name] for name in ('image encoder', 'mask decoder')}
    with answers(scene.points, mask_side(scene.model)):
        generator.generate(image)
        with watched(networks, scene.device) as seconds:
            begun = synchronized(scene.device)
            generator.generate(image)
            whole = synchronized(scene.device) - begun
    encoder, decoder = (1000 * seconds[name] for name in networks)
    goals = (_DECODER_GOAL, _REST_GOAL) if level == 'bf16' else (None, None)
    return [
        Figure('encoder', encoder),
        Figure(f'decoder, {scene.points**2} points', decoder, most=goals[0]),
        Figure('everything else', 1000 * whole - encoder - decoder, most=goals[1]),
    ]


def encoder(scene: Scene, level: str, compiled: bool = False) -> list[Figure]:
    """The image encoder alone, milliseconds per window, for one window and for a batch."""
    sam = random_sam(scene.model, scene.device)
    network: Any = (sam if level == 'stock' else accelerate(sam)).image_encoder.to(DTYPES[level])
    if compiled:
        network.compile()
    figures = []
    with torch.no_grad():
        for count in (ENCODED,) if compiled else (1, ENCODED):  # each size would be compiled
            images = torch.randn(count, 3, network.img_size, network.img_size, device=scene.device).to(DTYPES[level])
            goal = _ENCODER_GOAL if level == 'bf16' and count > 1 else None
            figures.append(Figure(f'of {count}', scene.timed(partial(network, images)) / count, most=goal))
    return figures


def decoder(scene: Scene, level: str) -> list[Figure]:
    """The mask decoder alone, a window's points of which two fifths have a mask to keep; then compiled."""
    sam = accelerate(random_sam(scene.model, scene.device))
    network, prompt_encoder, dtype = sam.mask_decoder.to(DTYPES[level]), sam.prompt_encoder, DTYPES[level]
    size, width, points = prompt_encoder.image_embedding_size, prompt_encoder.embed_dim, scene.points**2
    batch = min(points, scene.settings(level).points_per_batch)
    embedding, position = torch.randn(2, 1, width, *size, device=scene.device).to(dtype)
    prompts = torch.randn(batch, 2, width, device=scene.device).to(dtype)
    kept = torch.rand(batch, 3, device=scene.device) < 0.15  # of three masks, so that 0.4 of the points have one

    def decode() -> None:
        shared = network.share(embedding, position, prompts[0, 0])
        network.decode(shared, prompts, size, None, lambda _: kept, batch)

    figures = [Figure(f'{points} points', scene.timed(decode) * points / batch)]
    network.compile()
    begun = synchronized(scene.device)
    decode()
    figures.append(Figure('compiling', synchronized(scene.device) - begun, 's', note="or reading inductor's cache"))
    compiled = scene.timed(decode) * points / batch
    return [*figures, Figure('compiled', compiled, most=_DECODER_GOAL if level == 'bf16' else None)]


def profile_of_windows(scene: Scene, level: str) -> list[Figure]:
    """What the device does for a batch of windows."""
    generator, images = scene.generator(level), [scene.image()] * ENCODED
    with answers(scene.points, mask_side(scene.model)):
        generator.generate_many(images)
        return figures_of(watch(partial(generator.generate_many, images), scene.device))


def figures_of(found: Profile) -> list[Figure]:
    """A profile as figures."""
    return [
        Figure('busy', 100 * found.busy, '%', note=f'of {found.wall_ms:.4g} ms, profiled'),
        *(Figure(kind, 100 * share, '% of the device time') for kind, share in found.shares.items()),
        *(Figure(name[:90], ms, note=f'{calls} calls') for name, ms, calls in found.top),
    ]


def many_panoramas(scene: Scene, level: str) -> list[Figure]:
    """Panoramas a minute from image files to a cache, how busy the device is meanwhile, and its peak memory."""
    generator = scene.generator(level)
    cuda = scene.device.type == 'cuda'
    with tempfile.TemporaryDirectory() as folder, answers(scene.points, mask_side(scene.model)):
        Path(folder, 'images').mkdir()
        for i in range(scene.panoramas):
            Image.fromarray(picture(i, *scene.panorama)).save(Path(folder, 'images', f'{i}.png'))
        samples = list_folder(Path(folder, 'images')).samples

        def cache(name: str, count: int) -> None:
            settings = CacheSettings(scene.window, scene.window[1] // 2)
            summary = CacheBuilder(Path(folder, name), settings, generator).run(samples[:count], show_progress=False)
            if summary.done != count:
                raise Stage1Error(f'{summary.done} of {count} panoramas were cached: {summary}')

        cache('warm-up', 1)
        if cuda:
            torch.cuda.reset_peak_memory_stats(scene.device)
        begun = time.perf_counter()
        cache('timed', scene.panoramas)
        minutes = (time.perf_counter() - begun) / 60
        peak = torch.cuda.max_memory_allocated(scene.device) if cuda else 0
        found = watch(partial(cache, 'watched', min(2, scene.panoramas)), scene.device, top=0)
    return [
        Figure('end to end', scene.panoramas / minutes, 'panoramas a minute', least=20),
        Figure('busy', 100 * found.busy, '%', least=90, note='profiled'),
        *([Figure('peak memory', peak / 2**30, 'GiB')] if cuda else []),
    ]


def networks_alone(scene: Scene, calls: Sequence[tuple[str, Callable[[], object]]]) -> list[Figure]:
    """Time of windows without drawn answers: no mask of random weights survives the filters."""
    return [Figure(name, scene.timed(call)) for name, call in calls]
