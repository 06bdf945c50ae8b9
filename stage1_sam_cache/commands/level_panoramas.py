"""Writes level copies of panoramas whose metadata (GPano pitch and roll) say that the camera was tilted.

    tools/level_panoramas.py --images my_panoramas --out level_panoramas
    tools/level_panoramas.py --images my_panoramas --out level_panoramas --pitch 0 --roll -4.5

Level panoramas are copied as they are, so the new folder is complete. A copy is as large as what the image shows needs;
what the image does not show is black. Copies of JPEGs are JPEGs of quality 95, others PNGs; EXIF data stay, and the
copy's metadata say what it shows and that it is level. It can be killed at any moment and run again, and replaces what
it has made itself alone.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import sys

from PIL import Image, PngImagePlugin
from tqdm import tqdm

from stage1_sam_cache.commands import cli, flag_values, shared_flags
from stage1_sam_cache.data.gpano import PanoramaFacts, facts_packet, read_facts
from stage1_sam_cache.data.images import read_exif, read_rgb
from stage1_sam_cache.data.listing import Sample
from stage1_sam_cache.errors import DatasetError, ImageError
from stage1_sam_cache.geometry.resampling import Levelled, level
from stage1_sam_cache.system.atomic_file import commit, remove_abandoned
from stage1_sam_cache.system.launched import require_one_process

_JPEGS = ('.jpg', '.jpeg', '.jpe', '.jfif')
_MARK = re.compile(rb'dc:source="([0-9a-f]{64} [0-9e. +-]+)"')  # of levelled copies, in their XMP packet
_JPEG = {'quality': 95, 'subsampling': 0}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared_flags.add_image_flags(parser)
    shared_flags.add_max_pixels_flag(parser)
    parser.add_argument('--out', type=flag_values.named_path, required=True, metavar='DIR', help='folder of the copies')
    parser.add_argument('--pitch', type=float, help='of all cameras, in degrees, instead of what the metadata say')
    parser.add_argument('--roll', type=float, help='the same: positive where the right side was too low')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the copies and return the exit status, 1 if some could not be made."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/level_panoramas.py', os.environ)
    if not abs(args.pitch or 0) <= 90 or not abs(args.roll or 0) <= 180:
        parser.error('--pitch goes from -90 to 90, --roll from -180 to 180')
    listing = shared_flags.list_images(parser, args)
    if args.out.resolve().is_relative_to(listing.root.resolve()):
        raise DatasetError(f'--out {args.out} lies in {listing.root}, whose images are levelled', 'give another folder')
    cli.make_folder(args.out, '--out')
    counts, failed = {'levelled': 0, 'copied': 0, 'already there': 0}, 0
    for sample in tqdm(listing.samples, 'levelling', unit='image', disable=sys.stderr is None):
        try:
            counts[_write(sample, args)] += 1
        except (ImageError, ValueError) as problem:
            failed += 1
            text = str(problem)
            cli.report(f'failed: {text if text.startswith(str(sample.image)) else f"{sample.image}: {text}"}')
    done = ', '.join(f'{count} {what}' for what, count in counts.items())
    print(f'{len(listing.samples)} panoramas: {done}, {failed} failed; in {args.out}')
    refusals = shared_flags.report_refused(listing.refused, args.skip_refused)
    return cli.FAILED if failed else refusals


def _write(sample: Sample, args: argparse.Namespace) -> str:
    """Make one copy and return what was done.

    Raises:
        ImageError, ValueError: If the image can't be read, or can't be levelled, or another file has the copy's name.
        WriteError: If the copy can't be written.
    """
    limits = args.max_pixels, '--max-pixels'
    facts = read_facts(sample.image, *limits)
    if facts.problem:
        cli.report(f'warning: metadata not used: {sample.image}: {facts.problem}')
    pitch = facts.pitch if args.pitch is None else args.pitch
    roll = facts.roll if args.roll is None else args.roll
    data = sample.image.read_bytes()
    is_level = PanoramaFacts(facts.size, pitch=pitch, roll=roll).is_level
    suffix = sample.image.suffix if is_level else '.jpg' if sample.image.suffix.lower() in _JPEGS else '.png'
    path = args.out / f'{sample.id}{suffix}'
    mark = f'{hashlib.sha256(data).hexdigest()} {pitch:g} {roll:g}'
    if path.exists():
        there = path.read_bytes()
        if there == data if is_level else _made_of(there) == mark:
            return 'already there'
        if there != data and not _made_of(there):
            raise ImageError(f'{path} exists and does not say what it was made of', 'give another --out, or remove it')
    cli.make_folder(path.parent, '--out')
    remove_abandoned(path.parent)
    if not is_level:
        result = level(read_rgb(sample.image, *limits).pixels, facts.shown, pitch, roll, fill=0)
        copy = _encode(result, suffix, facts.heading, read_exif(sample.image, *limits), mark)
    commit(path, data if is_level else copy, replace=True)
    for other in {sample.image.suffix, '.png'} - {suffix}:  # of the same image, with other angles
        old = args.out / f'{sample.id}{other}'
        if old.exists() and ((there := old.read_bytes()) == data or _made_of(there)[:64] == mark[:64]):
            old.unlink()
    return 'copied' if is_level else 'levelled'


def _made_of(data: bytes) -> str:
    """What a levelled copy says that it was made of; empty for other files."""
    found = _MARK.search(data)
    return found[1].decode() if found else ''


def _encode(image: Levelled, suffix: str, heading: float, exif: bytes, mark: str) -> bytes:
    """Return the bytes of a copy, whose XMP packet says what it shows and what it was made of."""
    packet, buffer = facts_packet(image.area, heading, mark), io.BytesIO()
    picture = Image.fromarray(image.pixels)
    if suffix == '.png':
        info = PngImagePlugin.PngInfo()
        info.add_itxt('XML:com.adobe.xmp', packet.decode())
        picture.save(buffer, 'PNG', pnginfo=info, exif=exif)
    else:
        picture.save(buffer, 'JPEG', xmp=packet, exif=exif, **_JPEG)
    return buffer.getvalue()
