"""Labels as Label Studio's tasks with predictions of ``brushlabels``, and the labelling config that they need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from stage2_distill.exchange.brush_rle import encode
from stage2_distill.exchange.label_map import LabelMap, LabelSet, class_masks

FILE, CONFIG_FILE = 'labelstudio.json', 'labelstudio_config.xml'
_CONTROL, _OBJECT = 'label', 'image'  # names of the tags in the config


def describe(image: LabelMap, about: LabelSet) -> dict[str, Any]:
    """Return one image with its masks."""
    height, width = image.labels.shape
    masks = [{'class': index, 'rle': encode(mask)} for index, mask in class_masks(image.labels, len(about.classes))]
    return {'name': image.name, 'width': width, 'height': height, 'masks': masks}


def document(parts: Iterable[dict[str, Any]], count: int, about: LabelSet) -> Iterator[bytes]:
    """Yield the file of ``count`` tasks, in the order of ``parts``."""
    yield b'['
    for number, part in enumerate(parts):
        text = json.dumps(_task(part, about))
        yield (f',\n{text}' if number else text).encode()
    yield b']'


def _task(part: dict[str, Any], about: LabelSet) -> dict[str, Any]:
    size = {'original_width': part['width'], 'original_height': part['height'], 'image_rotation': 0}
    result = [
        {
            'id': f'class{mask["class"]}',
            'type': 'brushlabels',
            'from_name': _CONTROL,
            'to_name': _OBJECT,
            **size,
            'value': {'format': 'rle', 'rle': mask['rle'], 'brushlabels': [about.classes[mask['class']]]},
        }
        for mask in part['masks']
    ]
    address = f'{about.image_url}{quote(part["name"])}'
    return {'data': {'image': address}, 'predictions': [{'model_version': about.made_by, 'result': result}]}


def labelling_config(about: LabelSet) -> bytes:
    """Return the config of a project: the image, and a brush for each class in its colour."""
    view = ElementTree.Element('View')
    ElementTree.SubElement(view, 'Image', {'name': _OBJECT, 'value': '$image', 'zoom': 'true'})
    brush = ElementTree.SubElement(view, 'BrushLabels', {'name': _CONTROL, 'toName': _OBJECT})
    for index, name in enumerate(about.classes):
        ElementTree.SubElement(brush, 'Label', {'value': name, 'background': about.colour(index)})
    ElementTree.indent(view)
    return ElementTree.tostring(view, 'utf-8')
