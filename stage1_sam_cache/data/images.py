"""Reading panoramas as 8-bit RGB, the same pixels for both stages, or a clear refusal.

- Accepted: RGB in PNG, JPEG, TIFF, BMP, WebP, GIF, and in JPEG 2000 and AVIF where Pillow was built with them.
- Converted: greyscale and palette (to RGB), RGBA (alpha dropped, colours as stored), EXIF orientation (applied).
- Refused: images of more than 8 bits per channel and of floating point, CMYK and other colour models, truncated or
  visibly damaged files, images over ``max_pixels``, which are never decoded, files that take much memory besides the
  pixels (tens of MB of metadata, huge tiles), and animated GIF and AVIF.

If a file of another format holds several pictures, the first is read.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from stage1_sam_cache.data.image_formats import FORMATS, bits_per_channel
from stage1_sam_cache.errors import ImageError

MAX_PIXELS = 100_000_000  # a 14142 x 7071 panorama; 300 MB decoded
_ANIMATED = ('GIF', 'AVIF')  # of other formats with several pictures the first is read
_METADATA_BYTES = 2**26  # in a file, besides its pixels
_LEAST_BYTES = 2**6  # that a read counts for at least: a million small reads take a second
_PNG_CHUNKS = 100_000  # that are looked at for metadata
_TILE_PIXELS = 2**24  # of a TIFF: a tile may be larger than its image and is decoded completely
_PILLOW_LIMIT = threading.Lock()
Result = TypeVar('Result')
_CONVERTED = ('RGB', '1', 'L', 'LA', 'P', 'PA', 'RGBA', 'RGBX')


class RgbImage(NamedTuple):
    """A decoded image: ``pixels`` uint8 ``(H, W, 3)``, RGB; ``sha256`` hex digest of the file."""

    pixels: NDArray[np.uint8]
    sha256: str


def read_rgb(path: str | Path, max_pixels: int = MAX_PIXELS, limit_name: str = '') -> RgbImage:
    """Read one image by the policy above.

    Args:
        path: The file.
        max_pixels: Larger images are refused before they are decoded, so that a decompression bomb costs no memory.
        limit_name: The user's name of ``max_pixels``, such as ``--max-pixels``, for that error; empty if it is fixed.

    Raises:
        ImageError: If the image can't be read or is refused; one line with the file and the reason.
    """
    return _read(path, max_pixels, limit_name, _decode)


def read_size(path: str | Path, max_pixels: int = MAX_PIXELS, limit_name: str = '') -> tuple[int, int]:
    """Read the rows and columns of the pixels that ``read_rgb`` gives: upright, after EXIF orientation.

    Only headers and metadata are read.

    Args:
        path, max_pixels, limit_name: As for ``read_rgb``.

    Raises:
        ImageError: If the header can't be read, or what it says is refused.
    """
    return _read(path, max_pixels, limit_name, _upright_size)


def read_xmp(path: str | Path, max_pixels: int = MAX_PIXELS, limit_name: str = '') -> bytes:
    """Read the XMP packet of an image, as it stands in the file; empty if there is none.

    Args:
        path, max_pixels, limit_name: As for ``read_rgb``.

    Raises:
        ImageError: If the header can't be read, or what it says is refused.
    """
    return _read(path, max_pixels, limit_name, _xmp_packet)


def read_exif(path: str | Path, max_pixels: int = MAX_PIXELS, limit_name: str = '') -> bytes:
    """Read the EXIF data of an image without its orientation, as Pillow saves them with the pixels of ``read_rgb``.

    Args:
        path, max_pixels, limit_name: As for ``read_rgb``.

    Raises:
        ImageError: If they can't be read.
    """
    return _read(path, max_pixels, limit_name, _upright_exif)


def _upright_exif(file: IO[bytes]) -> bytes:
    with open_header(file) as image:
        exif = _png_exif(image, file) if image.format == 'PNG' else image.getexif()
        exif.pop(ExifTags.Base.Orientation, None)
        return exif.tobytes() if exif else b''


def _xmp_packet(file: IO[bytes]) -> bytes:
    with open_header(file) as image:
        packet = image.info.get('xmp') or b''
        if image.format == 'PNG' and not packet and (metadata := _late_metadata(file)):
            with open_header(io.BytesIO(metadata)) as late:  # ExifTool writes it after the pixels
                packet = late.info.get('xmp') or b''
    return packet if isinstance(packet, bytes) else str(packet).encode()


def _decode(file: IO[bytes]) -> RgbImage:
    data = file.read()
    with open_header(io.BytesIO(data)) as image:
        pixels = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    return RgbImage(pixels, hashlib.sha256(data).hexdigest())


def _upright_size(file: IO[bytes]) -> tuple[int, int]:
    with open_header(file) as image:
        exif = _png_exif(image, file) if image.format == 'PNG' else image.getexif()
        turned = exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow has turned the size already, or not
            turned &= image.width == image.tag_v2.get(TiffImagePlugin.IMAGEWIDTH)
        return (image.width, image.height) if turned else (image.height, image.width)


def _png_exif(image: Image.Image, file: IO[bytes]) -> Image.Exif:
    """EXIF of a PNG without its pixels, which Pillow decodes to look for metadata that come after them."""
    metadata = _late_metadata(file)
    if not metadata:
        return Image.Image.getexif(image)
    with open_header(io.BytesIO(metadata)) as late:
        return Image.Image.getexif(late)


def _late_metadata(file: IO[bytes]) -> bytes:
    """A PNG of the metadata of another one, without its pixels; empty unless some come after the pixels."""
    chunks, place, pixels, late = [], 8, False, False
    for _ in range(_PNG_CHUNKS):
        file.seek(place)
        start = file.read(8)
        kind, size = start[4:], int.from_bytes(start[:4], 'big')
        if len(start) < 8 or kind == b'IEND':
            break
        if kind in (b'IHDR', b'eXIf', b'tEXt', b'zTXt', b'iTXt'):
            chunks.append(start + file.read(min(size, _METADATA_BYTES) + 4))
            late |= pixels
        pixels |= kind == b'IDAT'
        place += 12 + size
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks) + b'\0\0\0\0IDAT\x35\xaf\x06\x1e' if late else b''


def _read(path: str | Path, max_pixels: int, limit_name: str, get: Callable[[IO[bytes]], Result]) -> Result:
    """Check an image's header and return what ``get`` makes of the file; every problem becomes an ``ImageError``."""
    try:
        with Path(path).open('rb') as file, warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of odd metadata
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise ImageError(f'{path}: is empty (0 bytes)')
            _check_header(file, size, path, max_pixels, limit_name)
            file.seek(0)
            return get(file)
    except ImageError as problem:
        raise problem.with_traceback(None) from None  # its frames hold the data
    except UnidentifiedImageError:
        raise ImageError(f'{path}: not an image of a known format ({", ".join(FORMATS)})') from None
    except MemoryError:
        raise ImageError(f'{path}: there is not enough memory to decode it') from None
    except OSError as problem:
        if problem.errno is not None:  # set by the file system, not by Pillow
            raise ImageError(f'{path}: cannot be read ({problem.strerror})') from problem
        raise ImageError(f'{path}: damaged or truncated image ({problem})') from problem
    except Exception as problem:  # Pillow lets anything through: struct.error, AttributeError, EOFError, ...
        raise ImageError(f'{path}: damaged or truncated image ({problem})') from problem


