"""Which image formats the installed Pillow reads, by their extensions, and how many bits a file of each stores."""

from __future__ import annotations

from typing import IO

from PIL import Image, TiffImagePlugin, features

_EXTENSIONS = {
    'PNG': ('.png',),
    'JPEG': ('.jpg', '.jpeg', '.jpe', '.jfif'),
    'BMP': ('.bmp', '.dib'),
    'TIFF': ('.tif', '.tiff'),
    'WEBP': ('.webp',),
    'GIF': ('.gif',),
    'JPEG2000': ('.jp2', '.j2k', '.jpx', '.jpf'),
    'AVIF': ('.avif',),
}
_NEEDS = {'JPEG2000': 'jpg_2000', 'AVIF': 'avif'}  # what Pillow may be built without

FORMATS = tuple(name for name in _EXTENSIONS if name not in _NEEDS or features.check(_NEEDS[name]))
IMAGE_EXTENSIONS = tuple(end for name in FORMATS for end in _EXTENSIONS[name])
# Of images that are not read; such a file is refused by name, unless the same picture is there in another format, as
# cameras write raw and JPEG side by side.
UNREAD_EXTENSIONS = (
    *(end for name in _EXTENSIONS if name not in FORMATS for end in _EXTENSIONS[name]),
    *('.heic', '.heif', '.hif', '.jxl', '.apng', '.mpo', '.insp'),
    *('.exr', '.hdr', '.pfm', '.ppm', '.pgm', '.pbm', '.pnm', '.tga', '.psd', '.svg', '.ico', '.dds'),
    *('.dng', '.raw', '.cr2', '.cr3', '.nef', '.arw', '.orf', '.rw2', '.raf', '.srw', '.pef', '.gpr'),
)
_HEADER = 2**20  # bytes in which boxes that say the depth are looked for


def bits_per_channel(image: Image.Image, file: IO[bytes]) -> int:
    """Return the bits that a file stores for each channel; Pillow reduces some deep images to 8 bits silently.

    Args:
        image: As Pillow opened it.
        file: The same file.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,)))
    if image.format not in ('PNG', 'JPEG2000', 'AVIF'):
        return 8
    file.seek(0)
    start = file.read(25 if image.format == 'PNG' else _HEADER)
    if image.format == 'PNG':
        return start[24]
    return _bits_of_jpeg2000(start) if image.format == 'JPEG2000' else _bits_of_avif(start)


def _bits_of_jpeg2000(start: bytes) -> int:
    """The bits of the deepest component, from the image header box of a JP2 file or the start of a codestream."""
    if start.startswith(b'\xff\x4f\xff\x51'):
        components = int.from_bytes(start[40:42], 'big')
        depths = start[42 : 42 + 3 * components : 3]
    else:
        place = start.index(b'ihdr') + 14  # after height, width and number of components
        depths = start[place : place + 1]  # 255 if components differ
    return 1 + max(depth & 0x7F for depth in depths)


def _bits_of_avif(start: bytes) -> int:
    """The bits of the deepest picture of an AVIF file: its colours, its alpha."""
    flags = [part[2] for part in start.split(b'av1C')[1:] if len(part) > 2]
    return 12 if any(flag & 0x60 == 0x60 for flag in flags) else 10 if any(flag & 0x40 for flag in flags) else 8
