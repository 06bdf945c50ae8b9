"""The reading policy, one case each: what is taken as it is, what is converted, and what is refused."""

import hashlib
import io
import struct
import subprocess
import sys
import tempfile
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from fuzz import examples
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from stage1_sam_cache.data.image_formats import FORMATS, IMAGE_EXTENSIONS, UNREAD_EXTENSIONS
from stage1_sam_cache.data.images import MAX_PIXELS, read_rgb, read_size
from stage1_sam_cache.errors import ImageError

ORIENTATION = 0x0112
NOISE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LOSSLESS = {'PNG': {}, 'TIFF': {}, 'BMP': {}, 'WEBP': {'lossless': True}}
# What may be cut off an image's end without loss of a pixel: PNG's end chunk and the checksums before it.
PIXEL_FREE_END = {'png': 20}


def save(path, image, **options):
    """Writes an array or a Pillow image and gives the path back."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **options)
    return path


def encoded(image, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def pixels_of(path):
    return read_rgb(path).pixels


def refusal(path, **options):
    """The message of the refusal: one line that names the file."""
    with pytest.raises(ImageError) as refused:
        read_rgb(path, **options)
    message = str(refused.value)
    assert message.startswith(f'{path}: ') and message.isprintable()
    return message


def read_or_refuse(data, **options):
    """The pixels of a file of these bytes, ``None`` where it is refused; any other exception comes through."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            return read_rgb(file.name, **options).pixels
        except ImageError as refused:
            assert str(refused).startswith(f'{file.name}: ') and len(str(refused).splitlines()) == 1
            return None


FILES = {
    'png': encoded(NOISE, 'PNG'),
    'jpeg': encoded(NOISE, 'JPEG', quality=90),
    'progressive jpeg': encoded(NOISE, 'JPEG', quality=90, progressive=True),
    'tiff': encoded(NOISE, 'TIFF'),
    'deflated tiff': encoded(NOISE, 'TIFF', compression='tiff_adobe_deflate'),
    'bmp': encoded(NOISE, 'BMP'),
    'webp': encoded(NOISE, 'WEBP'),
}
every_file = pytest.mark.parametrize('name', FILES)


# --- taken as they are ---


@pytest.mark.parametrize('kind', LOSSLESS)
def test_lossless_rgb_is_read_pixel_for_pixel(tmp_path, kind):
    found = pixels_of(save(tmp_path / 'image', NOISE, format=kind, **LOSSLESS[kind]))
    assert found.dtype == np.uint8 and np.array_equal(found, NOISE)


@pytest.mark.parametrize('compression', ['tiff_lzw', 'tiff_adobe_deflate', 'packbits'])
def test_compressed_tiff_is_read_pixel_for_pixel(tmp_path, compression):
    assert np.array_equal(pixels_of(save(tmp_path / 'image.tif', NOISE, compression=compression)), NOISE)


@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'subsampling': 2}], ids=str)
@pytest.mark.parametrize('kind', ['JPEG', 'WEBP'])
def test_lossy_rgb_is_read_in_its_colours(tmp_path, kind, options):
    image = np.zeros((16, 48, 3), np.uint8)
    image[:, :16], image[:, 16:32], image[:, 32:] = (200, 60, 30), (30, 200, 60), (60, 30, 200)
    found = pixels_of(save(tmp_path / 'image', image, format=kind, quality=95, **options)).astype(int)
    assert found.shape == image.shape
    assert np.abs(found[:, [8, 24, 40]] - image[:, [8, 24, 40]]).max() <= 8


@pytest.mark.parametrize('kind', [*LOSSLESS, 'JPEG'])
@pytest.mark.parametrize('colour', [RED, GREEN, BLUE])
def test_pure_red_is_read_as_red(tmp_path, kind, colour):
    image = np.full((16, 16, 3), colour, np.uint8)
    options = {**LOSSLESS, 'JPEG': {'quality': 100, 'subsampling': 0}}[kind]
    found = pixels_of(save(tmp_path / 'image', image, format=kind, **options))
    # JPEG rounds on the way to YCbCr and back.
    assert np.abs(found.astype(int) - image).max() <= (2 if kind == 'JPEG' else 0)


def test_the_format_is_told_by_content_and_not_by_name(tmp_path):
    assert np.array_equal(pixels_of(save(tmp_path / 'image.jpg', NOISE, format='PNG')), NOISE)


def test_a_path_is_text_or_a_path(tmp_path):
    path = save(tmp_path / 'image.png', NOISE)
    assert np.array_equal(pixels_of(str(path)), pixels_of(path))


