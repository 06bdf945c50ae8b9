"""ToyPASS on disk: what is made, where it lies, and how it is made by several processes and resumed.

::

    toypass.json                                                      seed and every knob
    source/{leftImg8bit,gtFine}/{train,val}/...                       pinhole, laid out as Cityscapes
    target/leftImg8bit/{train,val,val_source_look}/...                panoramas, laid out as DensePASS
    target/gtFine/{val,val_source_look}/...
    truth/{source,target}/{train,val}/..._{instances,parts,depth}.png  16 bit; for scoring and for a toy SAM only
    truth/target/train/..._labelTrainIds.png                           for the upper bound only

``val_source_look`` shows the scenes of ``val`` with the source's look: the gap of the geometry alone.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stage1_sam_cache.errors import DatasetError
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned
from toypass.cameras import EquirectangularCamera, PinholeCamera, on_grid
from toypass.knobs import LOOKS, VERSION, Knobs
from toypass.looks import draw_weather
from toypass.render import View, render
from toypass.scene import Scene
from toypass.street import Street, build_street, camera_place

DESCRIPTION = 'toypass.json'
_CITIES = {
    'source': ('ashford', 'birkenau', 'cedarvale', 'dornbach'),
    'target': ('Elmira', 'Fichtenau', 'Garden', 'Haselbach', 'Ilex'),
}
DOMAINS, _SPLITS = ('source', 'target'), ('train', 'val')


class Job(NamedTuple):
    """One scene: the ``index``-th of a split of a domain ('source' or 'target')."""

    domain: str
    split: str
    index: int


class Made(NamedTuple):
    """What became of a job: pixels of each label, int64 ``(256,)``, and seconds, None if its files were there."""

    job: Job
    counts: NDArray[np.int64]
    seconds: float | None


@dataclass(frozen=True)
class World:
    """What a worker needs: where to write, the knobs, the seed, and whether depth is wanted."""

    out: Path
    knobs: Knobs
    seed: int
    depth: bool = False


def jobs(knobs: Knobs, domains: Sequence[str] = DOMAINS) -> list[Job]:
    """All scenes of a preset, or of some of its domains, in the order in which they are made."""
    return [
        Job(domain, split, index)
        for domain in domains
        for split in _SPLITS
        for index in range(getattr(knobs.counts, f'{domain}_{split}'))
    ]


def paths(world: World, job: Job) -> dict[str, Path]:
    """Files of a scene by what they hold: image, label, instances, parts, and more for some domains and splits."""
    cities = _CITIES[job.domain]
    city = cities[job.index * len(cities) // getattr(world.knobs.counts, f'{job.domain}_{job.split}')]
    base = world.out / job.domain
    if job.domain == 'source':
        stem = f'{job.split}/{city}/{city}_{job.index:06d}_000000'
        found = {
            'image': base / f'leftImg8bit/{stem}_leftImg8bit.png',
            'label': base / f'gtFine/{stem}_gtFine_labelTrainIds.png',
        }
    else:
        stem = f'train/{city}/{job.index + 1}' if job.split == 'train' else f'val/cs/{job.index + 1}'
        found = {'image': base / f'leftImg8bit/{stem}.png', 'label': base / f'gtFine/{stem}_labelTrainIds.png'}
        if job.split == 'train':
            found['label'] = world.out / f'truth/target/{stem}_labelTrainIds.png'
        else:
            for name in ('image', 'label'):
                other = found[name].as_posix().replace('/val/cs/', '/val_source_look/cs/')
                found[f'{name} source look'] = Path(other)
    for name in ('instances', 'parts', *(['depth'] if world.depth else [])):
        found[name] = world.out / f'truth/{job.domain}/{stem}_{name}.png'
    return found


def look_at(knobs: Knobs, job: Job, seed: int) -> tuple[Street, Scene, PinholeCamera | EquirectangularCamera]:
    """Builds the scene of a job and the camera that sees it; the same for the same knobs, job and seed."""
    key = [VERSION, seed, DOMAINS.index(job.domain), _SPLITS.index(job.split), job.index]
    rng = np.random.default_rng(key)
    pinhole = job.domain == 'source'
    on_sidewalk = not pinhole and rng.random() < knobs.panorama.sidewalk_share
    street = build_street(rng, knobs.world, job.index, pinhole, on_sidewalk)
    scene = Scene(street, rng)
    x, y, ground = camera_place(street)
    if pinhole:
        lens = knobs.pinhole
        place = (x, y, ground + rng.uniform(*lens.camera_height))
        heading = rng.uniform(*lens.yaw) / 360
        fov, pitch = rng.uniform(*lens.fov), rng.uniform(*lens.pitch)
        return street, scene, PinholeCamera(lens.height, lens.width, place, heading, fov, pitch)
    panorama = knobs.panorama
    place = (x, y, ground + rng.uniform(*panorama.camera_height))
    heading = on_grid(rng.random())
    size = panorama.height, panorama.width
    return street, scene, EquirectangularCamera(*size, place, heading, panorama.vertical_fov)


def make(world: World, job: Job) -> Made:
    """Makes the files of one scene, unless all are there."""
    files = paths(world, job)
    if all(path.exists() for path in files.values()):
        with Image.open(files['label']) as label:
            return Made(job, np.bincount(np.asarray(label).ravel(), minlength=256), None)
    begun = time.perf_counter()
    knobs = world.knobs
    _, scene, camera = look_at(knobs, job, world.seed)

    def view(look: str) -> View:
        # Light and noise have a stream of their own, so that another look changes nothing else.
        key = [VERSION, world.seed, DOMAINS.index(job.domain), _SPLITS.index(job.split), job.index, 1]
        rng = np.random.default_rng(key)
        return render(scene, camera, draw_weather(LOOKS[look], rng), rng)

    seen = view(knobs.source_look if job.domain == 'source' else knobs.target_look)
    content = {'image': seen.image, 'label': seen.label, 'instances': seen.instance, 'parts': seen.part}
    if world.depth:  # centimetres, at most 655 m; 0 in the sky
        content['depth'] = np.where(np.isinf(seen.depth), 0, np.clip(seen.depth * 100, 1, 65535)).astype(np.uint16)
    if 'image source look' in files:
        content['image source look'] = view(knobs.source_look).image
        content['label source look'] = seen.label
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        commit(path, _png(content[name]), replace=True)
    return Made(job, np.bincount(seen.label.ravel(), minlength=256), time.perf_counter() - begun)


def _png(pixels: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG', compress_level=4)
    return buffer.getvalue()


def prepare(world: World) -> None:
    """Writes the description, or checks that the folder was begun with the same knobs and seed.

    Raises:
        DatasetError: If the folder holds something else.
    """
    path = world.out / DESCRIPTION
    wanted = json.loads(json.dumps(world.knobs.describe(world.seed)))
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError) as problem:
            raise DatasetError(
                f'{path} cannot be read ({problem}); remove the folder or give another --out'
            ) from problem
        if found != wanted:
            names = ', '.join(_differences(found, wanted))
            raise DatasetError(f'{path} was made with other knobs ({names}); remove the folder or give another --out')
    elif world.out.exists() and any(world.out.iterdir()):
        raise DatasetError(f'{world.out} holds files, but no {DESCRIPTION}; give another --out')
    world.out.mkdir(parents=True, exist_ok=True)
    commit(path, (json.dumps(wanted, indent=2) + '\n').encode(), replace=True)
    for folder in {path.parent for job in jobs(world.knobs) for path in paths(world, job).values()}:
        if folder.exists():
            remove_abandoned(folder)


def _differences(found: Any, wanted: Any, name: str = '') -> Iterator[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            yield from _differences(found.get(key), wanted.get(key), f'{name}.{key}' if name else key)
    elif found != wanted:
        yield f'{name} {found} instead of {wanted}'


def make_all(world: World, workers: int, domains: Sequence[str] = DOMAINS) -> Iterator[Made]:
    """Makes all scenes in any number of processes; yields them in order.

    Raises:
        WriteError: If the disk is full.
        DatasetError: If a worker died.
    """
    todo = jobs(world.knobs, domains)
    if workers == 1:
        yield from (make(world, job) for job in todo)
        return
    # A worker computes with one thread of its own; more would only get into each other's way.
    os.environ.update(dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'), '1'))
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _begin, (world,))
    try:
        yield from executor.map(_work, todo)
    except BrokenProcessPool as problem:
        raise DatasetError(
            'a worker died, perhaps for want of memory; run the same command again, with fewer --workers'
        ) from problem
    finally:
        executor.shutdown(cancel_futures=True)  # scenes in hand are finished


_world: World


def _begin(world: World) -> None:
    import signal

    global _world
    _world = world
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the workers


def _work(job: Job) -> Made:
    return make(_world, job)


def statistics(made: Iterable[Made]) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Sums label counts: split -> 'pixels' ``(256,)`` of each label and 'images' ``(256,)`` that show it."""
    result: dict[str, dict[str, NDArray[np.int64]]] = {}
    for job, counts, _ in made:
        entry = result.setdefault(
            f'{job.domain} {job.split}', {n: np.zeros(256, np.int64) for n in ('pixels', 'images')}
        )
        entry['pixels'] += counts
        entry['images'] += counts > 0
    return result
