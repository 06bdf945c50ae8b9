"""Images that are damaged, odd or meant to do harm, each with what is to become of it."""

from __future__ import annotations

import io
import os
import socket
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ACCEPTED = 'accepted'
NO_IMAGE = 'not an image of a known format'
DAMAGED = 'damaged or truncated image'
TOO_LARGE = '--max-pixels admits larger images'
ENDLESS = 'MB beside its pixels'
ORIENTATION = 0x0112
SIDES = (40, 160)
SPARSE = 3 * 2**30  # bytes of files that are nearly all hole

Expected = str | tuple[str, ...]


def blocks(seed: int = 0) -> np.ndarray:
    """Blocks of random colours, so that there are regions to find."""
    rows, columns = SIDES
    few = np.random.default_rng(seed).integers(0, 256, (-(-rows // 16), columns // 16, 3), np.uint8)
    return few.repeat(16, axis=0).repeat(16, axis=1)[:rows]


def encoded(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def png_start(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)


def png(width: int, height: int, raw: bytes, bits: int = 8, colour: int = 2, extra: bytes = b'') -> bytes:
    """A PNG by hand; ``raw`` holds the filter bytes too, ``extra`` chunks come before the pixels."""
    return png_start(width, height, bits, colour) + extra + chunk(b'IDAT', zlib.compress(raw, 9)) + chunk(b'IEND', b'')


@cache
def deflated_zeros(size: int) -> bytes:
    """What inflates to so many zeros, in little memory."""
    packer, part = zlib.compressobj(9), bytes(2**20)
    return b''.join(packer.compress(part) for _ in range(size // len(part))) + packer.flush()


@cache
def all_black() -> bytes:
    """A whole and sound PNG of 900 million black pixels, one bit each."""
    header = png_start(30_000, 30_000, 1, 0)
    return header + chunk(b'IDAT', deflated_zeros(108 * 2**20)) + chunk(b'IEND', b'')


def bomb_of_text() -> bytes:
    """A comment for a PNG that inflates to 256 MB."""
    return chunk(b'zTXt', b'note\0\0' + deflated_zeros(2**28))


def tiff(tags: dict[int, tuple[int, ...]], data: bytes, promised: dict[int, int] | None = None, then: int = 0) -> bytes:
    """A TIFF by hand: ``data`` from byte 8 on, then its tags, all 32 bits wide.

    Args:
        tags: Their values.
        data: What the tags point to.
        promised: How many values a tag says that it has, where that is not the truth.
        then: Where the next picture's tags are.
    """
    start = 8 + len(data)
    entries, values = b'', b''
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f'<{len(numbers)}I', *numbers)
        if len(packed) > 4:
            place = start + 2 + 12 * len(tags) + 4 + len(values)
            values, packed = values + packed, struct.pack('<I', place)
        entries += struct.pack('<HHI', tag, 4, (promised or {}).get(tag, len(numbers))) + packed
    return (
        b'II*\0'
        + struct.pack('<I', start)
        + data
        + struct.pack('<H', len(tags))
        + entries
        + struct.pack('<I', then)
        + values
    )


def rgb_tags(width: int, height: int, compression: int) -> dict[int, tuple[int, ...]]:
    return {256: (width,), 257: (height,), 258: (8, 8, 8), 259: (compression,), 262: (2,), 277: (3,)}


def strips(width: int, height: int, size: int, compression: int = 1, offset: int = 8) -> dict[int, tuple[int, ...]]:
    return {**rgb_tags(width, height, compression), 273: (offset,), 278: (height,), 279: (size,)}


def tiles(
    width: int, height: int, tile: tuple[int, int], size: int, compression: int = 8, offset: int = 8
) -> dict[int, tuple[int, ...]]:
    across, down = tile
    return {**rgb_tags(width, height, compression), 322: (across,), 323: (down,), 324: (offset,), 325: (size,)}


def bmp(width: int, height: int, data: bytes = b'') -> bytes:
    header = struct.pack('<IiiHHIIiiII', 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b'BM' + struct.pack('<IHHI', 54 + len(data), 0, 0, 54) + header + data


def webp(width: int, height: int, data: bytes) -> bytes:
    """An extended WebP whose canvas is said to be of this size, around the chunks of a plain one."""
    canvas = (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    body = b'WEBP' + b'VP8X' + struct.pack('<I', 10) + bytes([2, 0, 0, 0]) + canvas + data[12:]
    return b'RIFF' + struct.pack('<I', len(body)) + body


def exif_of_wrong_type(tag: int) -> bytes:
    """Orientation 6, and a tag as a number with a point, which Pillow reads, but can't write again."""
    entries = struct.pack('<HHIHH', ORIENTATION, 3, 1, 6, 0) + struct.pack('<HHIf', tag, 11, 1, 1.5)
    return b'Exif\0\0II*\0' + struct.pack('<IH', 8, 2) + entries + struct.pack('<I', 0)


PLAIN = {
    'png': encoded(blocks(), 'PNG'),
    'jpg': encoded(blocks(), 'JPEG', quality=90),
    'tif': encoded(blocks(), 'TIFF', compression='tiff_adobe_deflate'),
    'webp': encoded(blocks(), 'WEBP', lossless=True),
    'bmp': encoded(blocks(), 'BMP'),
}


def _converted() -> Iterator[tuple[str, bytes, Expected]]:
    """What the policy takes."""
    image, other = Image.fromarray(blocks()), Image.fromarray(blocks(1))
    palette = image.quantize(16)
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    comment = PngInfo()
    comment.add_text('note', 'x' * 100_000, zip=True)
    yield 'palette with alpha.png', encoded(palette, 'PNG', transparency=bytes(range(16))), ACCEPTED
    yield 'one bit.png', encoded(image.convert('1'), 'PNG'), ACCEPTED
    yield 'alpha.webp', encoded(image.convert('RGBA'), 'WEBP'), ACCEPTED
    yield 'turned by exif.jpg', encoded(image.transpose(Image.Transpose.ROTATE_90), 'JPEG', exif=turned), ACCEPTED
    yield 'rubbish as colour profile.png', encoded(image, 'PNG', icc_profile=bytes(range(256))), ACCEPTED
    yield 'rubbish as exif.jpg', encoded(image, 'JPEG', exif=b'Exif\0\0MM\0*' + b'\xff' * 64), (ACCEPTED, DAMAGED)
    yield 'comment of 100 KB.png', encoded(image, 'PNG', pnginfo=comment), ACCEPTED
    yield 'animated.png', encoded(image, 'PNG', save_all=True, append_images=[other]), ACCEPTED
    yield 'animated.webp', encoded(image, 'WEBP', save_all=True, append_images=[other]), ACCEPTED
    yield 'pages.tiff', encoded(image, 'TIFF', save_all=True, append_images=[other] * 3), ACCEPTED
    yield 'a gif in truth.png', encoded(palette, 'GIF'), ACCEPTED
    yield 'a jpeg in truth.png', PLAIN['jpg'], ACCEPTED
    yield 'a png in truth.jpeg', PLAIN['png'], ACCEPTED
    yield 'and an archive.png', PLAIN['png'] + b'PK\5\6' + bytes(18), ACCEPTED
    yield 'and a script.jpg', encoded(image, 'JPEG', comment=b'<script>alert(1)</script>'), ACCEPTED
    yield 'one pixel.png', encoded(np.full((1, 1, 3), 7, np.uint8), 'PNG'), ACCEPTED
    yield 'one row.png', encoded(blocks()[:1], 'PNG'), ACCEPTED
    yield 'one column.bmp', encoded(blocks()[:, :1], 'BMP'), ACCEPTED
    yield 'pixels without end.png', png(8, 8, bytes(2**26)), ACCEPTED  # what is too much is never inflated
    yield 'tags in a circle.tif', tiff(strips(8, 8, 192), bytes(192), then=8 + 192), ACCEPTED
    yield 'one tile.tif', tiff(tiles(16, 16, (16, 16), 768, 1), bytes(768)), ACCEPTED


def _refused() -> Iterator[tuple[str, bytes, Expected]]:
    """What the policy refuses, and what is damaged."""
    image, other = Image.fromarray(blocks()), Image.fromarray(blocks(1))
    yield 'zero bytes.png', b'', 'is empty (0 bytes)'
    yield 'zero bytes.webp', b'', 'is empty (0 bytes)'
    yield 'a text.png', b'see you tomorrow\n', NO_IMAGE
    yield 'a page.jpg', b'<!DOCTYPE html><html></html>', NO_IMAGE
    yield 'a drawing.png', b'<svg xmlns="http://www.w3.org/2000/svg"/>', NO_IMAGE
    yield 'a bitmap of other kind in truth.png', encoded(image, 'PPM'), NO_IMAGE
    yield 'animated.gif', encoded(image, 'GIF', save_all=True, append_images=[other]), 'an animated GIF'
    yield 'an archive first.png', b'PK\3\4' + bytes(26) + PLAIN['png'], NO_IMAGE
    yield 'a document first.jpg', b'%PDF-1.4\n' + PLAIN['jpg'], NO_IMAGE
    yield '16 bits.png', encoded(np.full(SIDES, 40_000, np.uint16), 'PNG'), '16-bit or floating-point'
    yield '16 bits of rgb.png', png(4, 1, b'\0' + bytes(24), bits=16), '16-bit or floating-point'
    yield '16 bits.tif', encoded(np.full(SIDES, 40_000, np.uint16), 'TIFF'), '16-bit or floating-point'
    yield 'floats.tif', encoded(np.full(SIDES, 0.5, np.float32), 'TIFF'), '16-bit or floating-point'
    yield 'not a number.tif', encoded(np.full(SIDES, np.nan, np.float32), 'TIFF'), '16-bit or floating-point'
    yield 'inks.jpg', encoded(image.convert('CMYK'), 'JPEG'), 'colour model CMYK'
    yield 'inks.tif', encoded(image.convert('CMYK'), 'TIFF'), 'colour model CMYK'
    yield 'lab.tif', encoded(Image.new('LAB', (8, 8)), 'TIFF'), 'colour model LAB'
    yield 'no pixels.png', png_start(8, 8) + chunk(b'IEND', b''), DAMAGED
    yield 'no columns.png', png(0, 8, bytes(8)), (NO_IMAGE, DAMAGED)
    yield 'wrong checksum.png', PLAIN['png'][:60] + b'\xff\0\xff' + PLAIN['png'][63:], DAMAGED
    yield 'exif of wrong types.jpg', encoded(image, 'JPEG', exif=exif_of_wrong_type(0x0100)), DAMAGED
    yield 'exif of wrong types.webp', encoded(image, 'WEBP', exif=exif_of_wrong_type(0x010E)), DAMAGED
    yield 'tiles beyond the end.tif', tiff(tiles(16, 16, (16, 16), 768, 1, offset=2**31), bytes(768)), DAMAGED
    yield 'tiles of nothing.tif', tiff(tiles(16, 16, (0, 0), 768, 1), bytes(768)), DAMAGED
    yield 'strips beyond the end.tif', tiff(strips(16, 16, 768, offset=2**32 - 1), bytes(768)), DAMAGED
    for kind, data in PLAIN.items():
        for share in (0.0, 0.02, 0.3, 0.6, 0.9):
            length = max(1, int(share * len(data)))
            yield f'cut to {share:.0%}.{kind}', data[:length], (NO_IMAGE, DAMAGED)


def _bombs() -> Iterator[tuple[str, bytes, Expected]]:
    """Small files that promise much."""
    yield 'all black.png', all_black(), TOO_LARGE
    yield 'promise.png', png_start(2**31 - 1, 2**31 - 1), (TOO_LARGE, NO_IMAGE)
    yield 'promise with pixels.png', png(2**31 - 1, 2**31 - 1, bytes(100)), TOO_LARGE
    yield 'promise.tif', tiff(strips(65_000, 65_000, 768), bytes(768)), TOO_LARGE
    yield 'promise.bmp', bmp(2**30, 2**30, bytes(100)), TOO_LARGE
    yield 'promise.webp', webp(16_383, 16_383, PLAIN['webp']), TOO_LARGE
    # Within the limit a promise is believed, and one that is broken may have cost what the image would have.
    yield 'broken promise.png', png(2_500, 2_000, bytes(100)), DAMAGED
    yield 'broken promise.bmp', bmp(2_500, 2_000, bytes(100)), DAMAGED
    yield 'broken promise.webp', webp(2_500, 2_000, PLAIN['webp']), DAMAGED
    yield 'broken promise.tif', tiff(strips(2_500, 2_000, 768, 8), bytes(768)), DAMAGED
    zeros = deflated_zeros(2**28)
    rows = b''.join(b'\0' + bytes(24) for _ in range(8))
    for name, head in ((b'zTXt', b'note\0\0'), (b'iTXt', b'note\0\1\0\0\0'), (b'iCCP', b'name\0\0')):
        bomb = chunk(name, head + zeros)
        yield f'{name.decode()} bomb.png', png(8, 8, rows, extra=bomb), DAMAGED
        plain = png(8, 8, rows)
        yield f'{name.decode()} bomb at the end.png', plain[:-12] + bomb + plain[-12:], DAMAGED
    yield 'bomb in a tile.tif', tiff(tiles(16, 16, (10_000, 9_000), len(zeros)), zeros), 'tiles of 10000x9000'
    yield 'tiles without end.tif', tiff(tiles(16, 16, (2**20, 2**20), len(zeros)), zeros), 'tiles of 1048576x1048576'
    yield 'bomb in a strip.tif', tiff(strips(16, 16, len(zeros), 8), zeros), ACCEPTED  # inflated as far as needed


def _holes() -> Iterator[tuple[str, bytes, Expected]]:
    """Beginnings of files of gigabytes, which are holes and take no room."""
    yield 'hole after an image.png', PLAIN['png'], 'bytes for 160x40 pixels; is it an image?'
    yield 'hole after an image.webp', PLAIN['webp'], ENDLESS
    yield 'hole in the profile.png', png_start(8, 8) + struct.pack('>I', 2**31 - 1) + b'iCCP', ENDLESS
    yield 'hole between markers.jpg', b'\xff\xd8\xff\xe0\0\x10JFIF\0' + bytes(9), ENDLESS
    yield 'hole in a tag.tif', tiff({**strips(8, 8, 192), 700: (0, 0)}, bytes(192), {700: 2**29}), ENDLESS
    yield 'hole and nothing.bmp', b'BM', (NO_IMAGE, DAMAGED)


def turned_images() -> dict[str, bytes]:
    """The plain images, some with EXIF that turns them."""
    turned = Image.Exif()
    turned[ORIENTATION], turned[0x010E] = 6, 'a text'
    turned.get_ifd(0x8769)[0x9003] = '2020:01:01'
    image = Image.fromarray(blocks())
    return {**PLAIN, **{k: encoded(image, kind, exif=turned) for k, kind in (('png', 'PNG'), ('jpg', 'JPEG'))}}


def mutants(many: int, rng: np.random.Generator, bases: dict[str, bytes]) -> Iterator[tuple[str, bytes, Expected]]:
    """Images with bytes changed at random, and checksums of PNG made right again, so that the damage gets far."""
    for number in range(many):
        kind = str(rng.choice(list(bases)))
        data = bytearray(bases[kind])
        for _ in range(rng.integers(1, 6)):
            place = int(rng.integers(0, len(data) if rng.random() < 0.5 else 200))
            data[place] = int(rng.choice([0, 1, 127, 255, data[place] ^ rng.integers(1, 256)]))
        changed = with_checksums(bytes(data)) if kind == 'png' else bytes(data)
        yield f'mutant {number}.{kind}', changed, (ACCEPTED, NO_IMAGE, DAMAGED, TOO_LARGE, ENDLESS, '16-bit', 'colour')


def with_checksums(data: bytes) -> bytes:
    """A PNG with the checksums that belong to its chunks."""
    repaired, place = data[:8], 8
    while place + 12 <= len(data):
        end = place + 8 + struct.unpack_from('>I', data, place)[0]
        if end + 4 > len(data):
            break
        repaired += data[place:end] + struct.pack('>I', zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return repaired + data[place:]


def write_hostile(folder: Path, many_mutants: int, rng: np.random.Generator) -> dict[str, Expected]:
    """Fills a folder; returns what is to become of each name: ``ACCEPTED``, a piece of the refusal, or one of several.

    The folder's parent is to be no image folder: a link leads there.
    """
    expected: dict[str, Expected] = {}
    for kind in (*PLAIN, 'jpeg', 'tiff', 'gif'):  # apart, because one stem with two extensions is refused
        (folder / kind).mkdir()
    for name, data, outcome in (*_converted(), *_refused(), *_bombs(), *mutants(many_mutants, rng, turned_images())):
        path = f'{name.rpartition(".")[2]}/{name}'
        (folder / path).write_bytes(data)
        expected[path] = outcome
    for name, data, outcome in _holes():
        path = f'{name.rpartition(".")[2]}/{name}'
        with (folder / path).open('wb') as file:
            file.write(data)
            file.truncate(SPARSE)
        expected[path] = outcome
    (folder.parent / 'secret.png').write_bytes(PLAIN['png'])
    (folder / 'no rights.png').write_bytes(PLAIN['png'])
    (folder / 'no rights.png').chmod(0)
    expected['no rights.png'] = (ACCEPTED, 'Permission denied')  # root may read it
    accents = [unicodedata.normalize(form, 'caf\u00e9.png') for form in ('NFC', 'NFD')]
    for name in ('twins.png', 'twins.jpg', *accents):
        (folder / name).write_bytes(PLAIN['png'])
        expected[name] = 'has the same id'
    return expected | write_no_files(folder)


def write_no_files(folder: Path) -> dict[str, Expected]:
    """Adds pipes, sockets, folders and links; returns what is to become of each."""
    expected: dict[str, Expected] = {}
    os.mkfifo(folder / 'pipe.png')
    with socket.socket(socket.AF_UNIX) as listener:
        descriptor = os.open(folder, os.O_RDONLY)
        listener.bind(f'/proc/self/fd/{descriptor}/socket.png')  # its own path may be too long for a socket
        os.close(descriptor)
    expected |= dict.fromkeys(('pipe.png', 'socket.png'), 'not a regular file')
    (folder / 'directory.png').mkdir()
    (folder / 'directory.png/inside.png').write_bytes(PLAIN['png'])
    expected['directory.png/inside.png'] = ACCEPTED
    links = {
        'dangling.png': ('gone.png', 'a link that leads nowhere'),
        'loop.png': ('loop.png', 'leads back to itself'),
        'loop of two.png': ('loop of two.jpg', 'leads back to itself'),
        'loop of two.jpg': ('loop of two.png', 'leads back to itself'),
        'out of here.png': ('../secret.png', '--follow-links'),
        'device.png': ('/dev/zero', '--follow-links'),
        'terminal.png': ('/dev/tty', ('--follow-links', 'leads nowhere')),
        'pipe behind a link.png': ('pipe.png', 'not a regular file'),
        'folder behind a link.png': (
            '..',
            'a link that leads back to itself, or to a folder that it lies in; remove it',
        ),
        'link within.png': ('directory.png/inside.png', ACCEPTED),
    }
    for name, (target, outcome) in links.items():
        (folder / name).symlink_to(target)
        expected[name] = outcome
    return expected
