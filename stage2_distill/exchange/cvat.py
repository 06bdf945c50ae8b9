"""Labels as "CVAT for images 1.1": an XML with one mask per class and image, and the list of labels.

A mask is a run-length encoding inside its bounding box, row by row, that begins with the pixels outside the mask, as
CVAT writes and reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree import ElementTree

from stage1_sam_cache.errors import ImageError
from stage2_distill.exchange.label_map import LabelMap, LabelSet, class_masks, runs_in_box

FILE, LABELS_FILE = 'cvat.xml', 'cvat_labels.json'


def describe(image: LabelMap, about: LabelSet) -> dict[str, Any]:
    """Return one image with its masks.

    Raises:
        ImageError: If its name can't be in XML.
    """
    if any(ord(letter) < 32 for letter in image.name):
        raise ImageError(
            f'{image.name!r}: XML cannot hold a name with control characters',
            'rename the image and remove its label file',
        )
    height, width = image.labels.shape
    masks = []
    for index, mask in class_masks(image.labels, len(about.classes)):
        runs = runs_in_box(mask)
        place = {'left': runs.left, 'top': runs.top, 'width': runs.width, 'height': runs.height}
        masks.append({'class': index, 'rle': ', '.join(map(str, runs.counts)), **place})
    return {'name': image.name, 'width': width, 'height': height, 'masks': masks}


def document(parts: Iterable[dict[str, Any]], count: int, about: LabelSet) -> Iterator[bytes]:
    """Yield the file of ``count`` images, in the order of ``parts``."""
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    meta = ElementTree.Element('meta')
    task = _add(meta, 'task')
    for name, text in (('name', f'GoodSAM student {about.made_by}'), ('size', count), ('mode', 'annotation')):
        _add(task, name, str(text))
    labels = _add(task, 'labels')
    for index, name in enumerate(about.classes):
        entry = _add(labels, 'label')
        for key, text in (('name', name), ('color', about.colour(index)), ('type', 'mask'), ('attributes', '')):
            _add(entry, key, text)
    yield _text(meta)
    for number, part in enumerate(parts):
        size = {key: str(part[key]) for key in ('name', 'width', 'height')}
        image = ElementTree.Element('image', {'id': str(number), **size})
        for mask in part['masks']:
            place = {key: str(mask[key]) for key in ('rle', 'left', 'top', 'width', 'height')}
            label = {'label': about.classes[mask['class']], 'source': 'auto', 'occluded': '0'}
            ElementTree.SubElement(image, 'mask', {**label, **place, 'z_order': '0'})
        yield _text(image)
    yield b'</annotations>\n'


def label_list(about: LabelSet) -> bytes:
    """Return the labels as CVAT's editor of labels takes them ("Raw"), for a task that has none yet."""
    labels = [
        {'name': name, 'color': about.colour(index), 'type': 'mask', 'attributes': []}
        for index, name in enumerate(about.classes)
    ]
    return json.dumps(labels, indent=1).encode()


def _text(element: ElementTree.Element) -> bytes:
    ElementTree.indent(element)
    text: bytes = ElementTree.tostring(element, 'utf-8')
    return text + b'\n'


def _add(parent: ElementTree.Element, tag: str, text: str = '') -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag)
    element.text = text or None
    return element
