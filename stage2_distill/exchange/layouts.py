"""The layouts of a data set on disk: MMSegmentation's and Hugging Face's. Each has folders and files that list them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

IGNORED, WEIGHT_SCALE = 255, 255  # of label PNGs and of weight PNGs


class Entry(NamedTuple):
    """One image of a data set: its id, which is the name of its PNGs, and the name of its file; both with ``/``."""

    id: str
    name: str


@dataclass(frozen=True)
class Layout:
    """Where things lie.

    Attributes:
        images, labels, weights: Folders in the data set.
        index: The files that list a data set, by name, of its images and its description.
    """

    images: str
    labels: str
    weights: str
    index: Callable[[Sequence[Entry], dict[str, Any]], dict[str, str]]


def _mmseg(entries: Sequence[Entry], about: dict[str, Any]) -> dict[str, str]:
    """A config for MMSegmentation; a BaseSegDataset has images of one suffix, so there is one for each, with a list.

    A folder may hold more images: of panoramas that are no longer in the data set, or that a killed process left.
    """
    by_suffix: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        by_suffix[PurePosixPath(entry.name).suffix].append(entry.id)
    lists, datasets = dict[str, str](), list[str]()
    for number, suffix in enumerate(sorted(by_suffix)):
        ids = by_suffix[suffix]
        # Lines are read without white space at their ends: where an id has some, the folder is the list.
        ann_file = f'train_{number}.txt' if all([name.strip()] == name.splitlines() for name in ids) else ''
        lists |= {ann_file: ''.join(f'{name}\n' for name in ids)} if ann_file else {}
        datasets.append(f"""dict(
    type='BaseSegDataset',
    data_root=data_root,
    ann_file={ann_file!r},
    data_prefix=dict(img_path='{_MMSEG.images}', seg_map_path='{_MMSEG.labels}'),
    img_suffix={suffix!r},
    seg_map_suffix='.png',
    metainfo=metainfo,
    pipeline=pipeline,
)""")
    both = f"dict(type='ConcatDataset', datasets=[{', '.join(datasets)}])"
    text = f"""# Written by tools/export_labels.py; the _base_ of a config for MMSegmentation.
data_root = '''{{{{ fileDirname }}}}'''
metainfo = dict(
    classes={tuple(about['classes'])!r},
    palette={about['palette']!r},
)
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
train_dataset = {datasets[0] if len(datasets) == 1 else both}
train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=train_dataset,
)
"""
    return {**lists, 'dataset.py': text}


def _hugging_face(entries: Sequence[Entry], about: dict[str, Any]) -> dict[str, str]:
    """What ``datasets`` reads as an image folder: columns ``image``, ``label`` and ``weight``, and a card."""
    rows = [
        {
            'file_name': f'images/{entry.name}',
            'label_file_name': f'labels/{entry.id}.png',
            'weight_file_name': f'weights/{entry.id}.png',
            'image_id': entry.id,
        }
        for entry in entries
    ]
    id2label = {str(index): name for index, name in enumerate(about['classes'])}
    table = '\n'.join(f'| {index} | {name} |' for index, name in id2label.items())
    card = f"""---
pretty_name: Ensemble labels of GoodSAM
license: unknown
task_categories:
- image-segmentation
tags:
- panorama
- pseudo-labels
size_categories:
- {_size_category(len(entries))}
configs:
- config_name: default
  data_files:
  - split: train
    path: train/**
---

# Ensemble labels of GoodSAM

{len(entries)} panoramas, labelled by a teacher assistant and cached masks (GoodSAM's cross-task fusion); nobody has
corrected the labels. Columns: `image`; `label`, the class ids of `id2label.json`, {IGNORED} where there is no label;
`weight`, how reliable a label is, {WEIGHT_SCALE} fully and 0 not. `goodsam_labels.json` says what made them.

The images, the assistant's weights and the masks' generator have licences of their own, which apply to this data set;
name yours above in place of `unknown`.

| id | class |
|---|---|
{table}
"""
    return {
        'train/metadata.jsonl': ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows),
        'id2label.json': json.dumps(id2label, indent=1),
        'README.md': card,
    }


def _size_category(count: int) -> str:
    """The hub's name for a number of rows."""
    limits = [(10**3, 'n<1K'), (10**4, '1K<n<10K'), (10**5, '10K<n<100K'), (10**6, '100K<n<1M')]
    return next((name for limit, name in limits if count < limit), '1M<n<10M')


_MMSEG = Layout('img_dir/train', 'ann_dir/train', 'weight_dir/train', _mmseg)
LAYOUTS = {'mmseg': _MMSEG, 'hf': Layout('train/images', 'train/labels', 'train/weights', _hugging_face)}
