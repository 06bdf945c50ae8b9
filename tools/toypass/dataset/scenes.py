"""The scene of a job and the camera that sees it."""

from __future__ import annotations

import numpy as np

from toypass.dataset.jobs import DOMAINS, SPLITS, Job
from toypass.knobs import VERSION, Knobs
from toypass.render.cameras import EquirectangularCamera, PinholeCamera, on_grid
from toypass.world.layout import build_street, camera_place
from toypass.world.scene import Scene
from toypass.world.street import Street


def random_stream(job: Job, seed: int, *more: int) -> np.random.Generator:
    """Return the random numbers of a scene; ``more`` gives another stream of the same scene."""
    return np.random.default_rng([VERSION, seed, DOMAINS.index(job.domain), SPLITS.index(job.split), job.number, *more])


def look_at(knobs: Knobs, job: Job, seed: int) -> tuple[Street, Scene, PinholeCamera | EquirectangularCamera]:
    """Build the scene of a job and its camera; identical for the same knobs, job and seed."""
    rng = random_stream(job, seed)
    pinhole = job.domain == 'source'
    on_sidewalk = not pinhole and rng.random() < knobs.panorama.sidewalk_share
    street = build_street(rng, knobs.world, job.number, pinhole, on_sidewalk)
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
