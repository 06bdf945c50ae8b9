"""Label files of other tools, read step by step as their formats are described."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np


def read_bits(numbers):
    """Bits of bytes, the highest first, as an iterator."""
    for number in numbers:
        for place in range(7, -1, -1):
            yield number >> place & 1


def take(bits, count):
    """The next bits as a number."""
    value = 0
    for _ in range(count):
        value = 2 * value + next(bits)
    return value


def decode_brush(rle, height, width):
    """Label Studio's ``value.rle``: the last of the four channels, uint8 ``(H, W)``."""
    bits = read_bits(rle)
    total = take(bits, 32)
    value_bits = take(bits, 5) + 1
    length_bits = [take(bits, 4) + 1 for _ in range(4)]
    values = []
    while len(values) < total:
        repeated = next(bits)
        length = take(bits, length_bits[take(bits, 2)]) + 1
        if repeated:
            values += [take(bits, value_bits)] * length
        else:
            values += [take(bits, value_bits) for _ in range(length)]
    assert len(values) == total == 4 * height * width
    assert sum(bits) == 0  # what fills the last byte
    return np.array(values, np.uint8).reshape(height, width, 4)[..., 3]


def paint_runs(canvas, value, rle, left, top, width, height):
    """Paint a mask of CVAT: rows of a box, in turn outside and inside of the mask."""
    place, inside = 0, False
    for count in map(int, rle.split(',')):
        for step in range(place, place + count):
            if inside:
                canvas[top + step // width, left + step % width] = value
        place, inside = place + count, not inside
    assert place == width * height


def read_cvat(text):
    """Label maps of a "CVAT for images 1.1" file by image name, 255 where no mask is, and colours by label."""
    root = ElementTree.fromstring(text)
    assert root.tag == 'annotations'
    assert root.findtext('version') == '1.1'
    labels = [label.findtext('name') for label in root.iterfind('meta/task/labels/label')]
    colours = {label.findtext('name'): label.findtext('color') for label in root.iterfind('meta/task/labels/label')}
    images = list(root.iterfind('image'))
    assert int(root.findtext('meta/task/size')) == len(images)
    assert [image.get('id') for image in images] == [str(number) for number in range(len(images))]
    maps = {}
    for image in images:
        canvas = np.full((int(image.get('height')), int(image.get('width'))), 255, np.uint8)
        for mask in image.iterfind('mask'):
            box = [int(mask.get(key)) for key in ('left', 'top', 'width', 'height')]
            paint_runs(canvas, labels.index(mask.get('label')), mask.get('rle'), *box)
        maps[image.get('name')] = canvas
    return maps, colours
