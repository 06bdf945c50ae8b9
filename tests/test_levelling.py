"""Panoramas that are cropped or not level: what their metadata say, and the mathematics of levelling."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image, PngImagePlugin
from reference.levelling import tilted_place

from stage1_sam_cache.build.builder import CacheBuilder
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.data.gpano import facts_of, parse_packet, read_facts
from stage1_sam_cache.data.listing import list_folder
from stage1_sam_cache.geometry.resampling import level, resample, tilt_back
from stage1_sam_cache.geometry.sphere import SphereArea, camera_to_level, levelled_area
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator
from stage2_distill.errors import ConfigError
from stage2_distill.training.runner import GoodSAMRunner

SPHERE = SphereArea.full(60, 120)


def packet(as_elements=False, **properties) -> bytes:
    """An XMP packet with Photo Sphere properties, in one of the two forms that XMP allows."""
    attributes = '' if as_elements else ' '.join(f'GPano:{key}="{value}"' for key, value in properties.items())
    elements = ''.join(f'<GPano:{key}>{value}</GPano:{key}>' for key, value in properties.items() if as_elements)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" {attributes}>{elements}</rdf:Description></rdf:RDF>'
        '</x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def crop(left=0, top=0, width=120, height=60, full_width=120, full_height=60, **more):
    return {
        **{'CroppedAreaLeftPixels': left, 'CroppedAreaTopPixels': top, 'CroppedAreaImageWidthPixels': width},
        **{'CroppedAreaImageHeightPixels': height, 'FullPanoWidthPixels': full_width},
        **{'FullPanoHeightPixels': full_height, **more},
    }


def test_metadata_are_read_from_every_format_and_form(tmp_path):
    pixels = Image.fromarray(np.zeros((30, 80, 3), np.uint8))
    properties = crop(20, 10, 80, 30, PosePitchDegrees=-3.5, PoseRollDegrees=12, PoseHeadingDegrees=90)
    for name, as_elements in (('a.jpg', False), ('b.webp', True), ('c.tif', True), ('d.png', False)):
        xmp = packet(as_elements, **properties)
        if name.endswith('png'):
            info = PngImagePlugin.PngInfo()
            info.add_itxt('XML:com.adobe.xmp', xmp.decode())
            pixels.save(tmp_path / name, pnginfo=info)
        elif name.endswith('tif'):
            pixels.save(tmp_path / name, tiffinfo={700: xmp})
        else:
            pixels.save(tmp_path / name, xmp=xmp)
        facts = read_facts(tmp_path / name)
        assert facts.problem == ''
        assert facts.area == SphereArea(10, 20, 30, 80, 60, 120)
        assert (facts.heading, facts.pitch, facts.roll) == (90, -3.5, 12)
        assert (facts.is_closed, facts.degrees, facts.is_level) == (False, 240, False)
    pixels.save(tmp_path / 'plain.png')
    plain = read_facts(tmp_path / 'plain.png')
    assert (plain.is_closed, plain.is_level, plain.area, plain.problem) == (True, True, None, '')
    assert plain.shown == SphereArea(5, 0, 30, 80, 40, 80)  # square pixels, the horizon in the middle


def test_metadata_after_the_pixels_of_a_png_are_read(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_itxt('XML:com.adobe.xmp', packet(PoseRollDegrees=7).decode())
    Image.new('RGB', (80, 30)).save(tmp_path / 'late.png', pnginfo=info)
    data = (tmp_path / 'late.png').read_bytes()
    start, stop, end = data.index(b'iTXt') - 4, data.index(b'IDAT') - 4, len(data) - 12
    (tmp_path / 'late.png').write_bytes(
        data[:start] + data[stop:end] + data[start:stop] + data[end:]
    )  # as ExifTool does
    assert read_facts(tmp_path / 'late.png').roll == 7


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be'])
def test_packets_of_both_encodings_are_read(encoding):
    text = packet(as_elements=True, PosePitchDegrees=5).decode()
    assert parse_packet(text.encode(encoding) + b'\0\0') == {'PosePitchDegrees': '5'}


def test_scaled_images_and_rounded_sizes_are_understood():
    scaled = facts_of({key: str(2 * value) for key, value in crop(20, 10, 80, 30).items()}, (30, 80))
    assert scaled.area == SphereArea(10, 20, 30, 80, 60, 120)
    assert facts_of(
        {key: str(value) for key, value in crop(0, 0, 8191, 4096, 8192, 4096).items()}, (4096, 8191)
    ).is_closed
    assert not facts_of(
        {key: str(value) for key, value in crop(0, 0, 7900, 4096, 8192, 4096).items()}, (4096, 7900)
    ).is_closed


def test_of_another_projection_the_width_counts_and_the_angles_do_not():
    properties = crop(20, 10, 80, 30, PosePitchDegrees=12, ProjectionType='cylindrical')
    facts = facts_of({key: str(value) for key, value in properties.items()}, (30, 80))
    assert (facts.is_closed, facts.is_level) == (False, True)
    assert facts.problem.startswith("GPano:ProjectionType='cylindrical' is not equirectangular")


@pytest.mark.parametrize(
    ('data', 'problem'),
    [
        (b'<!DOCTYPE a [<!ENTITY b "x">]><a>&b;</a>', 'with a document type'),
        (b'<a xmlns:p="' + b' ' * 2**20 + b'"/>', 'XMP packet of 1048591 bytes'),
        (b'<a><b></a>', 'that is no XML'),
        (b'<?xml version="1.0" encoding="martian"?><a/>', 'unknown encoding: martian'),
        (packet(PosePitchDegrees=1).replace(b'></r', b'><GPano:PosePitchDegrees>2</GPano:PosePitchDegrees></r', 1),
         "PosePitchDegrees is '1' and '2'"),
        (packet(**crop(full_width='1e308', full_height='1e308', width=80, height=30)), 'impossible'),
        (packet(PosePitchDegrees='up'), "PosePitchDegrees='up' is not a number"),
        (packet(PoseRollDegrees='nan'), 'is not a number'),
        (packet(PosePitchDegrees=91), 'out of range'),
        (packet(FullPanoWidthPixels=8), 'FullPanoWidthPixels without CroppedAreaTopPixels'),
        (packet(**crop(50, 0, 100)), 'leads out of the full panorama'),
        (packet(**crop(0, 0, -5)), 'impossible'),
        (packet(**crop()), 'but the image has 80x30; was it cropped'),
    ],
)  # fmt: skip
def test_metadata_that_make_no_sense_are_refused_and_entities_never_expanded(data, problem):
    with pytest.raises(ValueError, match=problem):
        facts_of(parse_packet(data), (30, 80))


def test_the_cameras_angles_have_the_signs_of_the_photo_sphere_pages():
    # A camera that looks 30 degrees up has the horizon below its centre, and what is 30 degrees up at its centre.
    to_level = camera_to_level(30, 0)
    assert np.allclose(to_level @ [1, 0, 0], [np.cos(np.radians(30)), 0, 0.5])
    # "As roll increases, the horizon rotates counterclockwise": to the right of the centre it lies higher in the image.
    right_on_the_horizon = camera_to_level(0, 20).T @ [0, 1, 0]
    assert np.allclose(SPHERE.places(right_on_the_horizon)[0], 29.5 - 20 / 3)  # a row is 3 degrees
    # Roll turns about where the camera looks, so that its centre stays where pitch has put it.
    assert np.allclose(camera_to_level(30, 20) @ [1, 0, 0], camera_to_level(30, 0) @ [1, 0, 0])


@pytest.mark.parametrize(('pitch', 'roll'), [(25, 0), (0, -40), (-17, 33), (90, 0), (5, 180)])
def test_levelling_is_the_slow_literal_one(pitch, roll):
    rotation, (rows, columns) = camera_to_level(pitch, roll).T, np.mgrid[:60:7, :120:11]
    found = SPHERE.places(np.tensordot(rotation, SPHERE.directions(rows, columns), axes=1))
    for place in np.ndindex(rows.shape):
        row, column = tilted_place(rows[place], columns[place], 60, 120, pitch, roll)
        assert abs(found[0][place] - row) < 1e-6
        assert abs((found[1][place] - column + 60) % 120 - 60) < 1e-6


def blobs(height, width, shown, seed=0):
    """Labels that are large regions of the sphere, whatever part of it an image shows."""
    random = np.random.default_rng(seed)
    directions = shown.directions(np.arange(height)[:, None], np.arange(width)[None])
    return np.argmax(np.tensordot(random.normal(size=(9, 3)), directions, axes=1), axis=0).astype(np.uint8)


@pytest.mark.parametrize(
    'area',
    [SphereArea.full(180, 360), SphereArea.band(70, 360), SphereArea(60, 40, 70, 200, 180, 360)],
    ids=['sphere', 'band', 'cropped'],
)
def test_labels_of_a_levelled_panorama_come_back_where_they_were(area):
    given = blobs(area.height, area.width, area)
    pitch, roll = 12.0, -9.0
    target = levelled_area(area, camera_to_level(pitch, roll))
    levelled = resample(given, area, target, camera_to_level(pitch, roll).T, nearest=True)
    back = tilt_back(levelled, target, area, pitch, roll)
    assert back.shape == given.shape
    assert (back == given).mean() > 0.97  # they differ along edges
    assert (target.height, target.width) == (180, 360) if area.height == 180 else target.height > area.height
    # What the image does not show is filled only where that is asked for.
    filled = resample(given, area, target, camera_to_level(pitch, roll).T, nearest=True, fill=255)
    shown = (filled != 255).mean()
    assert shown == 1 if area.height == 180 else 0.5 < shown < 1
    pixels = np.repeat(given[..., None] * 20, 3, axis=2)
    assert level(pixels, area, pitch, roll).pixels.shape == (target.height, target.width, 3)


def test_an_upright_panorama_is_left_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 120, 3), np.uint8)
    found = level(pixels, SPHERE, 0, 0)
    assert found.area == SPHERE
    assert np.abs(found.pixels.astype(int) - pixels).max() <= 1  # rounding
    with pytest.raises(ValueError, match='an image of'):
        level(pixels[1:], SPHERE, 0, 0)


def save(path, pixels, exif=b'', **properties):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, xmp=packet(**properties), exif=exif, quality=95)


def test_level_copies_are_level_complete_and_made_once(run_tool, tmp_path):
    area = SphereArea.full(128, 256)
    upright = blobs(128, 256, area)[..., None] * 25 + np.array([0, 10, 20], np.uint8)
    tilted = resample(upright, area, area, camera_to_level(15, -10))
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = 'N'
    save(tmp_path / 'in/a/tilted.jpg', tilted, exif.tobytes(), PosePitchDegrees=15, PoseRollDegrees=-10)
    save(tmp_path / 'in/level.jpg', upright, PosePitchDegrees=0.2)
    save(tmp_path / 'in/wrong.jpg', upright, **crop(0, 0, 100))
    Image.fromarray(tilted[20:100]).save(tmp_path / 'in/plain.png')
    flags = ('--images', tmp_path / 'in', '--out', tmp_path / 'out')
    made = run_tool('level_panoramas.py', *flags)
    assert made.returncode == 0, made.stderr
    assert '4 panoramas: 1 levelled, 3 copied, 0 already there, 0 failed' in made.stdout
    assert 'wrong.jpg: GPano says 100x60' in made.stderr
    copy = tmp_path / 'out/a/tilted.jpg'
    facts = read_facts(copy)
    assert (facts.is_level, facts.area, facts.problem) == (True, area, '')
    with Image.open(copy) as image:
        assert image.getexif().get_ifd(0x8825)[1] == 'N'
        assert np.abs(np.asarray(image).astype(int) - upright).mean() < 4  # tilted would be tens
    assert np.abs(tilted.astype(int) - upright).mean() > 20
    assert (tmp_path / 'out/plain.png').read_bytes() == (tmp_path / 'in/plain.png').read_bytes()
    assert '0 levelled, 0 copied, 4 already there' in run_tool('level_panoramas.py', *flags).stdout
    again = run_tool('level_panoramas.py', *flags, '--pitch', '15', '--roll', '-10')
    assert '3 levelled, 0 copied, 1 already there' in again.stdout
    band = read_facts(tmp_path / 'out/plain.png')
    assert band.is_closed
    assert band.size[0] > 80  # all that the band shows, and black corners
    inside = run_tool('level_panoramas.py', '--images', tmp_path / 'in', '--out', tmp_path / 'in/out')
    assert inside.returncode == 2
    assert 'give another folder' in inside.stderr


def test_copies_replace_only_copies_and_levelled_images_stay_within_the_memory(run_tool, tmp_path):
    pixels = np.zeros((64, 128, 3), np.uint8)
    save(tmp_path / 'in/taken.jpg', pixels, PosePitchDegrees=5)
    save(tmp_path / 'in/pole.jpg', pixels, **crop(0, 0, 128, 64, 16_000_000, 8_000_000), PosePitchDegrees=0.1)
    save(tmp_path / 'in/wide.jpg', pixels, **crop(0, 31_968, 128, 64, 128_000, 64_000), PoseRollDegrees=80)
    Image.fromarray(pixels).save(tmp_path / 'in/plain.tif')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/taken.jpg').write_bytes(b'mine')
    flags = ('--images', tmp_path / 'in', '--out', tmp_path / 'out')
    made = run_tool('level_panoramas.py', *flags)
    assert made.returncode == 1
    assert f'{tmp_path}/out/taken.jpg exists and does not say what it was made of; give another --out' in made.stderr
    assert 'wide.jpg: 128000 pixels: at most 32764 rows and columns can be interpolated' in made.stderr
    assert (tmp_path / 'out/taken.jpg').read_bytes() == b'mine'
    turned = run_tool('level_panoramas.py', *flags, '--pitch', '9')
    assert 'pole.jpg: level it would have 16000000x' in turned.stderr
    assert not (tmp_path / 'out/plain.tif').exists()  # else there would be two images of one name
    assert read_facts(tmp_path / 'out/plain.png').is_level
    run_tool('level_panoramas.py', *flags)
    assert (tmp_path / 'out/plain.tif').exists() and not (tmp_path / 'out/plain.png').exists()


def test_windows_over_the_seam_of_a_cropped_panorama_are_refused(run_tool, tmp_path, picture):
    save(tmp_path / 'in/full.jpg', picture(40, 160), PoseRollDegrees=7)
    save(tmp_path / 'in/part.jpg', picture(40, 160), **crop(40, 70, 160, 40, 360, 180))
    flags = ['--images', tmp_path / 'in', '--out', tmp_path / 'cache', '--generator', 'felzenszwalb']
    flags += ['--window', '40x64', '--stride', '32']
    refused = run_tool('cache_sam.py', *flags, '--wrap')
    assert refused.returncode == 2
    assert f'error: {tmp_path}/in/part.jpg shows 160 of 360 degrees, so its left and right border do not meet; ' in (
        refused.stderr
    )
    assert '--wrap' in refused.stderr
    assert not (tmp_path / 'cache').exists()
    made = run_tool('cache_sam.py', *flags)
    assert made.returncode == 0, made.stderr
    assert f'warning: {tmp_path}/in/full.jpg is not level (pitch 0, roll 7 degrees); tools/level_' in made.stderr


def test_training_refuses_borders_that_do_not_meet(tmp_path, picture):
    init_default_scope('mmseg')
    save(tmp_path / 'in/part.jpg', picture(40, 160), **crop(40, 70, 160, 40, 360, 180))
    save(tmp_path / 'in/tilted.jpg', picture(40, 160), PosePitchDegrees=-8)
    refusals = {}
    for wrap in (True, False):
        settings = CacheSettings((40, 64), 32, wrap)
        builder = CacheBuilder(tmp_path / f'cache{wrap}', settings, FelzenszwalbMaskGenerator())
        builder.run(list_folder(tmp_path / 'in').samples, show_progress=False)
        builder.writer.seal()
        dataset = {'type': 'CatalogueDataset', 'images': str(tmp_path / 'in'), 'labelled': False}
        expect = {'cache': str(tmp_path / f'cache{wrap}'), 'expect': {'grid': settings.to_json()}}
        for columns in (0, 20):
            try:
                built = GoodSAMRunner.build_dataset({**dataset, **expect}, Config({'model': {'wrap_columns': columns}}))
                refusals[wrap, columns] = built.notes
            except ConfigError as refused:
                refusals[wrap, columns] = str(refused)
    part = f'{tmp_path}/in/part.jpg shows 160 of 360 degrees, so its left and right border do not meet'
    assert refusals[True, 0] == refusals[True, 20]
    assert refusals[True, 0].startswith(f'model.grid.wrap=True, but {part}; choose other images by list_file')
    assert refusals[False, 20].startswith(f'model.wrap_columns=20, but {part}; ')
    (note,) = refusals[False, 0]
    tilted = f'{tmp_path}/in/tilted.jpg is not level (pitch -8, roll 0 degrees)'
    assert note == f'{tilted}; tools/level_panoramas.py writes level copies'
