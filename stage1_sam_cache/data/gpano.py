"""What a panorama's metadata say about it: which part of the sphere it shows, and whether the camera was level.

Read are the Photo Sphere properties (GPano, https://developers.google.com/streetview/spherical-metadata) in the XMP
packet of the file. The packet is data of strangers: a document type, without which there are no entities, and packets
over 1 MB are refused, and nothing outside the packet is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

from tqdm import tqdm

from stage1_sam_cache.data.images import MAX_PIXELS, read_size, read_xmp
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.geometry.sphere import SphereArea

NAMESPACE = 'http://ns.google.com/photos/1.0/panorama/'
LEVEL_DEGREES = 0.5  # less is not said: 3 pixels of 2048
_PACKET_BYTES = 2**20
_SIZES = (
    *('CroppedAreaTopPixels', 'CroppedAreaLeftPixels', 'CroppedAreaImageHeightPixels', 'CroppedAreaImageWidthPixels'),
    *('FullPanoHeightPixels', 'FullPanoWidthPixels'),
)
_ANGLES = {'PoseHeadingDegrees': 360, 'PosePitchDegrees': 90, 'PoseRollDegrees': 180}
_LARGEST = 2**24  # rows and columns of a full panorama: more are a mistake, or meant to fill the memory
_OPEN_SHARE = 0.001  # of 360 degrees: stitchers round, and a third of a degree is no gap
_THREADS = 8  # they wait for the disk or the network


@dataclass(frozen=True)
class PanoramaFacts:
    """What is known of a panorama; without metadata it is taken for a level one of 360 degrees.

    Args:
        size: Rows and columns of the image.
        area: What it shows; None if the metadata do not say it.
        heading, pitch, roll: Of the camera, in degrees, with the signs of ``geometry.sphere``.
        problem: Why metadata that are there, or a part of them, are not used; empty if they are, or there are none.
    """

    size: tuple[int, int]
    area: SphereArea | None = None
    heading: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    problem: str = ''

    @property
    def shown(self) -> SphereArea:
        """What the image shows; without metadata as ``SphereArea.band``."""
        return self.area or SphereArea.band(*self.size)

    @property
    def is_closed(self) -> bool:
        """Whether its left and right border meet."""
        return self.shown.is_closed

    @property
    def degrees(self) -> float:
        """How many degrees it is wide."""
        return 360 * self.shown.width / self.shown.full_width

    @property
    def is_level(self) -> bool:
        """Whether neither pitch nor roll reaches ``LEVEL_DEGREES``."""
        return max(abs(self.pitch), abs(self.roll)) < LEVEL_DEGREES


def read_facts(path: str | Path, max_pixels: int = MAX_PIXELS, limit_name: str = '') -> PanoramaFacts:
    """Read what the metadata of an image say; its pixels are not decoded.

    Args:
        path, max_pixels, limit_name: As for ``images.read_rgb``.

    Raises:
        ImageError: If the image's header can't be read, or what it says is refused.
    """
    size = read_size(path, max_pixels, limit_name)
    packet = read_xmp(path, max_pixels, limit_name)
    try:
        return facts_of(parse_packet(packet) if packet else {}, size)
    except ValueError as problem:
        return PanoramaFacts(size, problem=str(problem))


def parse_packet(packet: bytes) -> dict[str, str]:
    """Return the Photo Sphere properties of an XMP packet, as attributes or elements, by name.

    Raises:
        ValueError: If it is larger than 1 MB, has a document type, is no XML or says two things of one property.
    """
    if len(packet) > _PACKET_BYTES:
        raise ValueError(f'an XMP packet of {len(packet)} bytes, at most {_PACKET_BYTES} are read')
    found: list[list[str]] = []  # name and text
    inside: list[list[str] | None] = []  # None for elements of other namespaces
    prefix = f'{NAMESPACE} '

    def start(name: str, attributes: Mapping[str, str]) -> None:
        found.extend([key.removeprefix(prefix), text] for key, text in attributes.items() if key.startswith(prefix))
        element = [name.removeprefix(prefix), ''] if name.startswith(prefix) else None
        inside.append(element)
        if element is not None:
            found.append(element)

    def text(data: str) -> None:
        if inside and inside[-1] is not None:
            inside[-1][1] += data

    def refuse(*_: Any) -> None:
        raise ValueError('an XMP packet with a document type, which none needs')

    parser = expat.ParserCreate(namespace_separator=' ')
    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda name: inside.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(_stripped(packet), True)
    except (expat.ExpatError, LookupError) as problem:  # the latter of an encoding that is not known
        raise ValueError(f'an XMP packet that is no XML ({problem})') from problem
    properties: dict[str, str] = {}
    for key, value in found:
        if properties.setdefault(key, value.strip()) != value.strip():
            raise ValueError(f'GPano:{key} is {properties[key][:40]!r} and {value.strip()[:40]!r}')
    return properties


def _stripped(packet: bytes) -> bytes:
    """A packet without the blanks and zeros around it, and in UTF-16 with the mark of its order."""
    start = packet[:6].lstrip(b'\xff\xfe')
    if start.startswith((b'<\0', b'\0<\0')):
        order = 'utf-16-le' if start.startswith(b'<') else 'utf-16-be'
        return packet.decode(order, 'replace').strip('\0\ufeff\ufffd \r\n\t').encode('utf-16')
    return packet.strip(b'\0 \r\n\t')


def facts_of(properties: Mapping[str, str], size: tuple[int, int]) -> PanoramaFacts:
    """Interpret Photo Sphere properties.

    Pitch and roll are those of the middle of the full panorama. Sizes may be those of another resolution of the image,
    as tools that scale images leave them.

    Args:
        properties: As ``parse_packet`` returns them.
        size: Rows and columns of the image.

    Raises:
        ValueError: If a value is not a number or out of its range, or the sizes contradict each other or the image.
    """
    angles = {name: _number(properties, name) for name in _ANGLES if name in properties}
    for name, angle in angles.items():
        if abs(angle) > _ANGLES[name]:
            raise ValueError(f'GPano:{name}={angle:g} is out of range')
    heading, pitch, roll = (angles.get(name, 0.0) for name in _ANGLES)
    projection, problem = properties.get('ProjectionType', '').strip(), ''
    if projection.lower() not in ('', 'equirectangular'):
        heading = pitch = roll = 0.0
        problem = f'GPano:ProjectionType={projection[:40]!r} is not equirectangular, so its angles are not known'
    given = [name for name in _SIZES if name in properties]
    if not given:
        return PanoramaFacts(size, None, heading, pitch, roll, problem)
    if len(given) < len(_SIZES):
        raise ValueError(f'GPano:{given[0]} without {next(name for name in _SIZES if name not in given)}')
    area = _area([_number(properties, name) for name in _SIZES], size)
    return PanoramaFacts(size, area, heading, pitch, roll, problem)


def _number(properties: Mapping[str, str], name: str) -> float:
    try:
        number = float(properties[name])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f'GPano:{name}={properties[name][:40]!r} is not a number')
    return number


def _area(values: Sequence[float], size: tuple[int, int]) -> SphereArea:
    top, left, height, width, full_height, full_width = values
    says = f'GPano says {width:g}x{height:g} of {full_width:g}x{full_height:g} pixels from {left:g}, {top:g}'
    if min(height, width, full_height, full_width) < 1 or min(top, left) < 0:
        raise ValueError(f'{says}, which is impossible')
    if top + height > full_height + 1 or left + width > full_width + 1:
        raise ValueError(f'{says}, which leads out of the full panorama')
    down, across = size[0] / height, size[1] / width
    if abs(down / across - 1) > 0.02 and abs(size[0] - height * across) > 1:
        raise ValueError(f'{says}, but the image has {size[1]}x{size[0]}; was it cropped after that was written?')
    if max(full_height * down, full_width * across) > _LARGEST:
        raise ValueError(f'{says}, which is impossible')
    rows, columns = max(size[0], round(full_height * down)), round(full_width * across)
    if full_width - width <= _OPEN_SHARE * full_width:
        columns, left = size[1], 0
    top, left = min(round(top * down), rows - size[0]), min(round(left * across), max(0, columns - size[1]))
    return SphereArea(int(top), int(left), *size, rows, columns)


def read_all_facts(
    paths: Sequence[Path], max_pixels: int = MAX_PIXELS, limit_name: str = ''
) -> list[PanoramaFacts | None]:
    """Read the metadata of many images, with a progress bar if it takes seconds; None for one that can't be read.

    Args:
        paths: The files.
        max_pixels, limit_name: As for ``images.read_rgb``.
    """

    def facts(path: Path) -> PanoramaFacts | None:
        try:
            return read_facts(path, max_pixels, limit_name)
        except ImageError:
            return None  # the reason is given where the image is read

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(tqdm(pool.map(facts, paths), 'reading metadata', len(paths), False, unit='image', delay=3))


def facts_packet(area: SphereArea, heading: float, made_of: str) -> bytes:
    """Return an XMP packet that says what a level panorama shows.

    Args:
        area: What it shows.
        heading: In degrees.
        made_of: What it was made of, a text without special characters.
    """
    sizes = (area.top, area.left, area.height, area.width, area.full_height, area.full_width)
    values: dict[str, float] = dict(zip(_SIZES, sizes, strict=True))
    values |= {'PosePitchDegrees': 0, 'PoseRollDegrees': 0, 'PoseHeadingDegrees': heading}
    properties = ' '.join(f'GPano:{name}="{value}"' for name, value in values.items())
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:GPano="{NAMESPACE}" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="{made_of}" '
        f'GPano:ProjectionType="equirectangular" GPano:UsePanoramaViewer="True" {properties}/></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()