@every_file
def test_the_digest_is_that_of_the_file(tmp_path, name):
    path = tmp_path / 'image'
    path.write_bytes(FILES[name])
    assert read_rgb(path).sha256 == hashlib.sha256(FILES[name]).hexdigest()


# --- converted ---


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'BMP'])
def test_grey_becomes_three_equal_channels(tmp_path, kind):
    found = pixels_of(save(tmp_path / 'image', NOISE[..., 0], format=kind))
    assert np.array_equal(found, np.repeat(NOISE[..., :1], 3, axis=2))


def test_a_grey_jpeg_becomes_three_equal_channels(tmp_path):
    found = pixels_of(save(tmp_path / 'image.jpg', np.full((8, 8), 100, np.uint8)))
    assert found.shape == (8, 8, 3) and (found == 100).all()


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'BMP'])
def test_one_bit_becomes_black_and_white(tmp_path, kind):
    bits = NOISE[..., 0] > 127
    found = pixels_of(save(tmp_path / 'image', bits, format=kind))
    assert np.array_equal(found, np.repeat(bits[..., None], 3, axis=2) * np.uint8(255))


@pytest.mark.parametrize('bits', [1, 2, 4])
def test_a_grey_png_of_few_bits_is_spread_over_8(tmp_path, bits):
    # Two rows of the largest and of no value: white and black whatever the depth.
    path = tmp_path / 'image.png'
    path.write_bytes(png(8, 2, bits, 0, b'\0' + b'\xff' * bits + b'\0' + b'\0' * bits))
    assert pixels_of(path).tolist() == [[[255] * 3] * 8, [[0] * 3] * 8]


def test_grey_with_alpha_keeps_its_grey_where_it_is_transparent(tmp_path):
    grey, alpha = np.array([[10, 100, 250]], np.uint8), np.array([[0, 128, 255]], np.uint8)
    image = Image.merge('LA', [Image.fromarray(grey), Image.fromarray(alpha)])
    assert pixels_of(save(tmp_path / 'image.png', image)).tolist() == [[[10] * 3, [100] * 3, [250] * 3]]


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'BMP'])
def test_a_palette_is_looked_up(tmp_path, kind):
    image = Image.fromarray(np.array([[0, 1, 2, 1]], np.uint8)).convert('P')
    image.putpalette([*RED, *GREEN, *BLUE])
    found = pixels_of(save(tmp_path / 'image', image, format=kind))
    assert found.tolist() == [[list(RED), list(GREEN), list(BLUE), list(GREEN)]]


@pytest.mark.parametrize('transparency', [1, b'\xff\x00\x80'])
def test_a_transparent_palette_entry_keeps_its_colour(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1, 2, 1]], np.uint8)).convert('P')
    image.putpalette([*RED, *GREEN, *BLUE])
    found = pixels_of(save(tmp_path / 'image.png', image, transparency=transparency))
    assert found.tolist() == [[list(RED), list(GREEN), list(BLUE), list(GREEN)]]


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'BMP', 'WEBP'])
def test_rgba_loses_its_alpha_and_keeps_its_colours(tmp_path, kind):
    alpha = np.full((16, 24, 1), 255, np.uint8)
    alpha[:8], alpha[8:12] = 0, 77
    options = {'lossless': True, 'exact': True} if kind == 'WEBP' else {}
    found = pixels_of(save(tmp_path / 'image', np.concatenate([NOISE, alpha], axis=2), format=kind, **options))
    assert np.array_equal(found, NOISE)


@pytest.mark.parametrize('transparency', [RED, (0, 0, 0)])
def test_a_transparent_colour_of_an_rgb_png_keeps_its_colour(tmp_path, transparency):
    image = np.array([[RED, GREEN, (0, 0, 0)]], np.uint8)
    assert np.array_equal(pixels_of(save(tmp_path / 'image.png', image, transparency=transparency)), image)


@pytest.mark.parametrize('transparency', [0, 200])
def test_a_transparent_grey_of_a_grey_png_keeps_its_grey(tmp_path, transparency):
    found = pixels_of(save(tmp_path / 'image.png', np.array([[0, 200, 90]], np.uint8), transparency=transparency))
    assert found.tolist() == [[[0] * 3, [200] * 3, [90] * 3]]


