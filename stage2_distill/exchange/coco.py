"""Labels as COCO's stuff segmentation: one annotation per class and image, with a compressed run-length encoding.

Category ids are class ids plus 1, because COCO leaves 0 to pixels without a label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from stage2_distill.errors import ConfigError
from stage2_distill.exchange.label_map import LabelMap, LabelSet, class_masks

FILE = 'coco.json'


def require() -> None:
    """Refuse to begin where pycocotools is missing.

    Raises:
        ConfigError: If it is.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError("COCO's run-length encoding needs pycocotools", 'pip install pycocotools') from None


def describe(image: LabelMap, about: LabelSet) -> dict[str, Any]:
    """Return one image with its annotations, which ``document`` numbers."""
    from pycocotools import mask as coco

    height, width = image.labels.shape
    annotations = []
    for index, mask in class_masks(image.labels, len(about.classes)):
        encoded = coco.encode(np.asfortranarray(mask, np.uint8))
        annotations.append(
            {
                'category_id': index + 1,
                'segmentation': {'size': [height, width], 'counts': encoded['counts'].decode()},
                'area': int(coco.area(encoded)),
                'bbox': [int(side) for side in coco.toBbox(encoded)],
                'iscrowd': 0,
            }
        )
    return {'file_name': image.name, 'width': width, 'height': height, 'annotations': annotations}


def document(parts: Iterable[dict[str, Any]], count: int, about: LabelSet) -> Iterator[bytes]:
    """Yield the file of ``count`` images, in the order of ``parts``."""
    images, annotations = list[dict[str, Any]](), 0
    yield b'{"annotations": ['
    for number, part in enumerate(parts, 1):
        images.append({'id': number, **{key: part[key] for key in ('file_name', 'width', 'height')}})
        for annotation in part['annotations']:
            annotations += 1
            entry = json.dumps({'id': annotations, 'image_id': number, **annotation})
            yield (f',\n{entry}' if annotations > 1 else entry).encode()
    categories = [
        {'id': index + 1, 'name': name, 'supercategory': 'stuff', 'isthing': 0, 'color': about.palette[index]}
        for index, name in enumerate(about.classes)
    ]
    info = {'description': f'labels of student {about.made_by}, made by GoodSAM'}
    rest = {'images': images, 'categories': categories, 'info': info, 'licenses': []}
    yield f'],\n{json.dumps(rest)[1:]}'.encode()
