"""A cache that a config does not expect is refused, with every difference and the command that makes the right one."""

import copy
import json

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope

from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.fingerprint import Fingerprint
from stage1_sam_cache.cache.reader import open_cache
from stage1_sam_cache.errors import MaskCacheError
from stage2_distill import components  # noqa: F401
from stage2_distill.errors import ConfigError
from stage2_distill.training.cache_check import build_with_cache, expected_settings
from stage2_distill.training.cache_command import cache_command

CONFIGS = ROOT / 'mmseg_configs'
SAM = {'name': 'sam', 'model': 'vit_h', 'weights_sha256': '0' * 64, 'level': 'exact', 'points_per_side': 32}


class Generator:
    def __init__(self, **identity):
        self.identity = SAM | identity


def config_of(name, **model):
    init_default_scope('mmseg')
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.merge_from_dict({'model': model})
    return config


def write_cache(root, generator=None, **settings):
    """A cache that holds nothing but its description."""
    fingerprint = CacheSettings(**settings).fingerprint(Generator(**(generator or {})))
    folder = root / fingerprint.key
    folder.mkdir(parents=True)
    (folder / 'fingerprint.json').write_text(json.dumps(fingerprint.settings))
    return folder


def refusal(config, root, images):
    """What is said of the cache in the place of the config's own."""
    dataset = {'type': 'CatalogueDataset', 'images': str(images), 'labelled': False, 'cache': str(root)}
    with pytest.raises(MaskCacheError) as caught:
        build_with_cache({**dataset, 'expect': expected_settings(config)})
    assert '\n' not in str(caught.value)
    return str(caught.value)


NOT_SEALED = 'training images are not in the cache'  # what is said of an empty cache with the right settings
OTHERS = [
    ({'generator': {'name': 'felzenszwalb'}}, ["generator.name is 'felzenszwalb', not 'sam'"]),
    ({'generator': {'name': 'toy_sam', 'model': 'toy'}}, ["generator.name is 'toy_sam', not 'sam'"]),
    ({'generator': {'name': 'adapted_sam'}}, ["generator.name is 'adapted_sam', not 'sam'"]),
    ({'order': 'area_asc'}, ["order is 'area_asc', not 'area_desc'"]),
    ({'overlap_source': 'window'}, ["boundary.source is 'window', not 'crop'"]),
    (
        {'boundary': 'contours'},
        ["boundary.rule is 'contours', not 'labels'", 'boundary.thickness is None, not 2'],
    ),
    ({'boundary_thickness': 1}, ['boundary.thickness is 1, not 2']),
    ({'window': (400, 1024)}, ['grid.window is [400, 1024], not [400, 512]']),
    ({'stride': 128}, ['grid.stride is [400, 128], not [400, 256]']),
    ({'wrap': True}, ['grid.wrap is True, not False']),
    (
        {'order': 'area_asc', 'stride': 128, 'generator': {'name': 'truth'}},
        ["order is 'area_asc'", 'grid.stride is', "generator.name is 'truth'"],
    ),
]


@pytest.mark.parametrize(('settings', 'differences'), OTHERS)
def test_a_cache_of_other_settings_is_refused_and_every_difference_is_named(
    tmp_path, image_folder, settings, differences
):
    write_cache(tmp_path / 'cache', **settings)
    text = refusal(config_of('goodsam_b0'), tmp_path / 'cache', image_folder('a', size=(400, 2048)))
    assert 'made with other settings: ' in text
    assert all(difference in text for difference in differences)
    named = text.split('made with other settings: ')[1].split('; run ')[0]
    assert len(named.split('; ')) == len(differences)
    assert text.endswith(f'; run tools/cache_sam.py --images {tmp_path / "images"} --out {tmp_path / "cache"}')


def test_of_several_caches_side_by_side_the_expected_one_is_opened(tmp_path, image_folder):
    for settings, _ in OTHERS:
        write_cache(tmp_path / 'cache', **settings)
    right = write_cache(tmp_path / 'cache', {'model': 'vit_b'})  # masks of any SAM will do
    text = refusal(config_of('goodsam_b0'), tmp_path / 'cache', image_folder('a', size=(400, 2048)))
    assert text.startswith(str(right))
    assert NOT_SEALED in text


