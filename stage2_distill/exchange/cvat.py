"""Labels as "CVAT for images 1.1": an XML with one mask per class and image, and the list of labels.

A mask is a run-length encoding inside its bounding box, row by row, that begins with the pixels outside the mask, as
CVAT writes and reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from stage2_distill.exchange.label_map import LabelMap, LabelSet, class_masks, runs_in_box

FILE, LABELS_FILE = 'cvat.xml', 'cvat_labels.json'


def describe(image: LabelMap, about: LabelSet) -> dict[str, Any]:
    """Return one image with its masks."""
    height, width = image.labels.shape
    masks = []
    for index, mask in class_masks(image.labels, len(about.classes)):
        runs = runs_in_box(mask)
        place = {'left': runs.left, 'top': runs.top, 'width': runs.width, 'height': runs.height}
        masks.append({'class': index, 'rle': ', '.join(map(str, runs.counts)), **place})
    return {'name': image.name, 'width': width, 'height': height, 'masks': masks}


def document(parts: Sequence[dict[str, Any]], about: LabelSet) -> bytes:
    """Return the file of all images, in the order of ``parts``."""
    root = ElementTree.Element('annotations')
    _add(root, 'version', '1.1')
    task = _add(_add(root, 'meta'), 'task')
    for name, text in (('name', f'GoodSAM student {about.made_by}'), ('size', len(parts)), ('mode', 'annotation')):
        _add(task, name, str(text))
    labels = _add(task, 'labels')
    for index, name in enumerate(about.classes):
        entry = _add(labels, 'label')
        for key, text in (('name', name), ('color', about.colour(index)), ('type', 'mask'), ('attributes', '')):
            _add(entry, key, text)
    for number, part in enumerate(parts):
        size = {key: str(part[key]) for key in ('name', 'width', 'height')}
        image = ElementTree.SubElement(root, 'image', {'id': str(number), **size})
        for mask in part['masks']:
            place = {key: str(mask[key]) for key in ('rle', 'left', 'top', 'width', 'height')}
            label = {'label': about.classes[mask['class']], 'source': 'auto', 'occluded': '0'}
            ElementTree.SubElement(image, 'mask', {**label, **place, 'z_order': '0'})
    ElementTree.indent(root)
    return ElementTree.tostring(root, 'utf-8', xml_declaration=True)


def label_list(about: LabelSet) -> bytes:
    """Return the labels as CVAT's editor of labels takes them ("Raw"), for a task that has none yet."""
    labels = [
        {'name': name, 'color': about.colour(index), 'type': 'mask', 'attributes': []}
        for index, name in enumerate(about.classes)
    ]
    return json.dumps(labels, indent=1).encode()


def _add(parent: ElementTree.Element, tag: str, text: str = '') -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag)
    element.text = text or None
    return element