def _least_bytes(image: Image.Image) -> int:
    """How many bytes a file of these pixels has at least; where there are fewer, decoders make up what is missing.

    A JPEG has a bit for each block of 64 pixels; a PNG has a bit a pixel and a byte a row before it is compressed, by a
    factor of 1032 at most.
    """
    if image.format in ('JPEG', 'MPO'):
        return image.width * image.height // 64 // 8
    return image.height * (1 + image.width // 8) // 1032 if image.format == 'PNG' else 0


def _check_header(file: IO[bytes], size: int, path: str | Path, max_pixels: int, limit_name: str) -> None:
    """Refuse, by the header alone, what need not or must not be decoded."""
    width, height = _webp_size(file)
    _check_pixels(width, height, path, max_pixels, limit_name)
    with open_header(limited(file, (height, width), path)) as image:
        width, height = image.size
        _check_pixels(width, height, path, max_pixels, limit_name)
        if size < _least_bytes(image):
            raise ImageError(f'{path}: damaged or truncated image ({size} bytes for {width}x{height} pixels)')
        if size > _METADATA_BYTES + 8 * width * height:
            raise ImageError(f'{path}: {size} bytes for {width}x{height} pixels', 'is it an image?')
        bits = bits_per_channel(image, file)
        if bits > 8 or image.mode.startswith(('I', 'F')):
            kind = f'{bits}-bit' if 8 < bits < 16 else '16-bit or floating-point'
            raise ImageError(f'{path}: {kind} image', 'convert it to 8 bits')
        if image.format in _ANIMATED and getattr(image, 'is_animated', False):
            raise ImageError(f'{path}: an animated {image.format}', 'save the frame that you want as PNG')
        if image.mode not in _CONVERTED:
            raise ImageError(f'{path}: colour model {image.mode}', 'convert it to RGB')
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            across, down = (image.tag_v2.get(tag, 1) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
            if across * down > max(width * height, _TILE_PIXELS):
                raise ImageError(f'{path}: tiles of {across}x{down} for {width}x{height} pixels', 'is it an image?')


def _check_pixels(width: int, height: int, path: str | Path, max_pixels: int, limit_name: str) -> None:
    if width * height > max_pixels:
        way_out = f'{limit_name} admits larger images' if limit_name else 'scale it down'
        raise ImageError(f'{path}: {width}x{height} is more than {max_pixels} pixels', way_out)


def limited(file: IO[bytes], size: tuple[int, ...], path: str | Path) -> IO[bytes]:
    """Limit what is read from an image file to what an image of this size can need, whatever lengths it declares.

    Args:
        file: The file.
        size: Its rows and columns; zeros if only its header will be read.
        path: Name of the file in the ``ImageError`` that reading more raises.
    """
    return cast(IO[bytes], _Limited(file, _METADATA_BYTES + 8 * size[0] * size[1], path))


class _Limited:
    def __init__(self, file: IO[bytes], limit: int, path: str | Path) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._file, self._left, self._path = file, limit, path

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= max(len(data), _LEAST_BYTES)
        if self._left <= 0:
            raise ImageError(f'{self._path}: more than {_METADATA_BYTES >> 20} MB beside its pixels', 'is it an image?')
        return data


def _webp_size(file: IO[bytes]) -> tuple[int, int]:
    """Return the columns and rows that a WebP declares, all of which Pillow reads at once; 0x0 for other files."""
    start = file.read(30)
    file.seek(0)
    if len(start) < 30 or start[:4] != b'RIFF' or start[8:12] != b'WEBP':
        return 0, 0
    if start[12:16] == b'VP8X':
        return 1 + int.from_bytes(start[24:27], 'little'), 1 + int.from_bytes(start[27:30], 'little')
    bits = int.from_bytes(start[21:25] if start[12:16] == b'VP8L' else start[26:30], 'little')
    if start[12:16] == b'VP8L':
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return bits & 0x3FFF, bits >> 16 & 0x3FFF


def open_header(file: IO[bytes], formats: list[str] | tuple[str, ...] = FORMATS) -> ImageFile.ImageFile:
    """Read the header only, of an image of any size; the caller compares its size before it is decoded.

    Pillow's limit on pixels is global, so it is lifted for this moment only.
    """
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