ANY = {'sam', 'felzenszwalb', 'imported', 'toy_sam', 'truth', 'simulated', 'sam2', 'toy_sam2'}


@pytest.mark.parametrize(
    ('name', 'allowed'),
    [
        ('goodsam_b0', {'sam'}),
        ('goodsam_b1_wildpass', {'sam'}),
        ('ablations/table3_row4', {'sam'}),
        ('goodsam_b0_own', {'sam', 'felzenszwalb', 'imported', 'sam2'}),
        ('goodsam_b0_toypass', ANY),
        ('goodsam_b2_toypass', ANY),
    ],
)
def test_the_generators_that_a_config_allows(name, allowed):
    config = config_of(name)
    grid = dict(config.model.grid)
    others = ('adapted_sam', 'adapted_toy_sam', 'blocks')
    for generator in (*ANY, *others):
        fingerprint = CacheSettings(**grid).fingerprint(Generator(name=generator))
        differences = fingerprint.differences(expected_settings(config))
        assert (differences == []) is (generator in allowed), generator
    window = CacheSettings(**grid, overlap_source='window').fingerprint(Generator())
    assert (window.differences(expected_settings(config)) == []) is ('toypass' in name)
    assert window.differences(expected_settings(config, scored=True)) == []  # boundary maps are not scored


def test_an_adapted_sam_is_accepted_where_it_is_asked_for(tmp_path, image_folder):
    config = config_of('goodsam_b0')
    config.merge_from_dict({'expected_cache.generator.name': 'adapted_sam'})
    write_cache(tmp_path / 'cache')
    adapted = write_cache(tmp_path / 'cache', {'name': 'adapted_sam', 'adapter': {'sha256': '1' * 64}})
    text = refusal(config, tmp_path / 'cache', image_folder('a', size=(400, 2048)))
    assert text.startswith(str(adapted)) and NOT_SEALED in text


def test_the_heads_say_how_thick_boundary_maps_are():
    thin = config_of('goodsam_b0', ctcf_head={'thickness': 1}, mka_head={'thickness': 1})
    expected = expected_settings(thin)
    one, two = (CacheSettings(boundary_thickness=n).fingerprint(Generator()) for n in (1, 2))
    assert one.differences(expected) == []
    assert two.differences(expected) == ['boundary.thickness is 2, not 1']
    command = cache_command({'name': 'densepass', 'cache': 'cache/densepass', 'expect': expected})
    assert command == 'tools/cache_sam.py --dataset densepass --boundary-thickness 1 --out cache/densepass'
    with pytest.raises(ConfigError, match=r'model\.ctcf_head\.thickness=1, model\.mka_head\.thickness=2: .*the same'):
        expected_settings(config_of('goodsam_b0', ctcf_head={'thickness': 1}))


def test_contours_are_like_maps_of_thickness_2():
    contours = CacheSettings(boundary='contours').fingerprint(Generator())
    config = config_of('goodsam_b0')
    config.expected_cache.boundary.rule = 'contours'
    assert contours.differences(expected_settings(config)) == []
    config.expected_cache.boundary.rule = ['labels', 'contours']
    assert contours.differences(expected_settings(config)) == []
    assert CacheSettings().fingerprint(Generator()).differences(expected_settings(config)) == []
    thin = config_of('goodsam_b0', ctcf_head={'thickness': 1}, mka_head={'thickness': 1})
    thin.expected_cache.boundary.rule = 'contours'
    with pytest.raises(ConfigError, match='like those of thickness 2'):
        expected_settings(thin)


def test_a_config_that_expects_nothing_compares_windows_and_thickness():
    config = config_of('goodsam_b0')
    config.expected_cache = None
    for settings in ({'order': 'area_asc'}, {'boundary': 'contours'}, {'overlap_source': 'window'}):
        assert (
            CacheSettings(**settings).fingerprint(Generator(name='blocks')).differences(expected_settings(config)) == []
        )
    assert CacheSettings(stride=64).fingerprint(Generator()).differences(expected_settings(config)) != []