# The stored picture is ABC over DEF; EXIF says where its first row and first column belong.
UPRIGHT = {
    1: 'ABC DEF',  # top, left
    2: 'CBA FED',  # top, right
    3: 'FED CBA',  # bottom, right
    4: 'DEF ABC',  # bottom, left
    5: 'AD BE CF',  # left, top
    6: 'DA EB FC',  # right, top
    7: 'FC EB DA',  # right, bottom
    8: 'CF BE AD',  # left, bottom
}
COLOURS = dict(zip('ABCDEF', [RED, GREEN, BLUE, (255, 255, 0), (0, 255, 255), (40, 40, 40)], strict=True))


def letters(text, size):
    """A picture of coloured squares, one for each letter."""
    tiny = np.array([[COLOURS[letter] for letter in row] for row in text.split()], np.uint8)
    return tiny.repeat(size, axis=0).repeat(size, axis=1)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF', 'WEBP'])
@pytest.mark.parametrize('orientation', UPRIGHT)
def test_exif_orientation_is_applied_once(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {**LOSSLESS, 'JPEG': {'quality': 95, 'subsampling': 0}}[kind]
    path = save(tmp_path / 'image', letters('ABC DEF', 16), format=kind, exif=exif, **options)
    found, expected = pixels_of(path), letters(UPRIGHT[orientation], 16)
    assert found.shape == expected.shape
    assert np.abs(found[8::16, 8::16].astype(int) - expected[8::16, 8::16]).max() <= (8 if kind == 'JPEG' else 0)


@pytest.mark.parametrize('orientation', [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert np.array_equal(pixels_of(save(tmp_path / 'image.png', NOISE, exif=exif)), NOISE)


# --- refused: more than 8 bits, other colour models ---


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize('shape', [(4, 5), (4, 5, 3), (4, 5, 4)])
def test_16_bit_images_are_refused(tmp_path, suffix, shape):
    path = tmp_path / f'deep.{suffix}'
    assert cv2.imwrite(str(path), np.full(shape, 40000, np.uint16))
    assert '16-bit' in refusal(path)


@pytest.mark.parametrize('shape', [(4, 5), (4, 5, 3)])
def test_floating_point_tiff_is_refused(tmp_path, shape):
    path = tmp_path / 'float.tif'
    assert cv2.imwrite(str(path), np.full(shape, 0.5, np.float32), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    refusal(path)


@pytest.mark.parametrize('dtype', [np.float32, np.int32, np.uint16])
def test_a_single_channel_of_more_than_8_bits_is_refused(tmp_path, dtype):
    assert '16-bit or floating-point' in refusal(save(tmp_path / 'deep.tif', np.ones((3, 4), dtype)))


@pytest.mark.parametrize(('mode', 'kind'), [('CMYK', 'JPEG'), ('CMYK', 'TIFF'), ('LAB', 'TIFF')])
def test_other_colour_models_are_refused_by_name(tmp_path, mode, kind):
    assert mode in refusal(save(tmp_path / 'image', Image.new(mode, (8, 8)), format=kind))


@pytest.mark.parametrize('kind', ['PPM', 'TGA', 'ICO'])
def test_other_formats_are_refused_with_a_list_of_the_known_ones(tmp_path, kind):
    message = refusal(save(tmp_path / 'image', Image.new('RGB', (16, 16)), format=kind))
    assert all(known in message for known in ('PNG', 'JPEG', 'TIFF', 'BMP', 'WEBP', 'GIF'))


# --- formats that Pillow may be built without, and animations ---


def test_gif_jpeg_2000_and_avif_are_read_as_pillow_reads_them(tmp_path):
    still = Image.fromarray(NOISE)
    for kind, end in (('GIF', 'gif'), ('JPEG2000', 'jp2'), ('JPEG2000', 'j2k'), ('AVIF', 'avif')):
        if kind not in FORMATS:
            continue
        path = save(tmp_path / f'still.{end}', still, **({'quality': 100} if kind == 'AVIF' else {}))
        with Image.open(path) as image:
            assert np.array_equal(pixels_of(path), image.convert('RGB')), kind
        assert read_size(path) == NOISE.shape[:2]
        data = path.read_bytes()
        for length in (len(data) // 3, len(data) - 40):
            path.write_bytes(data[:length])
            assert 'damaged' in refusal(path) or 'not an image' in refusal(path)
        assert f'.{end}' in IMAGE_EXTENSIONS
    assert '.heic' in UNREAD_EXTENSIONS


@pytest.mark.parametrize('kind', sorted({'GIF', 'AVIF'} & {*FORMATS}))
def test_an_animation_is_refused(tmp_path, kind):
    path = tmp_path / 'moving'
    Image.fromarray(NOISE).save(path, kind, save_all=True, append_images=[Image.fromarray(255 - NOISE)])
    assert refusal(path).endswith(f'an animated {kind}; save the frame that you want as PNG')


def test_deep_jpeg_2000_and_avif_are_refused_instead_of_cut_to_8_bits(tmp_path):
    deep = np.full((64, 64, 3), 40_000, np.uint16)
    if 'JPEG2000' in FORMATS:
        assert cv2.imwrite(str(tmp_path / 'deep.jp2'), deep)
        assert '16-bit or floating-point' in refusal(tmp_path / 'deep.jp2')
        data = (tmp_path / 'deep.jp2').read_bytes()
        (tmp_path / 'deep.j2k').write_bytes(data[data.index(b'\xff\x4f\xff\x51') :])
        assert '16-bit or floating-point' in refusal(tmp_path / 'deep.j2k')
    if 'AVIF' in FORMATS:
        options = [cv2.IMWRITE_AVIF_DEPTH, 10]
        assert cv2.imwrite(str(tmp_path / 'deep.avif'), np.full((64, 64, 3), 700, np.uint16), options)
        assert '10-bit image; convert it to 8 bits' in refusal(tmp_path / 'deep.avif')


# --- refused: no image there ---


def test_an_empty_file_is_refused_as_empty(tmp_path):
    path = tmp_path / 'empty.png'
    path.touch()
    assert 'empty' in refusal(path)


@pytest.mark.parametrize('content', [b'not an image\n', b'\x00', b'\xff' * 1000, b'<svg></svg>'])
def test_a_file_that_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / 'text.png'
    path.write_bytes(content)
    assert 'not an image' in refusal(path)


def test_a_folder_is_refused(tmp_path):
    assert 'directory' in refusal(tmp_path).lower()


def test_a_missing_file_is_refused(tmp_path):
    assert 'No such file' in refusal(tmp_path / 'missing.png')


def test_a_link_to_nowhere_is_refused(tmp_path):
    link = tmp_path / 'link.png'
    link.symlink_to(tmp_path / 'gone.png')
    assert 'No such file' in refusal(link)


# --- refused: damaged ---


@every_file
def test_no_cut_file_gives_another_picture(name):
    data = FILES[name]
    whole = read_or_refuse(data)
    assert whole.shape == NOISE.shape
    for length in range(0, len(data) - PIXEL_FREE_END.get(name, 0)):
        assert read_or_refuse(data[:length]) is None, f'cut to {length} of {len(data)} bytes'
    for length in range(len(data) - PIXEL_FREE_END.get(name, 0), len(data)):
        found = read_or_refuse(data[:length])
        assert found is None or np.array_equal(found, whole)


LARGE = np.random.default_rng(1).integers(0, 256, (160, 256, 3), np.uint8)  # more than one block of a decoder
LARGE_FILES = {'png': encoded(LARGE, 'PNG'), 'jpeg': encoded(LARGE, 'JPEG', quality=95)}


@given(st.sampled_from(sorted(LARGE_FILES)), st.data())
@examples(100)
def test_no_cut_large_file_gives_another_picture(name, data):
    whole = LARGE_FILES[name]
    length = data.draw(st.integers(1, len(whole) - 1) | st.integers(len(whole) - 64, len(whole) - 1))
    found = read_or_refuse(whole[:length])
    if length < len(whole) - {'png': 20, 'jpeg': 2}[name]:  # a JPEG's last two bytes only say that it ends
        assert found is None
    assert found is None or np.array_equal(found, read_or_refuse(whole))


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 255) | st.integers(0, 1300), st.integers(1, 255)), min_size=1, max_size=6),
)
@examples(600)
@example('png', [(24, 24)])  # a depth of 16 bits, with a checksum that no longer fits
def test_flipped_bytes_give_a_picture_or_a_refusal(name, flips):
    data = bytearray(FILES[name])
    for position, change in flips:
        data[position % len(data)] ^= change
    found = read_or_refuse(bytes(data), max_pixels=100_000)
    if found is not None:
        assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3
        assert 0 < found.shape[0] * found.shape[1] <= 100_000


@given(st.integers(8 + 8 + 13 + 4, len(FILES['png']) - 13), st.integers(1, 255))
def test_no_flipped_byte_of_a_png_s_pixels_goes_unseen(position, change):
    data = bytearray(FILES['png'])
    data[position] ^= change
    found = read_or_refuse(bytes(data))
    assert found is None or np.array_equal(found, NOISE)


@given(st.binary(min_size=1, max_size=200), st.sampled_from([data[:12] for data in FILES.values()]))
def test_random_bytes_behind_a_true_signature_are_refused(noise, signature):
    assert read_or_refuse(signature + noise, max_pixels=10_000) is None


# --- refused: too large ---


def png(width, height, bits, colour, raw):
    """A PNG file by hand; ``raw`` holds the filter bytes too."""

    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    parts = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(raw, 1)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + parts


READS_AND_TELLS_ITS_MEMORY = """
import os, resource, sys
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.data.images import read_rgb
if os.fork():  # the peak of a new program begins with that of its parent: measure in a child of this small one
    os.wait()
    sys.exit()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_rgb(sys.argv[1])
except ImageError as refused:
    print(refused)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (1024 if sys.platform == 'linux' else 1024**2))
"""


@pytest.mark.parametrize('side', [12_000, 30_000])  # just over the limit; over Pillow's own limit too
def test_a_decompression_bomb_is_refused_before_it_takes_memory(tmp_path, side):
    bomb = tmp_path / 'bomb.png'
    # One bit a pixel, all black, complete: 144 or 900 million pixels in a small file.
    bomb.write_bytes(png(side, side, 1, 0, bytes(side * (side // 8 + 1))))
    assert side * side > MAX_PIXELS and bomb.stat().st_size < 1_000_000
    command = [sys.executable, '-c', READS_AND_TELLS_ITS_MEMORY, str(bomb)]
    message, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert message.startswith(f'{bomb}: ') and message.endswith('pixels; scale it down')
    assert float(megabytes) < 30  # one byte a pixel would be 144


@every_file
def test_an_image_over_max_pixels_is_refused_with_the_way_out(tmp_path, name):
    path = tmp_path / 'image'
    path.write_bytes(FILES[name])
    assert read_rgb(path, max_pixels=24 * 16).pixels.shape == (16, 24, 3)
    message = refusal(path, max_pixels=24 * 16 - 1)
    assert '24x16' in message and str(24 * 16 - 1) in message and message.endswith('; scale it down')
    with pytest.raises(ImageError, match='; --max-pixels admits larger images'):
        read_rgb(path, 24 * 16 - 1, '--max-pixels')


def test_max_pixels_and_no_other_limit_counts(tmp_path, monkeypatch):
    # Pillow refuses twice this many by itself; a user who raises max_pixels over that means it.
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    path = save(tmp_path / 'image.png', NOISE)
    assert np.array_equal(read_rgb(path, max_pixels=1000).pixels, NOISE)


def test_a_header_that_promises_more_than_the_limit_is_refused_for_its_size(tmp_path):
    path = tmp_path / 'header.png'
    path.write_bytes(png(2**31 - 1, 2**31 - 1, 8, 2, b''))
    assert 'pixels; scale it down' in refusal(path)


@pytest.mark.parametrize('with_header', [False, True])
def test_a_huge_file_is_refused_before_it_is_read(tmp_path, with_header):
    path = tmp_path / 'huge.png'
    if with_header:
        Image.new('RGB', (8, 8)).save(path)
    with path.open('ab') as file:
        file.truncate(6 * 2**30)  # sparse: takes no room
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r'huge.png: .*(is it an image|not an image)'):
            read_rgb(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_a_file_that_cannot_hold_its_pixels_is_refused_before_it_is_decoded(tmp_path):
    small, large = np.full((64, 64, 3), 200, np.uint8), np.full((3000, 6000, 3), 200, np.uint8)
    for kind, mark, offset, order, options in (
        ('JPEG', b'\xff\xc0', 5, '>HH', {}),
        ('JPEG', b'\xff\xc2', 5, '>HH', {'progressive': True}),
        ('PNG', b'IHDR', 4, '>II', {}),
    ):
        path = tmp_path / f'changed size.{kind.lower()}'
        data = bytearray(encoded(small, kind, **options))
        place = data.index(mark) + offset
        data[place : place + struct.calcsize(order)] = struct.pack(order, 5000, 5400)
        if kind == 'PNG':  # with a sound checksum
            data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
        path.write_bytes(data)
        size = '5000x5400' if kind == 'PNG' else '5400x5000'  # a PNG has its width first
        with pytest.raises(ImageError, match=rf'damaged or truncated image \(\d+ bytes for {size} pixels\)'):
            read_size(path)
        path.write_bytes(encoded(large, kind, **options))
        assert read_size(path) == (3000, 6000)  # nothing is smaller than one colour
    Image.new('1', (6000, 3000)).save(path, optimize=True)
    assert read_size(path) == (3000, 6000)
