"""The formats that labels can be written in, by the name that ``predict.py --format`` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stage2_distill.exchange import coco, cvat, label_studio
from stage2_distill.exchange.label_map import LabelMap, LabelSet

Part = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """One file of all images, made of a part for each image.

    Attributes:
        file: Its name.
        describe: The part of one image, as plain values of JSON.
        document: The file of all parts, in their order, in pieces; it also takes their number.
        beside: Further files that do not depend on images, by their name.
        require: Raises ``ConfigError`` where what ``describe`` needs is missing.
    """

    file: str
    describe: Callable[[LabelMap, LabelSet], Part]
    document: Callable[[Iterable[Part], int, LabelSet], Iterator[bytes]]
    beside: Mapping[str, Callable[[LabelSet], bytes]] = field(default_factory=dict)
    require: Callable[[], None] = lambda: None


FORMATS = {
    'coco': Format(coco.FILE, coco.describe, coco.document, require=coco.require),
    'cvat': Format(cvat.FILE, cvat.describe, cvat.document, {cvat.LABELS_FILE: cvat.label_list}),
    'labelstudio': Format(
        label_studio.FILE,
        label_studio.describe,
        label_studio.document,
        {label_studio.CONFIG_FILE: label_studio.labelling_config},
    ),
}