@pytest.mark.parametrize(
    ('expect', 'flags'),
    [
        ({'generator': {'name': 'felzenszwalb'}}, '--generator felzenszwalb'),
        ({'generator': {'name': ['toy_sam', 'sam']}}, '--sam toy'),
        ({'generator': {'name': 'sam', 'model': 'vit_b', 'level': 'bf16'}}, '--sam vit_b --level bf16'),
        ({'generator': {'name': 'sam2'}}, '--sam sam2_l'),
        ({'generator': {'name': 'sam2', 'model': 'sam2_t', 'use_m2m': True}}, '--sam sam2_t --use-m2m'),
        ({'generator': {'name': 'toy_sam2'}}, '--sam sam2_toy'),
        ({'generator': {'name': 'adapted_sam', 'model': 'vit_b'}}, '--adapter FILE --sam vit_b'),
        ({'generator': {'name': 'adapted_toy_sam', 'model': 'toy'}}, '--sam toy --adapter FILE'),
        (
            {'boundary': {'source': 'window', 'rule': 'contours', 'thickness': None}},
            '--overlap-source window --boundary contours',
        ),
        ({'order': 'score'}, '--order score'),
    ],
)  # fmt: skip
def test_the_command_has_a_flag_for_every_expected_setting(expect, flags):
    expect = {'grid': {'window': [400, 512], 'stride': [400, 256], 'wrap': False}, **expect}
    command = cache_command({'name': 'wildpass', 'cache': 'x y', 'expect': expect})
    assert command == f"tools/cache_sam.py --dataset wildpass {flags} --out 'x y'"


def test_the_command_for_true_segments_is_that_of_their_tool():
    expect = {'grid': {'window': [200, 256], 'stride': [200, 128], 'wrap': True}, 'generator': {'name': 'truth'}}
    dataset = {'name': 'toypass', 'split': 'train', 'root': 'data/x', 'cache': 'cache/x', 'expect': expect}
    assert cache_command(dataset) == (
        'tools/cache_truth.py --data-root data/x --window 200x256 --stride 128 --wrap --out cache/x'
    )


def test_the_command_for_simulated_masks_has_their_damage():
    generator = {'name': 'simulated', 'toypass': 1, 'numpy': '2.0', 'merge': 0.3, 'erode': 2, 'seed': 0}
    grid = {'window': [200, 256], 'stride': [200, 128], 'wrap': True}
    dataset = {'name': 'toypass', 'cache': 'cache/x', 'expect': {'grid': grid, 'generator': generator}}
    assert cache_command(dataset) == (
        'tools/cache_truth.py --window 200x256 --stride 128 --wrap --merge 0.3 --erode 2 --seed 0 --out cache/x'
    )


def test_a_list_names_alternatives_only_where_the_cache_has_one_value(tmp_path):
    fingerprint = Fingerprint(CacheSettings().fingerprint(Generator()).settings)
    assert fingerprint.differences({'generator': {'name': ['felzenszwalb', 'sam']}}) == []
    assert fingerprint.differences({'grid': {'window': (400, 512)}}) == []
    assert fingerprint.differences({'grid': {'window': [[400, 512]]}}) != []
    changed = copy.deepcopy(dict(fingerprint.settings))
    changed['order'] = ['area_desc']
    assert fingerprint.differences(Fingerprint(changed)) == ["order is 'area_desc', not ['area_desc']"]
    folder = write_cache(tmp_path)
    assert open_cache(tmp_path, {'order': ['score', 'area_desc']}).path == folder


@pytest.mark.parametrize('expected', [{'generater': {'name': 'sam'}}, {'boundary': {'rules': 'labels'}}])
def test_an_expected_setting_that_no_cache_has_is_an_error_of_the_config(expected):
    config = Config.fromfile(ROOT / 'mmseg_configs/goodsam_b0.py')
    config.expected_cache = expected
    with pytest.raises(ConfigError, match='is no setting of a cache'):
        expected_settings(config)
