"""The fingerprint names every setting that can change a mask."""

import copy
import hashlib

import pytest

from stage1_sam_cache.adaptation.lora import attach
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.fingerprint import Fingerprint
from stage1_sam_cache.sam import sam_generator
from stage1_sam_cache.sam.adapter import AdapterNotes, PromptSource, read_adapter, write_adapter
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator, FelzenszwalbSettings
from stage1_sam_cache.sam.sam_generator import SamMaskGenerator
from stage1_sam_cache.sam.settings import SamSettings

FELZENSZWALB = FelzenszwalbMaskGenerator()


def sam_fingerprint(tiny_sam, digest='a' * 64, name='vit_b', **settings):
    return CacheSettings().fingerprint(SamMaskGenerator(tiny_sam, name, digest, SamSettings(**settings)))


@pytest.mark.parametrize(
    ('changed', 'named'),
    [
        ({'window': (400, 256)}, 'grid.window'),
        ({'stride': 128}, 'grid.stride'),
        ({'stride': (200, 256)}, 'grid.stride'),
        ({'wrap': True}, 'grid.wrap'),
        ({'order': 'score'}, 'order'),
        ({'overlap_source': 'window'}, 'boundary.source'),
        ({'boundary': 'contours'}, 'boundary.rule'),
        ({'boundary_thickness': 1}, 'boundary.thickness'),
    ],
)
def test_each_cache_setting_changes_the_fingerprint_and_is_named(changed, named):
    before = CacheSettings().fingerprint(FELZENSZWALB)
    after = CacheSettings(**changed).fingerprint(FELZENSZWALB)
    assert before.key != after.key
    assert any(text.startswith(f'{named} is ') for text in after.differences(before))


@pytest.mark.parametrize(
    ('setting', 'value'),
    [
        ('points_per_side', 16),
        ('pred_iou_thresh', 0.8),
        ('stability_score_thresh', 0.9),
        ('stability_score_offset', 0.5),
        ('box_nms_thresh', 0.5),
        ('crop_n_layers', 1),
        ('crop_nms_thresh', 0.5),
        ('crop_overlap_ratio', 0.25),
        ('crop_n_points_downscale_factor', 2),
        ('min_mask_region_area', 10),
    ],
)
def test_each_sam_setting_is_named(tiny_sam, setting, value):
    before, after = sam_fingerprint(tiny_sam), sam_fingerprint(tiny_sam, **{setting: value})
    assert after.differences(before) == [
        f'generator.{setting} is {value!r}, not {before.settings["generator"][setting]!r}'
    ]


def test_sam_model_and_weights_count_and_the_batch_size_does_not(tiny_sam):
    before = sam_fingerprint(tiny_sam)
    assert before != sam_fingerprint(tiny_sam, digest='b' * 64)
    assert before != sam_fingerprint(tiny_sam, name='vit_l')
    assert before == sam_fingerprint(tiny_sam, points_per_batch=1)


@pytest.mark.parametrize(('name', 'key'), [('vit_b', 'd602694ddd2eb34c'), ('toy', '9c49b5e2879b8e11')])
def test_caches_without_an_adapter_keep_their_fingerprint(tiny_sam, monkeypatch, name, key):
    monkeypatch.setattr(sam_generator, 'version', lambda _: '1.0')
    assert sam_fingerprint(tiny_sam, name=name).key == key


def test_an_adapter_counts_and_its_masks_never_pass_for_sams(tiny_sam, tmp_path):
    before = sam_fingerprint(tiny_sam)
    path = tmp_path / 'adapter.safetensors'
    notes = AdapterNotes('vit_b', 'a' * 64, 4, 0, 0, PromptSource('0' * 16, 'truth', 'toypass', 'train'), True)
    write_adapter(path, attach(copy.deepcopy(tiny_sam)), notes)
    generator = SamMaskGenerator(tiny_sam, 'vit_b', 'a' * 64, SamSettings(), adapter=read_adapter(path))
    after = CacheSettings().fingerprint(generator)
    assert after.differences({'generator': {'name': 'sam'}}) == ["generator.name is 'adapted_sam', not 'sam'"]
    assert sorted(after.differences(before)) == [
        f"generator.adapter.prompts.cache is '{'0' * 16}', not 'absent'",
        "generator.adapter.prompts.dataset is 'toypass', not 'absent'",
        "generator.adapter.prompts.generator is 'truth', not 'absent'",
        "generator.adapter.prompts.split is 'train', not 'absent'",
        f"generator.adapter.sha256 is '{hashlib.sha256(path.read_bytes()).hexdigest()}', not 'absent'",
        "generator.adapter.weak_labels is True, not 'absent'",
        "generator.name is 'adapted_sam', not 'sam'",
    ]
    assert len(before.differences(after)) == 7


def test_felzenszwalb_settings_count_and_it_never_passes_for_sam(tiny_sam):
    before = CacheSettings().fingerprint(FELZENSZWALB)
    after = CacheSettings().fingerprint(FelzenszwalbMaskGenerator(FelzenszwalbSettings(scales=(50.0,))))
    assert after.differences(before) == ['generator.scales is [50.0], not [100.0, 300.0, 1000.0]']
    assert before.settings['generator']['name'] == 'felzenszwalb'
    assert "generator.name is 'felzenszwalb', not 'sam'" in before.differences(sam_fingerprint(tiny_sam))


def test_the_key_does_not_depend_on_the_order_of_the_settings():
    one = Fingerprint({'a': 1, 'b': {'c': [1, 2], 'd': None}})
    two = Fingerprint({'b': {'d': None, 'c': [1, 2]}, 'a': 1})
    assert one == two
    assert one.key == two.key
    assert len(one.key) == 16


def test_only_the_settings_asked_for_are_compared():
    found = CacheSettings().fingerprint(FELZENSZWALB)
    assert found.differences({'grid': {'window': (400, 512), 'wrap': False}}) == []
    assert found.differences({'grid': {'window': (400, 1024)}, 'nothing': 1}) == [
        'grid.window is [400, 512], not (400, 1024)',
        'nothing is no setting of this cache (1 expected)',
    ]
