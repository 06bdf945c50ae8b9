"""Which scenes there are, and where their files lie.

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

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from toypass.knobs import Knobs

_CITIES = {
    'source': ('ashford', 'birkenau', 'cedarvale', 'dornbach'),
    'target': ('Elmira', 'Fichtenau', 'Garden', 'Haselbach', 'Ilex'),
}
DOMAINS, SPLITS = ('source', 'target'), ('train', 'val')


class Job(NamedTuple):
    """One scene: the ``number``-th, from 0, of a split of a domain ('source' or 'target')."""

    domain: str
    split: str
    number: int


@dataclass(frozen=True)
class DatasetPlan:
    """What a worker needs to know.

    Attributes:
        out: Folder of the data set.
        knobs: All settings but the seed.
        seed: Of everything that is drawn.
        depth: Write depth maps too.
    """

    out: Path
    knobs: Knobs
    seed: int
    depth: bool = False


def jobs(knobs: Knobs, domains: Sequence[str] = DOMAINS) -> list[Job]:
    """List the scenes of some domains, in the order in which they are made."""
    return [
        Job(domain, split, number)
        for domain in domains
        for split in SPLITS
        for number in range(getattr(knobs.counts, f'{domain}_{split}'))
    ]


def paths(plan: DatasetPlan, job: Job) -> dict[str, Path]:
    """Name the files of a scene.

    Returns:
        By content: ``image``, ``label``, ``instances``, ``parts``; ``depth`` if the plan has it; ``image source look``
        and ``label source look`` for target scenes of split ``val``.
    """
    cities = _CITIES[job.domain]
    city = cities[job.number * len(cities) // getattr(plan.knobs.counts, f'{job.domain}_{job.split}')]
    base = plan.out / job.domain
    if job.domain == 'source':
        stem = f'{job.split}/{city}/{city}_{job.number:06d}_000000'
        files = {
            'image': base / f'leftImg8bit/{stem}_leftImg8bit.png',
            'label': base / f'gtFine/{stem}_gtFine_labelTrainIds.png',
        }
    else:
        stem = f'train/{city}/{job.number + 1}' if job.split == 'train' else f'val/cs/{job.number + 1}'
        files = {'image': base / f'leftImg8bit/{stem}.png', 'label': base / f'gtFine/{stem}_labelTrainIds.png'}
        if job.split == 'train':
            files['label'] = plan.out / f'truth/target/{stem}_labelTrainIds.png'
        else:
            for name in ('image', 'label'):
                other = files[name].as_posix().replace('/val/cs/', '/val_source_look/cs/')
                files[f'{name} source look'] = Path(other)
    for name in ('instances', 'parts', *(['depth'] if plan.depth else [])):
        files[name] = plan.out / f'truth/{job.domain}/{stem}_{name}.png'
    return files
